#!/usr/bin/env python3
"""Benchmark of promptable video segmentation on Jetson boards and desktop GPUs: latency, memory and J&F of SAM 2 and EdgeTAM on SA-V.

.venv/bin/python jetson_benchmark.py --split_dir /data/sav_val --models sam2_base_points,edgetam_points --autocast_dtype bfloat16
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runners.text import one_line
from savbench import __version__
from savbench.arguments.declared import ConfigError
from savbench.arguments.errors import UserError
from savbench.arguments.parser import Parser
from savbench.arguments.streams import with_guarded_streams
from savbench.arguments.values import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

EXIT_BAD_ARGUMENTS = 2


class Subcommand(NamedTuple):
    """A line of the help, and the module that does the work: it has `add_flags(parser)` and `main(args)`, which returns the exit status.

    The module is imported when its subcommand is given. `args.words` has all words of the command line.
    """

    name: str
    module: str
    about: str


SUBCOMMANDS = (
    Subcommand("run", "savbench.supervise.cli", "run models over a split; the word may be left out"),
    Subcommand("compare", "savbench.compare.cli", "compare results object by object: files, runs, or the arms within them"),
    Subcommand("report", "savbench.report.cli", "turn results into one page to read, or into figures for a paper"),
    Subcommand("validate", "savbench.validate.run", "check that the files of a run agree with each other"),
    Subcommand("seal", "savbench.seal.cli", "put a run into one archive that others can check"),
    Subcommand("check", "savbench.seal.check_cli", "check a sealed run, without its machine"),
    Subcommand("merge", "savbench.seal.merge_cli", "put sealed runs into one leaderboard, per board and power mode"),
    Subcommand("attention", "savbench.attention_bench.cli", "what attention costs here, call by call, and whether masks stay the same"),
    Subcommand("certify", "savbench.certify.cli", "prove stage by stage that an arm computes what torch computes in float32"),
    Subcommand("selfcheck", "savbench.selfcheck.cli", "prove that what is measured here means what it says"),
    Subcommand("doctor", "savbench.doctor.command", "check what a run needs, and name the command that fixes each problem"),
    Subcommand("check-model", "savbench.integration.cli", "prove that a model fits the benchmark, and name what is missing"),
    Subcommand("export", "savbench.measure.export_cli", "export a model's stages as graphs for --runtime, and check them against torch"),
    Subcommand("convert", "savbench.data.convert_cli", "write a data set in another layout: SA-V's, DAVIS's, YouTube-VOS's"),
    Subcommand("demo-data", "savbench.data.demo.cli", "write a small SA-V-shaped split to try everything on"),
)
RUN = SUBCOMMANDS[0]

PROGRAM = "jetson_benchmark.py"
USAGE = """\
%(prog)s [run] --split_dir DIR [--models LIST] [FLAGS]
       %(prog)s SUBCOMMAND [FLAGS]"""
DESCRIPTION = """\
Run a SA-V split through promptable video segmentation models and write latency,
memory and J&F per object to CSV; compare, report and check the results. Each
subcommand has its own --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return with_guarded_streams(lambda: _command(words))


def _command(words: list[str]) -> int:
    try:
        args = parse(words)
        return int(args.main(args))
    except UserError as error:
        return _refuse(words, one_line(str(error)))
    except OSError as error:
        return _refuse(words, _system_error(error))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a subcommand, with its `main`, and with `words` as they were given.

    Raises:
        ConfigError: there is no such subcommand, or an argument is invalid.
    """
    names = [one.name for one in SUBCOMMANDS]
    first = words[0] if words else ""
    if first in ("-h", "--help", "--version"):
        return _parser("").parse_args(words)
    if first.startswith("-") or not words:
        return _parser(RUN.name, words).parse_args([RUN.name, *words])
    if first not in names:
        raise ConfigError(f"{first}: no such subcommand{did_you_mean(first, names)}; there are {', '.join(names)}")
    return _parser(first, words).parse_args(words)


def _parser(chosen: str, words: Sequence[str] = ()) -> Parser:
    """The command line, with the flags of one subcommand only, so that no other module is imported; without one, for --help."""
    parser = Parser(prog=PROGRAM, usage=USAGE, description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"jetson_benchmark {__version__}", help="show the version and exit")
    subparsers = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", prog=PROGRAM, required=True)
    for one in SUBCOMMANDS:
        flags = subparsers.add_parser(one.name, help=one.about)
        if one.name == chosen:
            module = import_module(one.module)
            module.add_flags(flags)
            flags.set_defaults(main=module.main, words=list(words))
    if not chosen:
        import_module(RUN.module).add_flags(parser)
    return parser


def _system_error(error: OSError) -> str:
    """What the operating system refused and nothing nearer to it explained."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder is gone; change to one that is there"
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}; mend that and give the same command again"


def _refuse(words: list[str], message: str) -> int:
    subcommand = f" {words[0]}" if words and words[0] in (one.name for one in SUBCOMMANDS) else ""
    print(f"jetson_benchmark{subcommand}: {message}", file=sys.stderr)
    return EXIT_BAD_ARGUMENTS


if __name__ == "__main__":
    sys.exit(main())
