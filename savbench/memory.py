"""Memory of this process, of the GPU as torch counts it, and the kernel's out-of-memory kills. Sizes are in MiB."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

MIB = 2**20


class RssSampler:
    """Peak of this process' resident memory over a stretch of time, sampled by a thread.

        with RssSampler() as rss:
            ...
        rss.peak_mib

    Where it starts and where it ends is measured too, so that stretches shorter than the interval have a peak. A peak that comes and goes
    between two samples is missed. One sample reads /proc/self/statm. Systems without it give the highest figure since the process began,
    which `getrusage` counts, instead of the highest of the stretch.
    """

    def __init__(self, interval_s: float = 0.02) -> None:
        """
        Raises:
            ValueError: the interval is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"the interval between samples is above 0 seconds, not {interval_s}")
        self._interval_s = interval_s
        self._peak_mib = 0.0
        self._statm: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def peak_mib(self) -> float | None:
        """Highest sample since the start or the last reset; None before the first start."""
        return self._peak_mib or None

    def start(self) -> None:
        """Begin a stretch, forgetting the one before.

        Raises:
            RuntimeError: one is going on already.
        """
        if self._thread is not None:
            raise RuntimeError("this sampler runs already; stop it before it starts again")
        self._statm = _open_statm()
        self.reset()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="rss-sampler", daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forget the peak so far; the stretch begins anew with the memory in use now.

        A sample that the thread is taking at this moment may still count.
        """
        self._peak_mib = self._read_mib()

    def stop(self) -> None:
        """End the stretch. Does nothing where none is going on."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._sample()
        if self._statm is not None:
            os.close(self._statm)
            self._statm = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        self._peak_mib = max(self._peak_mib, self._read_mib())

    def _read_mib(self) -> float:
        if self._statm is None:
            return rss_mib()
        return _resident_mib(os.pread(self._statm, 128, 0))


def rss_mib() -> float:
    """Resident memory of this process now; its highest so far on systems without /proc."""
    statm = _open_statm()
    if statm is None:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / MIB if sys.platform == "darwin" else used / 1024
    try:
        return _resident_mib(os.pread(statm, 128, 0))
    finally:
        os.close(statm)
