"""`jetson_benchmark.py compare`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, SEED, Choice, ListOf, Text, Whole
from savbench.compare.comparison import compare
from savbench.compare.explained import has_attributes
from savbench.compare.exports import render_csv, render_json
from savbench.compare.findings import Options
from savbench.compare.noninferiority import MARGIN, judge_noninferiority
from savbench.compare.paper import render_latex, render_paper_markdown
from savbench.compare.statistics import FEWEST_RESAMPLES, MOST_RESAMPLES, RESAMPLES
from savbench.compare.tables import render_table
from savbench.compare.verdicts import judge, missing_times, parse_condition
from savbench.data.csv_file import InputError
from savbench.results.attributes import BY_NAME
from savbench.results.beside import read_frame_latencies
from savbench.results.foreign import load_results
from savbench.results.grid import width_of

if TYPE_CHECKING:
    from savbench.compare.findings import Comparison

EXIT_OK, EXIT_CONDITION_HELD = 0, 1

_ATTRIBUTES = ListOf(Choice(tuple(BY_NAME), hint="docs/methods.md has their definitions"))
_FORMAT, _CENTER = Choice(("table", "markdown", "latex", "csv", "json")), Choice(("mean", "median"))

DESCRIPTION = "Compare results object by object: files, run folders, or the arms within them."
EPILOG = """\
examples:
  compare results/before results/after
  compare results/run --by autocast_dtype --baseline float32
  compare results/run --by autocast_dtype --noninferior 99%
  compare results/run --by model --explain_by size,speed
  compare nano.csv agx.csv --by device \\
      --fail_if 'JandF<-0.005' --fail_if 'latency_p90_ms>1.10'

exit status: 0 compared, 1 a --fail_if held or a --noninferior is not shown, 2 bad input, refused, or nothing that can be compared
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("paths", type=INPUT_PATH, nargs="+", metavar="RUN", help="summary.csv files, run folders, or CSVs of older tools")
    flags.add_argument(
        "--by", type=ListOf(Text()), default=(), metavar="COLUMN[,COLUMN]",
        help="compare the values of these columns, over all files together: autocast_dtype, model, attention, imgsz, device, file, or any "
        "(default: the files; in a single file the first setting that varies)",
    )  # fmt: skip
    flags.add_argument("--baseline", metavar="ARM", help="arm that the others are set against (default: the first)")
    flags.add_argument(
        "--fail_if", action="append", default=[], metavar="CONDITION",
        help="exit 1 where a change meets it: a difference for scores, 'JandF<-0.005', a ratio for the others, 'latency_p90_ms>1.10', "
        "or a number of objects, 'lost>0'; may be given more than once",
    )  # fmt: skip
    flags.add_argument(
        "--noninferior", type=MARGIN, action="append", default=[],
        help="say whether every arm keeps at least 1 - MARGIN of the baseline's J&F, and exit 1 unless all do: 0.01 or 99%%, 0.001 or "
        "99.9%% (MLPerf's targets); may be given more than once",
    )  # fmt: skip
    flags.add_argument(
        "--explain_by", type=_ATTRIBUTES, nargs="?", const=tuple(BY_NAME), default=(), metavar="ATTRIBUTE[,ATTRIBUTE]",
        help="say which attribute of the objects explains the change of J&F, and which objects decide it: "
        f"{', '.join(BY_NAME)} (all if none is named; give the flag after the runs then)",
    )  # fmt: skip
    flags.add_argument(
        "--force", action="store_true", help="compare what differs in other settings, and the times of rows marked invalid; says so"
    )
    flags.add_argument(
        "--format",
        type=_FORMAT,
        default="table",
        help="markdown and latex: one line per arm as a paper prints it, and with --details all the rest (default %(default)s)",
    )
    flags.add_argument("--details", action="store_true", help="markdown, latex: also the paired changes with their intervals")
    flags.add_argument("--explain", action="store_true", help="also say how to read the changes")
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
    flags.add_argument("--top", type=Whole(0, 1_000_000), default=5, help="objects that moved most to show (default %(default)s)")


def rendered(comparison: Comparison, form: str, *, details: bool = False, explain: bool = False, width: int | None = None) -> str:
    """The text of a comparison in one of the formats.

    Args:
        details: markdown, latex: also the paired changes.
        explain: table, markdown, latex: also how to read the changes.
        width: table: columns of the terminal; None: all columns.
    """
    if form == "csv":
        return render_csv(comparison)
    if form == "json":
        return render_json(comparison)
    if form == "table":
        return render_table(comparison, explain=explain, width=width)
    render = render_latex if form == "latex" else render_paper_markdown
    return render(comparison, details=details or explain or bool(comparison.options.explain_by), explain=explain)


def main(args: argparse.Namespace) -> int:
    """Compare, print, and return the exit status.

    Raises:
        InputError: a file cannot be read, or there is nothing to compare.
    """
    conditions = [parse_condition(text) for text in args.fail_if]
    if args.explain_by and args.format == "csv":
        raise InputError("--explain_by: --format csv has no place for it; use table, markdown, latex or json")
    options = Options(args.by, args.baseline, args.force, args.center, args.resamples, args.seed, args.top, args.explain_by)
    results = load_results(args.paths)
    if args.explain_by and not has_attributes(results.rows):
        raise InputError("--explain_by: no row has attributes of its object, older versions and other tools do not write them; run again")
    comparison = compare(results, options, read_frame_latencies(args.paths, results.labels, results.rows))
    sys.stdout.write(rendered(comparison, args.format, details=args.details, explain=args.explain, width=width_of(sys.stdout)))
    if args.format == "csv":
        for line in (*comparison.forced, *comparison.notes):
            print(line, file=sys.stderr)
    if warning := missing_times(comparison, results):
        print(f"jetson_benchmark compare: {warning}", file=sys.stderr)
    held = judge(comparison, conditions)
    verdicts = [verdict for margin in args.noninferior for verdict in judge_noninferiority(comparison, margin)]
    for line in (*held, *(verdict.line for verdict in verdicts)):
        print(line, file=sys.stderr)
    return EXIT_CONDITION_HELD if held or any(verdict.answer != "yes" for verdict in verdicts) else EXIT_OK
