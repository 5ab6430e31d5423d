"""The supervisor's handle of a worker process: starts it, reads its events, ends it."""

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
from typing import IO, TYPE_CHECKING, Any, Protocol

from savbench.board.cgroup import OomKills
from savbench.measure.failures import status_of_exit
from savbench.supervise.child import POLL_S, start_child, write_some
from savbench.supervise.interrupts import StopRequestedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WORKER_COMMAND = [sys.executable, "-m", "savbench.measure.worker"]
OOM_SCORE_ADJ = 500
"""Added to the worker's score when the kernel chooses a process to kill; 1000 stands for all of the memory. See `man 5 proc`."""
DUMP_S = 2.0
"""How long a hanging worker has to write its stack to the log."""
KILL_S = 30.0
"""How long a killed worker may take to free its memory, which the next worker needs."""
STOP_S = 0.5
"""The same after the user stopped the run, when no worker follows."""


class WorkerTimeoutError(Exception):
    """The worker sent no event for too long."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no progress for {timeout_s:g} s (--timeout); see the log for the stack where it hung")


class LineOfWork(Protocol):
    """What a child is to do, such as `savbench.plan.job.Job`."""

    def to_line(self) -> str:
        """As it is sent, with the end of the line."""


class WorkerProcess:
    """A child process that runs one job. It leads its own process group, so that Ctrl-C on the terminal reaches only the supervisor."""

    def __init__(self, job: LineOfWork, log_path: Path, command: Sequence[str] | None = None) -> None:
        """
        Args:
            log_path: file to which the worker's output is appended.
            command: of the worker, without `--events`; None means `WORKER_COMMAND`.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._oom_kills = OomKills()
        with log_path.open("ab") as log:
            self._child, reading = start_child(command or WORKER_COMMAND, log, own_group=True)
        with contextlib.suppress(OSError):
            # if memory runs out the kernel should kill the worker, which costs one object, and not the supervisor or the desktop
            Path(f"/proc/{self._child.pid}/oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="ascii")
        self._is_killed = False
        self._events = os.fdopen(reading, "rb", buffering=0)
        self._unsent = memoryview(job.to_line().encode())

    def events(self, timeout_s: float, stop_requested: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """The worker's events until it ends.

        Raises:
            WorkerTimeoutError: no event arrived for `timeout_s` seconds.
            StopRequestedError: `stop_requested` returned true; the worker was killed.
        """
        pending = b""
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._events, selectors.EVENT_READ)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            while True:
                if stop_requested():
                    self.kill(patience_s=STOP_S)
                    raise StopRequestedError
                ready = {key.fileobj for key, _ in selector.select(POLL_S)}
                if self._stdin in ready and not self._send_job():
                    selector.unregister(self._stdin)
                if self._events not in ready:
                    if time.monotonic() - last > timeout_s:
                        raise WorkerTimeoutError(timeout_s)
                    continue
                data = os.read(self._events.fileno(), 1 << 16)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                yield from map(json.loads, lines)
                last = time.monotonic()  # exclude the time that handling the events took

    def go_on(self) -> None:
        """Let a worker continue whose job waits after a session."""
        with contextlib.suppress(BrokenPipeError):  # as in `_send_job`; the worker has read its job, so one byte always fits
            os.write(self._stdin.fileno(), b"\n")

    def _send_job(self) -> memoryview:
        """Send as much of the job as the pipe takes without blocking. Returns the rest."""
        try:
            self._unsent = write_some(self._stdin, self._unsent)
        except BrokenPipeError:  # the end of its events shows that the worker died
            self._unsent = memoryview(b"")
        return self._unsent

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._child.stdin is not None  # `start_child` opens a pipe
        return self._child.stdin

    def wait(self) -> tuple[str, str] | None:
        """Wait for a worker whose events have ended. Returns status and message if it failed, else None."""
        try:
            return_code = self._child.wait(KILL_S)
        except subprocess.TimeoutExpired:
            return "error", f"the worker closed its events and did not end within {KILL_S:g} s"
        if return_code == 0:
            return None
        return status_of_exit(return_code, self._oom_kills.risen())

    def kill(self, *, dump_stack: bool = False, patience_s: float = KILL_S) -> None:
        """Kill the worker.

        Args:
            dump_stack: let it write the stack where it hangs to the log first.
            patience_s: how long to wait until it is gone. A process blocked in a driver or on a disk may stay.
        """
        if self._is_killed:
            return
        self._is_killed = True
        if self._child.poll() is None and dump_stack:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                self._child.send_signal(signal.SIGABRT)
                self._child.wait(DUMP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # with its data loaders and compilers
            os.killpg(self._child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(patience_s)

    def close(self) -> None:
        """Kill the worker if it still runs, and close its pipes."""
        self.kill()
        self._events.close()
        self._stdin.close()
