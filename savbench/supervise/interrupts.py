"""Ctrl-C and SIGTERM during a run."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType

EXIT_INTERRUPTED = 130
NOTICE_S = 1.0
"""How long the main thread may hang after the first signal before KeyboardInterrupt interrupts it."""
LEAVE_S = 1.0
"""How long the process may take to clean up after the second signal."""


class StopRequestedError(Exception):
    """The user asked the run to stop."""


class Interrupts:
    """Use as a context manager in the main thread.

    The first signal requests an orderly stop, which waiting code sees by polling `requested`. If the main thread does not poll within
    `NOTICE_S`, because a pipe or a disk blocks it, KeyboardInterrupt interrupts it. The second signal raises KeyboardInterrupt at once and
    ends the process after `LEAVE_S` even if something hangs. A run's folder survives both: the next command drops what was half written.
    """

    def __init__(self) -> None:
        self._is_requested = False
        self._noticed = threading.Event()
        """Set once the main thread has seen the request."""
        self._left = threading.Event()
        """Set when the context has been left."""

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._noticed.set()
        self._left.set()

    def requested(self) -> bool:
        """Whether the user asked the run to stop. Only the main thread may call it: the call proves that it does not hang."""
        if self._is_requested:
            self._noticed.set()
        return self._is_requested

    def check(self) -> None:
        """
        Raises:
            StopRequestedError: the user asked the run to stop.
        """
        if self.requested():
            raise StopRequestedError

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._is_requested:
            threading.Thread(target=self._leave, name="leave", daemon=True).start()
            raise KeyboardInterrupt
        self._is_requested = True
        threading.Thread(target=self._interrupt_if_hanging, name="interrupt", daemon=True).start()

    def _interrupt_if_hanging(self) -> None:
        if not self._noticed.wait(NOTICE_S):
            main_thread = threading.main_thread().ident
            assert main_thread is not None  # it has started
            signal.pthread_kill(main_thread, signal.SIGINT)

    def _leave(self) -> None:
        if not self._left.wait(LEAVE_S):
            os._exit(EXIT_INTERRUPTED)
