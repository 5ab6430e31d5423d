"""`jetson_benchmark.py merge`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from savbench.arguments.output import write_text
from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, FilePath
from savbench.results.grid import text_table, width_of, wrapped
from savbench.seal.archive import SealError
from savbench.seal.leaderboard import merge, table_of
from savbench.seal.page import render_csv, render_page

EXIT_OK, EXIT_FAILED = 0, 1

DESCRIPTION = "Merge sealed runs into one leaderboard: a table per board and power mode, as a page and as CSV."
EPILOG = """\
examples:
  merge orin-nano.zip agx.zip -o leaderboard.html

Every archive is checked first. What fails a check stands last and is marked; the same run in two archives counts once.

exit status: 0 merged, 1 merged, but an archive fails its check, 2 bad input or refused
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("archives", type=INPUT_PATH, nargs="+", metavar="FILE", help="archives that `seal` wrote")
    flags.add_argument(
        "-o", "--output", type=FilePath(name="FILE"), default=Path("leaderboard.html"),
        help="page to write, with a table of the same name beside it, .csv (default %(default)s)",
    )  # fmt: skip
    flags.add_argument("--title", default="Video segmentation leaderboard", help="of the page")
    flags.add_argument("--force", action="store_true", help="show archives of several protocol versions, each version in tables of its own")


def main(args: argparse.Namespace) -> int:
    """Merge, print and write. Returns the exit status.

    Raises:
        SealError: an archive cannot be opened, or they are of several versions of the protocol.
        ReportError: a package that draws the page is missing.
    """
    page: Path = args.output
    if page.suffix.lower() != ".html":
        raise SealError(f"-o {page}: the page is HTML; give a name that ends in .html")
    board = merge(args.archives, force=args.force)
    written = {page: render_page(board, args.title), page.with_suffix(".csv"): render_csv(board)}
    width = width_of(sys.stdout)
    for group in board.groups:
        remarks = [line for note in group.notes for line in wrapped(note, width)]
        print("\n".join([*wrapped(group.title, width), text_table(table_of(group), width), *remarks, ""]))
    for line in (*board.notes, *(f"not in the tables: {line}" for line in board.left_out)):
        print(line)
    try:
        for path, text in written.items():
            write_text(path, text)
            print(f"wrote {path}")
    except OSError as error:
        raise SealError(f"{error.filename or page}: {error.strerror}; give another -o") from error
    return EXIT_FAILED if board.failing else EXIT_OK
