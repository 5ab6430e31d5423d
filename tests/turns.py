"""Tests marked `alone` run while no other test does, where pytest-xdist runs several at once."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def _lock(path: Path, kind: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, kind)  # closing releases it
        yield


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until the test may run, beside others or `alone`, among the processes that share `folder`.

    All pass one gate, which a test that waits to be alone keeps shut, so that others cannot overtake it for ever.
    """
    with contextlib.ExitStack() as held:
        with _lock(folder / "gate", fcntl.LOCK_EX):
            held.enter_context(_lock(folder / "running", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield
