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
from typing import TYPE_CHECKING, Any

from savbench.finish.finisher import Finished
from savbench.supervise.worker_process import start_child

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from savbench.plan.arms import Arm
    from savbench.plan.config import RunConfig
    from savbench.results.delivery import Delivery

FINISHER_COMMAND = (sys.executable, "-m", "savbench.finish.finisher")
BACKLOG = 16
"""Rows that may wait; the supervisor then waits too, rather than hold the masks of ever more objects in memory."""


class FinisherProcess:
    """Use as a context manager. The process starts with the first row; one that dies is started again."""

    def __init__(self, config: RunConfig, split_name: str, log_path: Path, command: Sequence[str] = FINISHER_COMMAND) -> None:
        """
        Args:
            config: with `out_dir` set; its `timeout_s` bounds the time for one row.
            log_path: what the process prints is appended there.
        """
        self._first_line = json.dumps({"config": config.to_json(), "split_name": split_name})
        self._timeout_s = config.timeout_s
        self._log_path = log_path
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._pending = b""
        self._tasks: queue.Queue[tuple[Delivery, str] | None] = queue.Queue(BACKLOG)
        self._finished: queue.Queue[Finished] = queue.Queue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._serve, name="finisher", daemon=True)

    def __enter__(self) -> FinisherProcess:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tasks.put(None)
        self._thread.join()

    def submit(self, arm: Arm, delivery: Delivery, event: Mapping[str, Any]) -> None:
        """Have a row finished; waits where `BACKLOG` rows are waiting.

        Args:
            delivery: made of `event`; its row may have been added to since.
        """
        task = {"arm": vars(arm), "delivery": {**event, "row": vars(delivery.row)}}
        self._waiting += 1
        self._tasks.put((delivery, json.dumps(task)))

    def collect(self, *, wait: bool = False) -> Iterator[Finished]:
        """What is finished by now, or with `wait` everything that was submitted."""
        while self._waiting:
            try:
                finished = self._finished.get(block=wait)
            except queue.Empty:
                return
            self._waiting -= 1
            yield finished

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._finished.put(self._finish(*task))
        self._end()

    def _finish(self, delivery: Delivery, line: str) -> Finished:
        try:
            answer = self._ask_again(line)
        except (OSError, EOFError, TimeoutError) as error:
            reason = f"the scoring process failed twice ({error}); see logs/{self._log_path.name} in the run's folder"
            return Finished(delivery.row, delivery.frames, delivery.streaming, reason)
        return Finished.from_json(json.loads(answer))

    def _ask_again(self, line: str) -> bytes:
        """As `_ask`, with a second attempt in a fresh process."""
        try:
            return self._ask(line)
        except (OSError, EOFError, TimeoutError):
            self._end()
        try:
            return self._ask(line)
        except (OSError, EOFError, TimeoutError):
            self._end()
            raise

    def _ask(self, line: str) -> bytes:
        """
        Raises:
            EOFError: the process died. TimeoutError: it does not answer. OSError: it cannot be started or written to.
        """
        if self._child is None:
            self._start()
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(self._timeout_s):
                    raise TimeoutError(f"no answer for {self._timeout_s:g} s")
                data = os.read(self._answers, 1 << 16)
                if not data:
                    raise EOFError(f"it ended with exit status {self._child.wait()}")
                self._pending += data
        answer, _, self._pending = self._pending.partition(b"\n")
        return answer

    def _start(self) -> None:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            # A group of its own: Ctrl-C on the terminal must not take the rows that are waiting.
            self._child, self._answers = start_child(self._command, log, own_group=True)
        assert self._child.stdin is not None
        self._child.stdin.write(self._first_line.encode() + b"\n")

    def _end(self) -> None:
        if self._child is None:
            return
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()  # it leaves when its input ends
        try:
            self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        os.close(self._answers)
        self._child, self._answers, self._pending = None, -1, b""
