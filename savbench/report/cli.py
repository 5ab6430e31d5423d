"""`jetson_benchmark.py report`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from savbench.arguments.declared import ConfigError, Parser
from savbench.arguments.values import INPUT_PATH, SEED, FilePath, Whole
from savbench.compare.statistics import FEWEST_RESAMPLES, MOST_RESAMPLES, RESAMPLES
from savbench.data.csv_file import InputError
from savbench.report.content import Settings, make_report
from savbench.report.page import ReportError
from savbench.report.writing import FORMATS, write_report

EXIT_OK, EXIT_BAD_INPUT = 0, 2

EPILOG = """\
examples:
  report results/run -o report.html
  report results/nano results/agx -o boards.html --title "Orin Nano and AGX"
  report results/run -o figures/run.pdf

exit status: 0 written, 2 bad input
"""


def parser() -> Parser:
    """Add the flags of the subcommand."""
    flags = Parser(
        prog="jetson_benchmark.py report",
        description="Turn results into one self-contained page that answers which model, dtype and board, or into figures for a paper.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("paths", type=INPUT_PATH, nargs="+", metavar="RUN", help="run folders, summary.csv files, or CSVs of older tools")
    flags.add_argument("-o", "--output", type=FilePath(name="FILE"), metavar="FILE", help="file to write (default report.FORMAT)")
    flags.add_argument(
        "--format", choices=FORMATS,
        help="html: one page; md: text with its figures beside it; png: one file for each figure; pdf: one page for each "
        "(default: what FILE ends in, else html)",
    )  # fmt: skip
    flags.add_argument("--title", default="", help="of the report (default: the names of the runs)")
    flags.add_argument(
        "--split_dir", type=INPUT_PATH,
        help="where the split is, for pictures drawn from saved masks (what run.json says of it is not followed)",
    )  # fmt: skip
    flags.add_argument(
        "--objects", type=Whole(1, 1_000), default=3, metavar="N", help="best and worst objects to show of each (default %(default)s)"
    )
    flags.add_argument(
        "--force", action="store_true", help="count the times of rows marked invalid and compare across other settings; says so"
    )
    flags.add_argument(
        "--center", choices=("mean", "median"), default="mean", help="of the changes of times over objects: geometric mean or median"
    )
    flags.add_argument(
        "--resamples", type=RESAMPLES, metavar="N",
        help=f"draws of the bootstrap (default {MOST_RESAMPLES}, falling to {FEWEST_RESAMPLES} for more than 500 videos)",
    )  # fmt: skip
    flags.add_argument("--seed", type=SEED, default=0, help="of the bootstrap (default %(default)s)")
    return flags


def main(argv: list[str]) -> int:
    """Make and write a report. Return the exit status."""
    try:
        args = parser().parse_args(argv)
        suffix = args.output.suffix.removeprefix(".").lower() if args.output else ""
        kind = args.format or (suffix if suffix in FORMATS else "html")
        output = args.output or Path(f"report.{kind}")
        settings = Settings(args.title, args.split_dir, args.objects, args.force, args.center, args.resamples, args.seed)
        report = make_report(args.paths, settings, ["python", "jetson_benchmark.py", "report", *argv])
        written = write_report(report, kind, output)
    except (InputError, ReportError, ConfigError) as error:
        print(f"jetson_benchmark report: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        where = error.filename or args.output or "the current folder"
        print(f"jetson_benchmark report: {where}: {error.strerror}; give another -o", file=sys.stderr)
        return EXIT_BAD_INPUT
    for path in written:
        print(f"wrote {path}")
    return EXIT_OK
