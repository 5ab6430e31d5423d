"""What a child process does so that it does not outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that a process gets when its parent ends."""


def end_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends.

    The end of standard input shows the same on every system, but the thread that reads it has to wait while another one holds the
    interpreter, for example to load a large library.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_with_parent() -> None:
    """Exit as soon as standard input ends, which it does however the parent ends. Returns at once."""
    end_with_parent()

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
