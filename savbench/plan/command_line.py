"""The command line of a run, and reading settings from it."""

from __future__ import annotations

import argparse
from typing import Any

from savbench.arguments.declared import add_flags, given_in, require
from savbench.arguments.parser import Parser
from savbench.plan.settings import CAMERA_FPS, RunConfig
from savbench.plan.upstream import checkout, edgetam_checkout

DESCRIPTION = """\
Run a SA-V split through promptable video segmentation models and write latency,
memory and J&F per object to CSV."""
EPILOG = "exit status: 0 every row is ok, 1 some rows are not, 2 bad arguments, 130 interrupted"


class _HelpOnAllFlags(argparse.Action):
    """Print the help with every flag, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        whole = Parser(prog=parser.prog, usage=f"{parser.prog} --split_dir DIR [FLAGS]", description=DESCRIPTION, epilog=EPILOG)
        add_flags(whole, RunConfig, show_all=True)
        whole.print_help()
        parser.exit()


def add_run_flags(parser: Parser) -> None:
    """Declare the flags of a run; --help shows those that most runs need."""
    parser.description = parser.description or DESCRIPTION
    parser.usage = parser.usage or f"{parser.prog} --split_dir DIR [--models LIST] [FLAGS]"
    parser.epilog = EPILOG
    parser.add_argument("--help_all", action=_HelpOnAllFlags, nargs=0, default=argparse.SUPPRESS, help="show all flags of a run and exit")
    add_flags(parser, RunConfig, show_all=False)


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """Settings from parsed arguments.

    Raises:
        ConfigError: a value is invalid or missing, or a checkout has no sam2 package.
    """
    given = given_in(arguments, RunConfig)
    require(given, RunConfig)
    if "realtime_from" in given:
        given.setdefault("realtime_fps", CAMERA_FPS)
    checkout("sam2_dir", given.get("sam2_dir"))
    return RunConfig(**{**given, "edgetam_dir": edgetam_checkout(given.get("edgetam_dir"))})
