"""`jetson_benchmark.py convert`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, Choice, Text
from savbench.data.conversion import TARGETS, convert
from savbench.data.dataset import AUTO, LAYOUTS, open_split

if TYPE_CHECKING:
    import argparse

EXIT_OK, EXIT_LEFT_OUT = 0, 1


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description = "Write a data set in another layout, without loss; a video that the layout cannot hold is left out and named."
    flags.epilog = "exit status: 0 every video was written, 1 some were left out, 2 bad arguments"
    flags.add_argument("source", metavar="SRC", type=INPUT_PATH, help="folder of the data set")
    flags.add_argument("out", metavar="DST", type=INPUT_PATH, help="new folder")
    flags.add_argument(
        "--to", required=True, type=Choice(TARGETS, name="LAYOUT"), help=f"layout to write: {', '.join(TARGETS)}; see docs/data.md"
    )
    flags.add_argument("--layout", default=AUTO, type=Choice((AUTO, *LAYOUTS)), help="layout of SRC (default %(default)s)")
    flags.add_argument("--split_name", type=Text(), help="list of videos to convert (default: the only one)")


def main(args: argparse.Namespace) -> int:
    """Convert. Returns the exit status.

    Raises:
        DatasetError: the data set cannot be read, or the folder not written.
    """
    split = open_split(args.source, args.split_name, args.layout)
    converted = convert(split, args.out, args.to)
    for name, problem in converted.problems.items():
        print(f"left out {name}: {problem}", file=sys.stderr)
    print(f"{len(converted.videos)} of {len(split.videos)} videos from {split.layout.name} to {args.to} in {args.out}")
    return EXIT_LEFT_OUT if converted.problems else EXIT_OK
