"""The supervisor's handle of the finisher: takes rows and returns them finished, in the background and in order."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from savbench.arguments.errors import UserError
from savbench.finish.finisher import Finished
from savbench.supervise.child import POLL_S, start_child, write_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from savbench.plan.arms import Arm
    from savbench.plan.settings import RunConfig
    from savbench.results.delivery import Delivery

FINISHER_COMMAND: Sequence[str] = (sys.executable, "-m", "savbench.finish.finisher")
BACKLOG = 16
"""Tasks that may wait to be scored; beyond that the supervisor waits too, so that masks do not pile up on the disk."""
END_S = 1.0
"""How long the idle process may take to end by itself."""


class FinisherError(UserError, RuntimeError):
    """Rows can no longer be finished; the message says why."""


class _AbandonedError(Exception):
    """The supervisor no longer waits for the rows."""


class FinisherProcess:
    """Use as a context manager. The process starts with the first row; one that dies or hangs is replaced."""

    def __init__(self, config: RunConfig, split_name: str, log_path: Path, command: Sequence[str] | None = None) -> None:
        """
        Args:
            config: with `out_dir` set; `timeout_s` bounds how long the process may neither read its task nor answer.
            log_path: file to which the process's output is appended.
            command: of the process, without `--events`; None means `FINISHER_COMMAND`.
        """
        self._first_line = json.dumps({"config": config.to_json(), "split_name": split_name}).encode() + b"\n"
        self._timeout_s = config.timeout_s
        self._log_path = log_path
        self._command = command or FINISHER_COMMAND
        self._child: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._tasks: queue.Queue[tuple[Sequence[Delivery], str] | None] = queue.Queue(BACKLOG)
        self._finished: queue.Queue[Finished] = queue.Queue()
        self.waiting = 0
        """Number of rows submitted and not yet collected."""
        self._failure = ""
        """Why the thread ended early; empty if it did not."""
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._serve, name="finisher", daemon=True)

    def __enter__(self) -> FinisherProcess:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process and drop rows that were not collected."""
        self._is_abandoned = self.waiting > 0
        while self._thread.is_alive():
            try:
                self._tasks.put(None, timeout=POLL_S)
                break
            except queue.Full:
                continue
        self._thread.join(2 * END_S)

    def submit(self, arm: Arm, rows: Sequence[tuple[Delivery, Mapping[str, Any]]], give_up: Callable[[], bool] = lambda: False) -> None:
        """Queue rows to be finished together. While `BACKLOG` tasks are waiting, blocks until there is room or `give_up` returns true.

        Args:
            rows: each with the event that it was parsed from; the row and its frames may have more columns by now.

        Raises:
            FinisherError: rows can no longer be finished.
        """
        events = [
            {**event, "row": vars(delivery.row), "frames": [vars(frame) for frame in delivery.frames], "spans": []}
            for delivery, event in rows
        ]
        task = [delivery for delivery, _ in rows], json.dumps({"arm": vars(arm), "deliveries": events})
        while not give_up():
            self._check()
            try:
                self._tasks.put(task, timeout=POLL_S)
            except queue.Full:
                continue
            self.waiting += len(rows)
            return

    def collect(self, *, wait: bool = False, give_up: Callable[[], bool] = lambda: False) -> Iterator[Finished]:
        """Rows finished so far; with `wait` all submitted rows, until `give_up` returns true.

        Raises:
            FinisherError: the missing rows can no longer be finished.
        """
        while self.waiting:
            try:
                finished = self._finished.get(wait, POLL_S)
            except queue.Empty:
                self._check()
                if not wait or give_up():
                    return
                continue
            self.waiting -= 1
            yield finished

    def _check(self) -> None:
        if self._failure and self._finished.empty():
            remedy = "report this as a bug; run the same command again to continue"
            raise FinisherError(f"rows can no longer be scored ({self._failure}); {remedy}")

    def _serve(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                for finished in self._finish(*task):
                    self._finished.put(finished)
        except _AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 - `_check` raises it in the main thread, which would otherwise wait forever
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._end()

    def _finish(self, deliveries: Sequence[Delivery], line: str) -> list[Finished]:
        try:
            answer, replaced = self._ask_again(line)
        except (OSError, EOFError, TimeoutError) as error:
            reason = f"the scoring process failed twice ({error}); see logs/{self._log_path.name} in the run's folder"
            return [Finished(one.row, one.frames, one.streaming, reason) for one in deliveries]
        finally:
            for one in deliveries:
                one.discard()
        rows = [Finished.from_json(one) for one in json.loads(answer)]
        for finished in rows:
            finished.row.scorer_replaced = replaced
        return rows

    def _ask_again(self, line: str) -> tuple[bytes, str]:
        """As `_ask`, with a second attempt in a fresh process. Also returns why it was needed; empty if it was not."""
        try:
            return self._ask(line), ""
        except (OSError, EOFError, TimeoutError) as error:
            replaced = str(error)
            self._end()
        try:
            return self._ask(line), replaced
        except (OSError, EOFError, TimeoutError):
            self._end()
            raise

    def _ask(self, line: str) -> bytes:
        """
        Raises:
            EOFError: the process died.
            TimeoutError: it does not read or answer.
            OSError: it cannot be started or written to.
        """
        child = self._child or self._start()
        assert child.stdin is not None
        self._unsent = memoryview(bytes(self._unsent) + line.encode() + b"\n")
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdin, selectors.EVENT_WRITE)
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if self._is_abandoned:
                    raise _AbandonedError
                ready = selector.select(POLL_S)
                if ready:
                    last = time.monotonic()
                elif time.monotonic() - last > self._timeout_s:
                    what = "did not read its task" if self._unsent else "gave no answer"
                    raise TimeoutError(f"it {what} for {self._timeout_s:g} s")
                for key, _ in ready:
                    if key.fileobj is child.stdin:
                        self._unsent = write_some(child.stdin, self._unsent)
                        if not self._unsent:
                            selector.unregister(child.stdin)
                    else:
                        self._receive(child)
        answer, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        return answer

    def _receive(self, child: subprocess.Popen[bytes]) -> None:
        data = os.read(self._answers, 1 << 16)
        if not data:
            raise EOFError(f"it ended with exit status {child.wait(END_S)}")
        self._received += data

    def _start(self) -> subprocess.Popen[bytes]:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            # own group: Ctrl-C on the terminal must not end it while rows are waiting
            self._child, self._answers = start_child(self._command, log, own_group=True)
        self._unsent = memoryview(self._first_line)
        return self._child

    def _end(self) -> None:
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()  # the process exits when its input ends
        try:
            child.wait(0.0 if self._is_abandoned else END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a process blocked on a disk dies once the disk answers
                child.wait(END_S)
        os.close(self._answers)
        self._child, self._answers, self._received = None, -1, bytearray()
