"""`jetson_benchmark.py report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, SEED, Choice, FilePath, Whole
from savbench.compare.statistics import FEWEST_RESAMPLES, MOST_RESAMPLES, RESAMPLES
from savbench.report.content import Settings, make_report
from savbench.report.packages import ReportError
from savbench.report.writing import FORMATS, write_report

EXIT_OK = 0

_FORMAT, _CENTER = Choice(tuple(FORMATS)), Choice(("mean", "median"))

DESCRIPTION = "Turn results into one self-contained page that answers which model, dtype and board, or into figures for a paper."
EPILOG = """\
examples:
  report results/run -o report.html
  report results/nano results/agx -o boards.html --title "Orin Nano and AGX"
  report results/run -o figures/run.pdf

exit status: 0 written, 2 bad input
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("paths", type=INPUT_PATH, nargs="+", metavar="RUN", help="run folders, summary.csv files, or CSVs of older tools")
    flags.add_argument("-o", "--output", type=FilePath(name="FILE"), help="file to write (default report.FORMAT)")
    flags.add_argument(
        "--format", type=_FORMAT,
        help="html: one page; md: text with its figures beside it; png: one file for each figure; pdf: one page for each "
        "(default: what FILE ends in, else html)",
    )  # fmt: skip
    flags.add_argument("--title", default="", help="of the report (default: the names of the runs)")
    flags.add_argument(
        "--split_dir", type=INPUT_PATH,
        help="where the split is, for pictures drawn from saved masks (what run.json says of it is not followed)",
    )  # fmt: skip
    flags.add_argument("--objects", type=Whole(1, 1_000), default=3, help="best and worst objects to show of each (default %(default)s)")
    flags.add_argument(
        "--force", action="store_true", help="count the times of rows marked invalid and compare across other settings; says so"
    )
    flags.add_argument(
        "--center",
        type=_CENTER,
        default="mean",
        help="of the changes of times over objects: geometric mean or median",
    )
    flags.add_argument(
        "--resamples", type=RESAMPLES,
        help=f"draws of the bootstrap (default {MOST_RESAMPLES}, falling to {FEWEST_RESAMPLES} for more than 500 videos)",
    )  # fmt: skip
    flags.add_argument("--seed", type=SEED, default=0, help="of the bootstrap (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Make and write a report. Return the exit status.

    Raises:
        InputError: a file cannot be read.
        ReportError: the report cannot be written.
    """
    try:
        suffix = args.output.suffix.removeprefix(".").lower() if args.output else ""
        kind = args.format or (suffix if suffix in FORMATS else "html")
        output = args.output or Path(f"report.{kind}")
        settings = Settings(args.title, args.split_dir, args.objects, args.force, args.center, args.resamples, args.seed)
        report = make_report(args.paths, settings, [".venv/bin/python", "jetson_benchmark.py", *args.words])
        written = write_report(report, kind, output)
    except OSError as error:
        raise ReportError(f"{error.filename or args.output or 'the current folder'}: {error.strerror}; give another -o") from error
    for path in written:
        print(f"wrote {path}")
    return EXIT_OK
