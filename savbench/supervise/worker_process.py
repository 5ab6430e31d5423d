"""A worker process as the supervisor sees it: started, listened to, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from savbench.board.cgroup import OomKills
from savbench.measure.failures import status_of_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.plan.job import Job

ROOT = Path(__file__).resolve().parents[2]
WORKER_COMMAND = [sys.executable, "-m", "savbench.measure.worker"]
POLL_S = 0.2
OOM_SCORE_ADJ = 500
"""Added to the worker's points when the kernel chooses whom to kill, where 1000 are all of the memory; see `man 5 proc`."""
DUMP_S = 2.0
"""How long a hanging worker gets to write its stack into the log."""


class WorkerTimeoutError(Exception):
    """The worker gave no sign of progress for too long."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no progress for {timeout_s:g} s (--timeout); the log has the stack where it hung")


class StopRequestedError(Exception):
    """The user wants the run to end."""


def start_child(command: Sequence[str], log: IO[bytes], *, own_group: bool) -> tuple[subprocess.Popen[bytes], int]:
    """Start a child process that takes its job on standard input and tells events on a pipe of its own, whose number is `--events`.

    Args:
        log: what the child prints goes there.
        own_group: lead a process group, so that Ctrl-C on the terminal does not reach the child.

    Returns:
        The child and the reading end of its events.
    """
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            [*command, "--events", str(writing)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            # progress bars of libraries would fill the log
            env={**os.environ, "TQDM_DISABLE": "1"},
            pass_fds=(writing,),
            start_new_session=own_group,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return child, reading


class WorkerProcess:
    """A child that runs one job. It leads its own process group, so that Ctrl-C on the terminal reaches the supervisor alone."""

    def __init__(self, job: Job, log_path: Path, command: Sequence[str] | None = None) -> None:
        """
        Args:
            log_path: what the worker prints is appended there.
            command: of the worker, without its `--events`; None takes `WORKER_COMMAND`.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._oom_kills = OomKills()
        with log_path.open("ab") as log:
            self._child, reading = start_child(command or WORKER_COMMAND, log, own_group=True)
        with contextlib.suppress(OSError):
            # where memory runs out the kernel is to take the worker, which costs an object, and not the supervisor or the desktop
            Path(f"/proc/{self._child.pid}/oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="ascii")
        self._events = os.fdopen(reading, "rb", buffering=0)
        with contextlib.suppress(BrokenPipeError):  # a child that died at once is noticed by its missing events
            assert self._child.stdin is not None
            self._child.stdin.write(job.to_line().encode())
            self._child.stdin.flush()

    def events(self, timeout_s: float, stop_requested: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """The worker's events until it ends.

        Raises:
            WorkerTimeoutError: nothing came for `timeout_s` seconds.
            StopRequestedError: `stop_requested` says so.
        """
        pending = b""
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._events, selectors.EVENT_READ)
            while True:
                if stop_requested():
                    raise StopRequestedError
                if not selector.select(POLL_S):
                    if time.monotonic() - last > timeout_s:
                        raise WorkerTimeoutError(timeout_s)
                    continue
                data = os.read(self._events.fileno(), 1 << 16)
                if not data:
                    return
                last = time.monotonic()
                *lines, pending = (pending + data).split(b"\n")
                yield from map(json.loads, lines)

    def wait(self) -> tuple[str, str] | None:
        """Wait for a worker whose events have ended. Returns status and message where it did not end well."""
        return_code = self._child.wait()
        if return_code == 0:
            return None
        return status_of_exit(return_code, self._oom_kills.risen())

    def kill(self, *, dump_stack: bool = False) -> None:
        """End the worker now; with `dump_stack` it first writes where it hangs into the log."""
        if self._child.poll() is None and dump_stack:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                self._child.send_signal(signal.SIGABRT)
                self._child.wait(DUMP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # its data loaders and compilers too
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def close(self) -> None:
        """Free the pipes; the worker is ended if it still runs."""
        self.kill()
        self._events.close()
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
