"""`jetson_benchmark.py run`, the subcommand that may be left out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from savbench.plan.command_line import add_run_flags, config_of

if TYPE_CHECKING:
    import argparse

    from savbench.arguments.parser import Parser


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    add_run_flags(flags)


def main(args: argparse.Namespace) -> int:
    """Run, and return the exit status.

    Raises:
        UserError: as `savbench.supervise.run.run`.
    """
    config = config_of(args)
    # What is imported here costs more time than bad arguments may take.
    from savbench.supervise.progress import Progress
    from savbench.supervise.run import run

    if config.stop_when_decided is not None:
        from savbench.supervise.sequential import run_until_decided

        return run_until_decided(config, [sys.argv[0], *args.words], Progress())
    return run(config, [sys.argv[0], *args.words], Progress())
