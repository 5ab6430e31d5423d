"""What happened in this process during a call of the runner, from counters of the kernel and of Python that are read around it.

Reading them takes about 10 us of a CPU, before the call's clock starts and after it stops; on a GPU torch's statistics come on top.
"""

from __future__ import annotations

import gc
import resource
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from savbench.measure.devices import Device

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Nanoseconds on a CPU, nanoseconds waiting for one, and time slices of this thread."""


@dataclass(frozen=True)
class Witnessed:
    """Counts of one call; None where they cannot be read."""

    collected_ms: float = 0.0
    """Time in Python's garbage collector."""
    waited_ms: float | None = None
    """Time that the calling thread was ready to run and another one had its CPU."""
    minor_faults: int = 0
    """Pages that became memory of this process without reading a disk, as freshly allocated ones do."""
    major_faults: int = 0
    """Pages read from a disk or swap."""
    allocations: int | None = None
    """Requests of torch to the GPU's driver for memory."""
    compilations: int = 0
    is_first_of_size: bool = False
    """Whether the tracker read so many memories for the first time in this process."""


class Witness:
    """Use as a context manager around timed calls, and `begin` and `end` around each."""

    def __init__(self, device: Device, schedstat: Path = _SCHEDSTAT) -> None:
        self._device = device
        self._schedstat = schedstat
        self._collecting_s: float | None = None
        self._collected_s = 0.0
        self._before = self._look()

    def __enter__(self) -> Witness:
        gc.callbacks.append(self._on_collection)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        gc.callbacks.remove(self._on_collection)

    def begin(self) -> None:
        self._before = self._look()

    def end(self, *, compilations: int = 0, is_first_of_size: bool = False) -> Witnessed:
        """What happened since `begin`."""
        before, after = self._before, self._look()
        return Witnessed(
            collected_ms=(after.collected_s - before.collected_s) * 1e3,
            waited_ms=None if after.waited_ns is None or before.waited_ns is None else (after.waited_ns - before.waited_ns) / 1e6,
            minor_faults=after.minor_faults - before.minor_faults,
            major_faults=after.major_faults - before.major_faults,
            allocations=None if after.allocations is None or before.allocations is None else after.allocations - before.allocations,
            compilations=compilations,
            is_first_of_size=is_first_of_size,
        )

    def _on_collection(self, phase: str, _: dict[str, Any]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._collecting_s = now_s
        elif self._collecting_s is not None:
            self._collected_s += now_s - self._collecting_s
            self._collecting_s = None

    def _look(self) -> _Counts:
        used = resource.getrusage(resource.RUSAGE_SELF)
        try:
            waited_ns = int(self._schedstat.read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            waited_ns = None
        return _Counts(self._collected_s, waited_ns, used.ru_minflt, used.ru_majflt, self._device.allocations())


@dataclass(frozen=True)
class _Counts:
    collected_s: float
    waited_ns: int | None
    minor_faults: int
    major_faults: int
    allocations: int | None


_USED_SIZES: weakref.WeakKeyDictionary[object, set[tuple[int, int]]] = weakref.WeakKeyDictionary()


def is_first_use(runner: object, frames: int, tracks: int, limit: int) -> bool:
    """Whether a runner reads the memories of so many earlier frames for the first time; remembers that it has.

    Args:
        frames: earlier frames of the session.
        limit: earlier frames that the tracker reads at most; 0 for one without a memory.
    """
    used, size = _USED_SIZES.setdefault(runner, set()), (min(frames, limit), tracks)
    if not limit or size in used:
        return False
    used.add(size)
    return True
