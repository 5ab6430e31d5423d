"""`jetson_benchmark.py check`."""

from __future__ import annotations

import argparse
import json
import sys

from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH
from savbench.results.grid import width_of
from savbench.seal.archive import SealError
from savbench.seal.checks import opened
from savbench.seal.table import render_checks

EXIT_OK, EXIT_FAILED = 0, 1

DESCRIPTION = "Check a sealed run without its machine: sums, figures that follow from others, coverage, history, clocks, audit."
EPILOG = """\
examples:
  check orin-nano.zip
  check orin-nano.zip --split_dir /data/sav_val

Needs the archive only: no board, no torch, no data. With --split_dir it also compares the hashes of frames and masks, and scores saved
masks again.

exit status: 0 no check failed, 1 one did, 2 bad input
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("archive", type=INPUT_PATH, metavar="FILE", help="archive that `seal` wrote")
    flags.add_argument("--split_dir", type=INPUT_PATH, help="the data set, to compare its hashes and score saved masks again")
    flags.add_argument("--json", action="store_true", help="write one JSON object instead of the table")


def main(args: argparse.Namespace) -> int:
    """Check and print. Returns the exit status.

    Raises:
        SealError: the archive cannot be opened.
    """
    try:
        with opened(args.archive, args.split_dir) as checked:
            print(json.dumps(checked.to_json(), indent=2) if args.json else render_checks(checked, width_of(sys.stdout)))
    except OSError as error:
        raise SealError(f"{error.filename or args.archive}: {error.strerror or error}; give an archive that `seal` wrote") from error
    return EXIT_FAILED if checked.verdict == "fail" else EXIT_OK
