"""`jetson_benchmark.py demo-data`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from savbench.arguments.declared import ConfigError, Parser
from savbench.arguments.values import INPUT_PATH, SEED, Whole
from savbench.data.dataset import DatasetError
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
    from collections.abc import Sequence

EXIT_OK, EXIT_BAD_INPUT = 0, 2

_SIDE = Whole(MIN_DEMO_SIDE, 8_192, unit="pixels")


def parser() -> Parser:
    """The flags of the subcommand."""
    flags = Parser(prog="jetson_benchmark.py demo-data", description="Write a small SA-V-shaped split, the same for a seed.")
    flags.add_argument("out", type=INPUT_PATH, help="folder to write; it becomes the --split_dir of a run")
    flags.add_argument("--seed", type=SEED, default=DEMO_SEED, help="decides everything in it (default %(default)s)")
    flags.add_argument("--videos", type=Whole(1, 10_000), default=DEMO_VIDEOS, help="number of clips (default %(default)s)")
    frames = Whole(MIN_DEMO_FRAMES, 100_000, hint="with fewer, objects have no time to leave and return")
    flags.add_argument("--frames", type=frames, default=DEMO_FRAMES, help="frames of a clip, 24 a second (default %(default)s)")
    flags.add_argument("--height", type=_SIDE, default=DEMO_HEIGHT, help="pixels (default %(default)s)")
    flags.add_argument("--width", type=_SIDE, default=DEMO_WIDTH, help="pixels (default %(default)s)")
    return flags


def main(argv: Sequence[str]) -> int:
    """Write the demo split. Returns the exit status."""
    try:
        args = parser().parse_args(argv)
        split_dir = generate_demo_split(
            args.out, seed=args.seed, videos=args.videos, frames=args.frames, height=args.height, width=args.width
        )
    except (ConfigError, DatasetError) as error:
        print(f"jetson_benchmark demo-data: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(f"demo split in {split_dir}")
    return EXIT_OK
