"""`jetson_benchmark.py demo-data`."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, SEED, Choice, Whole
from savbench.data.conversion import TARGETS, convert
from savbench.data.dataset import open_split
from savbench.data.demo.split import (
    DEMO_FRAMES,
    DEMO_HEIGHT,
    DEMO_SEED,
    DEMO_VIDEOS,
    DEMO_WIDTH,
    MIN_DEMO_FRAMES,
    MIN_DEMO_SIDE,
    generate_demo_split,
)

if TYPE_CHECKING:
    import argparse

EXIT_OK = 0

_SIDE = Whole(MIN_DEMO_SIDE, 8_192, unit="pixels")


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description = "Write a small split like SA-V's, the same for a seed."
    flags.add_argument("out", type=INPUT_PATH, metavar="DST", help="folder to write; it becomes the --split_dir of a run")
    flags.add_argument("--layout", type=Choice(TARGETS), default=TARGETS[0], help="layout to write, see docs/data.md (default %(default)s)")
    flags.add_argument("--seed", type=SEED, default=DEMO_SEED, help="decides everything in it (default %(default)s)")
    flags.add_argument("--videos", type=Whole(1, 10_000), default=DEMO_VIDEOS, help="number of clips (default %(default)s)")
    frames = Whole(MIN_DEMO_FRAMES, 100_000, hint="with fewer, objects have no time to leave and return")
    flags.add_argument("--frames", type=frames, default=DEMO_FRAMES, help="frames of a clip, 24 a second (default %(default)s)")
    flags.add_argument("--height", type=_SIDE, default=DEMO_HEIGHT, help="pixels (default %(default)s)")
    flags.add_argument("--width", type=_SIDE, default=DEMO_WIDTH, help="pixels (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Write the demo split. Returns the exit status.

    Raises:
        DatasetError: the folder cannot be written.
    """
    wanted = {"seed": args.seed, "videos": args.videos, "frames": args.frames, "height": args.height, "width": args.width}
    if args.layout == TARGETS[0]:
        split_dir = generate_demo_split(args.out, **wanted)
    else:
        with tempfile.TemporaryDirectory() as folder:
            convert(open_split(generate_demo_split(folder, **wanted)), args.out, args.layout)
        split_dir = args.out
    print(f"demo split in {split_dir}")
    return EXIT_OK
