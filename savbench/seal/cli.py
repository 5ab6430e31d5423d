"""`jetson_benchmark.py seal`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from savbench.arguments.output import require_writable
from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH, FilePath, Whole
from savbench.results.grid import width_of
from savbench.results.run_lock import LockedError, RunLock
from savbench.seal.archive import SealError
from savbench.seal.audit import VIDEOS, audit_run
from savbench.seal.checks import opened
from savbench.seal.sealing import read_run, seal
from savbench.seal.table import render_checks

EXIT_OK, EXIT_FAILED = 0, 1

DESCRIPTION = "Seal a run: one archive of its rows, frames and circumstances with their hashes, which others check without the machine."
EPILOG = """\
examples:
  seal results/run -o orin-nano.zip --submitter "Jane Doe, jane@example.org"
  seal results/run -o orin-nano.zip --audit

Paths of this machine and names of nodes are taken out. Nothing in the run's folder changes; --audit adds audit.json.

exit status: 0 sealed, 1 sealed, but `check` fails it, 2 bad input
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("run", type=INPUT_PATH, metavar="RUN", help="folder of the run; an unfinished one is sealed as such")
    flags.add_argument("-o", "--output", type=FilePath(name="FILE"), help="archive to write (default RUN.zip)")
    flags.add_argument("--submitter", default="", metavar="TEXT", help="who stands for the results and how to reach them; shown by merge")
    flags.add_argument("--split_dir", type=INPUT_PATH, help="where the split is now (default: the path in the run's run.json)")
    flags.add_argument(
        "--audit", type=Whole(1, 1_000), nargs="?", const=VIDEOS,
        help=f"first run N videos (default {VIDEOS}) again under other names, in another order, and seal whether scores and times stay the "
        "same",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Seal and print what `check` says of the archive. Returns the exit status.

    Raises:
        SealError: the run cannot be sealed.
        AuditError: the audit cannot be made.
    """
    folder: Path = args.run
    output = args.output or Path(f"{folder.resolve().name}.zip")
    read_run(folder)
    require_writable("-o", output)
    lock = RunLock(folder)
    try:
        with contextlib.suppress(OSError):  # nobody can write where this user cannot
            lock.acquire()
    except LockedError as error:
        raise SealError(f"{folder}: a run is writing here; seal it when it has ended") from error
    try:
        if args.audit is not None:
            from savbench.supervise.progress import Progress

            audit_run(folder, args.audit, Progress())
        name = seal(folder, output, submitter=args.submitter, split_dir=args.split_dir, say=_say)
    except OSError as error:
        raise SealError(f"{error.filename or output}: {error.strerror or error}; give another -o, or mend that") from error
    finally:
        lock.release()
    with opened(output) as checked:
        print(render_checks(checked, width_of(sys.stdout)))
    print(f"sealed {output}, {output.stat().st_size / 2**20:.1f} MiB; quote its seal with the results: {name}")
    return EXIT_FAILED if checked.verdict == "fail" else EXIT_OK


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
