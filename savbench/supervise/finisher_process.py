"""The finisher as the supervisor sees it: rows go in, finished rows come out, in the background and in order."""

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
"""Rows that may wait; the supervisor then waits too, rather than let ever more masks lie on the disk."""
END_S = 1.0
"""How long the process may take to end by itself when it has nothing more to do."""


class FinisherError(RuntimeError):
    """No row can be finished any more; the message says why."""


class _AbandonedError(Exception):
    """Nobody waits for the rows any more."""


class FinisherProcess:
    """Use as a context manager. The process starts with the first row; one that dies or hangs is replaced."""

    def __init__(self, config: RunConfig, split_name: str, log_path: Path, command: Sequence[str] | None = None) -> None:
        """
        Args:
            config: with `out_dir` set; its `timeout_s` bounds how long the process may neither read its task nor answer.
            log_path: what the process prints is appended there.
            command: of the process, without its `--events`; None takes `FINISHER_COMMAND`.
        """
        self._first_line = json.dumps({"config": config.to_json(), "split_name": split_name}).encode() + b"\n"
        self._timeout_s = config.timeout_s
        self._log_path = log_path
        self._command = command or FINISHER_COMMAND
        self._child: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._tasks: queue.Queue[tuple[Delivery, str] | None] = queue.Queue(BACKLOG)
        self._finished: queue.Queue[Finished] = queue.Queue()
        self.waiting = 0
        """Rows that were submitted and not collected."""
        self._failure = ""
        """Why the thread has ended before its time."""
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._serve, name="finisher", daemon=True)

    def __enter__(self) -> FinisherProcess:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process; rows that were not collected are given up."""
        self._is_abandoned = self.waiting > 0
        while self._thread.is_alive():
            try:
                self._tasks.put(None, timeout=POLL_S)
                break
            except queue.Full:
                continue
        self._thread.join(2 * END_S)

    def submit(self, arm: Arm, delivery: Delivery, event: Mapping[str, Any], give_up: Callable[[], bool] = lambda: False) -> None:
        """Have a row finished; waits where `BACKLOG` rows are waiting, until `give_up` says that the row is not wanted any more.

        Args:
            delivery: made of `event`; its row may have been added to since.

        Raises:
            FinisherError: no row can be finished any more.
        """
        task = delivery, json.dumps({"arm": vars(arm), "delivery": {**event, "row": vars(delivery.row), "spans": []}})
        while not give_up():
            self._check()
            try:
                self._tasks.put(task, timeout=POLL_S)
            except queue.Full:
                continue
            self.waiting += 1
            return

    def collect(self, *, wait: bool = False, give_up: Callable[[], bool] = lambda: False) -> Iterator[Finished]:
        """What is finished by now, or with `wait` everything that was submitted, as long as `give_up` does not say otherwise.

        Raises:
            FinisherError: rows are missing that cannot be finished any more.
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
            remedy = "report this as a bug; the same command goes on from here"
            raise FinisherError(f"rows cannot be scored any more ({self._failure}); {remedy}")

    def _serve(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._finished.put(self._finish(*task))
        except _AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 - told to the main thread, which would wait for ever
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            self._end()

    def _finish(self, delivery: Delivery, line: str) -> Finished:
        try:
            answer, replaced = self._ask_again(line)
        except (OSError, EOFError, TimeoutError) as error:
            reason = f"the scoring process failed twice ({error}); see logs/{self._log_path.name} in the run's folder"
            return Finished(delivery.row, delivery.frames, delivery.streaming, reason)
        finally:
            delivery.discard()
        finished = Finished.from_json(json.loads(answer))
        finished.row.scorer_replaced = replaced
        return finished

    def _ask_again(self, line: str) -> tuple[bytes, str]:
        """As `_ask`, with a second attempt in a fresh process. Also returns why there was one."""
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
            EOFError: the process died. TimeoutError: it does not read or answer. OSError: it cannot be started or written to.
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
            # A group of its own: Ctrl-C on the terminal must not take the rows that are waiting.
            self._child, self._answers = start_child(self._command, log, own_group=True)
        self._unsent = memoryview(self._first_line)
        return self._child

    def _end(self) -> None:
        child = self._child
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()  # it leaves when its input ends
        try:
            child.wait(0.0 if self._is_abandoned else END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs on a disk, and is gone when that answers
                child.wait(END_S)
        os.close(self._answers)
        self._child, self._answers, self._received = None, -1, bytearray()
