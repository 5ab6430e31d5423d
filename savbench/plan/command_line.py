"""The command line of a run, and reading settings from it."""

from __future__ import annotations

import argparse

from savbench.arguments.declared import Parser, add_flags, given_in
from savbench.plan.settings import CAMERA_FPS, RunConfig
from savbench.plan.upstream import checkout, edgetam_checkout


def run_parser(epilog: str = "") -> Parser:
    """The flags of a run.

    Args:
        epilog: text at the end of the help.
    """
    parser = Parser(
        prog="jetson_benchmark.py",
        description="Run a SA-V split through promptable video segmentation models and write latency, memory and J&F per object to CSV.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser, RunConfig)
    return parser


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """Settings from parsed arguments.

    Raises:
        ConfigError: a value is invalid, or a checkout has no sam2 package.
    """
    given = given_in(arguments, RunConfig)
    if "realtime_from" in given:
        given.setdefault("realtime_fps", CAMERA_FPS)
    checkout("sam2_dir", given.get("sam2_dir"))
    return RunConfig(**{**given, "edgetam_dir": edgetam_checkout(given.get("edgetam_dir"))})
