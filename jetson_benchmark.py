#!/usr/bin/env python3
"""Benchmark of promptable video segmentation on Jetson boards and desktop GPUs: latency, memory and J&F of SAM 2 and EdgeTAM on SA-V.

python jetson_benchmark.py --split_dir /data/sav_val --models sam2_base_points,edgetam_points --autocast_dtype bfloat16
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runners.text import one_line
from savbench.arguments.declared import ConfigError
from savbench.arguments.streams import with_guarded_streams
from savbench.plan.command_line import config_of, run_parser

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_BAD_ARGUMENTS = 2

EPILOG = """\
subcommands (each has its own --help):
  compare             compare results object by object: files, runs, or the arms within them
  report              turn results into one page to read, or into figures for a paper
  validate            check that the files of a run agree with each other
  attention           what attention costs here, call by call, and whether masks stay the same
  demo-data           write a small SA-V-shaped split to try everything on
  doctor              check what a run needs, and name the command that mends what is not right
  selfcheck           prove that what is measured here means what it says

exit status: 0 every row is ok, 1 some rows are not, 2 bad arguments, 130 interrupted
"""


# A subcommand's code is imported when it is asked for: --help has no time for it.
def _compare(argv: list[str]) -> int:
    from savbench.compare.cli import main as subcommand

    return subcommand(argv)


def _report(argv: list[str]) -> int:
    from savbench.report.cli import main as subcommand

    return subcommand(argv)


def _validate(argv: list[str]) -> int:
    from savbench.validate.run import main as subcommand

    return subcommand(argv)


def _attention(argv: list[str]) -> int:
    from savbench.attention_bench.cli import main as subcommand

    return subcommand(argv)


def _demo_data(argv: list[str]) -> int:
    from savbench.data.demo.cli import main as subcommand

    return subcommand(argv)


def _doctor(argv: list[str]) -> int:
    from savbench.doctor.command import main as subcommand

    return subcommand(argv)


def _selfcheck(argv: list[str]) -> int:
    from savbench.selfcheck.cli import main as subcommand

    return subcommand(argv)


SUBCOMMANDS = {
    "compare": _compare,
    "report": _report,
    "validate": _validate,
    "attention": _attention,
    "demo-data": _demo_data,
    "doctor": _doctor,
    "selfcheck": _selfcheck,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return with_guarded_streams(lambda: _command(arguments))


def _command(arguments: list[str]) -> int:
    try:
        if arguments and arguments[0] in SUBCOMMANDS:
            return SUBCOMMANDS[arguments[0]](arguments[1:])
        return run_command(arguments)
    except OSError as error:
        return _refuse(_system_error(error))


def run_command(argv: list[str]) -> int:
    """The main job."""
    try:
        config = config_of(run_parser(EPILOG).parse_args(argv))
    except ConfigError as error:
        return _refuse(error)
    # What is imported here costs more time than --help may take.
    from savbench.board.power.base import PowerError
    from savbench.data.dataset import DatasetError
    from savbench.finish.overlay import OverlayError
    from savbench.results.csv_rows import ResultsError
    from savbench.results.run_folder import RunFolderError
    from savbench.supervise.finisher_process import FinisherError
    from savbench.supervise.progress import Progress
    from savbench.supervise.ray_cluster import ExecutorError
    from savbench.supervise.run import run

    try:
        return run(config, [sys.argv[0], *argv], Progress())
    except (ConfigError, DatasetError, ExecutorError, FinisherError, OverlayError, PowerError, ResultsError, RunFolderError) as error:
        return _refuse(error)


def _system_error(error: OSError) -> str:
    """What the operating system refused and nothing nearer to it explained."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder is gone; change to one that is there"
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}; mend that and give the same command again"


def _refuse(error: Exception | str) -> int:
    print(f"jetson_benchmark: {one_line(str(error))}", file=sys.stderr)
    return EXIT_BAD_ARGUMENTS


if __name__ == "__main__":
    sys.exit(main())
