"""The command line of a run, and reading settings from it."""

from __future__ import annotations

import argparse
from typing import Any

from savbench.arguments.declared import ConfigError, add_flags, given_in, require
from savbench.arguments.parser import Parser
from savbench.arguments.values import FilePath
from savbench.plan.config_file import read_config
from savbench.plan.settings import RunConfig
from savbench.plan.settings_measuring import CAMERA_FPS
from savbench.plan.upstream import checkout, edgetam_checkout, efficienttam_checkout

DESCRIPTION = """\
Run a SA-V split through promptable video segmentation models and write latency,
memory and J&F per object to CSV."""
CONFIG_HELP = """\
TOML file with settings, NAME = VALUE with the names of the flags, such as config.toml in the folder of a run; the command line wins,
--no_NAME takes a switch of the file back"""
EPILOG = "exit status: 0 every row is ok, 1 some rows are not, 2 bad arguments, 130 interrupted"


class _HelpOnAllFlags(argparse.Action):
    """Print the help with every flag, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        whole = Parser(prog=parser.prog, usage=f"{parser.prog} --split_dir DIR [FLAGS]", description=DESCRIPTION, epilog=EPILOG)
        whole.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
        add_flags(whole, RunConfig, show_all=True)
        whole.print_help()
        parser.exit()


def add_run_flags(parser: Parser) -> None:
    """Declare the flags of a run; --help shows those that most runs need."""
    parser.description = parser.description or DESCRIPTION
    parser.usage = parser.usage or f"{parser.prog} --split_dir DIR [--models LIST] [FLAGS]"
    parser.epilog = EPILOG
    parser.add_argument("--help_all", action=_HelpOnAllFlags, nargs=0, default=argparse.SUPPRESS, help="show all flags of a run and exit")
    parser.add_argument("--config", type=FilePath(name="FILE"), help=CONFIG_HELP)
    add_flags(parser, RunConfig, show_all=False)


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """Settings from parsed arguments.

    Raises:
        ConfigError: the file of --config or a value is invalid, a value is missing, or a checkout does not hold its package.
    """
    spoken = given_in(arguments, RunConfig)
    given = {**({} if arguments.config is None else read_config(arguments.config)), **spoken}
    require(given, RunConfig)
    if "realtime_from" in given:
        given.setdefault("realtime_fps", CAMERA_FPS)
    if given.get("implementation") == "transformers":
        for folder in ("sam2_dir", "edgetam_dir"):
            if folder in spoken:
                raise ConfigError(
                    f"--{folder}: names official code, which --implementation transformers does not run; leave out one of them"
                )
        given |= {"sam2_dir": None, "edgetam_dir": None}
    else:
        checkout("sam2_dir", given.get("sam2_dir"))
        given["edgetam_dir"] = edgetam_checkout(given.get("edgetam_dir"))
    return RunConfig(**{**given, "efficienttam_dir": efficienttam_checkout(given.get("efficienttam_dir"))})
