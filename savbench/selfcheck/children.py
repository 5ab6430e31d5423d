"""A group of checks in a process of its own, so that a crash is a finding and not the end: both ends of the pipe between them."""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from savbench.measure.parent import leave_with_parent
from savbench.selfcheck.outcome import broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.selfcheck.outcome import Outcome
    from savbench.supervise.worker_process import LineOfWork


def events_of(order: LineOfWork, name: str, command: Sequence[str], timeout_s: float) -> Iterator[dict[str, Any]]:
    """In the parent: the events of a child; one that ends badly adds a failed outcome.

    Args:
        order: what the child is to check.
        name: of the group, for that outcome.
        command: of the child, without `--events` and `--folder`: the child's folder is the parent's to remove.
        timeout_s: a child that says nothing for so long is ended, and reported as hanging.
    """
    # --help has no time for this
    from savbench.supervise.worker_process import WorkerProcess, WorkerTimeoutError

    with tempfile.TemporaryDirectory(prefix="selfcheck-") as folder:
        log = Path(folder) / "log"
        work = Path(folder) / "work"
        work.mkdir()
        child = WorkerProcess(order, log, [*command, "--folder", str(work)])
        ended = None
        try:
            yield from child.events(timeout_s, lambda: False)
            ended = child.wait()
        except WorkerTimeoutError:
            child.kill(dump_stack=True)
            ended = ("hang", f"no sign of progress for {timeout_s:g} s, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
        finally:
            child.close()
        if ended is not None:
            print("\n".join(_last_lines(log)), file=sys.stderr)
            yield {"outcome": broken(f"{name}: could not be checked", ended[1]).to_json()}


def _last_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]


def serve(argv: Sequence[str] | None, check: Callable[[str, Path, IO[str]], tuple[str, Iterator[Outcome]]]) -> int:
    """In the child: read the order as one line of JSON from standard input, check, and send outcomes to the file descriptor `--events`.

    Standard input stays open; the child ends when it ends.

    Args:
        check: takes the order's line, an empty folder, and the pipe, for `send`; returns the group's name and its outcomes.
    """
    parser = argparse.ArgumentParser(description="Runs one group of checks; started by `jetson_benchmark.py`.")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    with os.fdopen(args.events, "w", encoding="utf-8") as events:
        line = sys.stdin.readline()
        leave_with_parent()
        name, outcomes = check(line, args.folder, events)
        try:
            for outcome in outcomes:
                send(events, outcome=outcome.to_json())
        # whatever it is belongs into the report: a group that cannot be run is a finding
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            send(events, outcome=broken(f"{name}: could not be checked", error).to_json())
    return 0


def send(events: IO[str], **data: object) -> None:
    """Send one event."""
    events.write(json.dumps(data) + "\n")
    events.flush()
