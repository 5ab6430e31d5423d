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

MIB = 2**20


class RssSampler:
    """Peak of this process' resident memory over a stretch of time, sampled by a thread.

        with RssSampler() as rss:
            ...
        rss.peak_mib

    The beginning and the end of the stretch are sampled too, so that one shorter than the interval has a peak. What comes and goes between
    two samples is missed. Where there is no /proc, on macOS for example, the peak is that of the whole life of the process.
    """

    def __init__(self, interval_s: float = 0.02) -> None:
        """
        Raises:
            ValueError: the interval is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"the interval between samples is above 0 seconds, not {interval_s}")
        self._interval_s = interval_s
        self._peak_mib: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def peak_mib(self) -> float | None:
        """Highest sample since the start or the last reset; None before the first start."""
        return self._peak_mib

    def start(self) -> None:
        """Begin a stretch and forget the one before.

        Raises:
            RuntimeError: one is going on.
        """
        if self._thread is not None:
            raise RuntimeError("this sampler runs already; stop it before it starts again")
        self.reset()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="rss-sampler", daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forget the peak so far and begin anew with the memory in use now."""
        with self._lock:
            self._peak_mib = rss_mib()

    def stop(self) -> None:
        """End the stretch. Does nothing where none is going on."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._sample()

    def __enter__(self) -> RssSampler:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            self._peak_mib = max(self._peak_mib or 0.0, rss_mib())


def rss_mib() -> float:
    """Resident memory of this process; where there is no /proc, the highest that it had so far."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except FileNotFoundError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / MIB if sys.platform == "darwin" else used / 1024
    try:
        resident_pages = int(os.read(statm, 128).split()[1])
    finally:
        os.close(statm)
    return resident_pages * resource.getpagesize() / MIB


def oom_kill_count(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has killed since it booted because memory ran out; None where it does not count them.

    In a container the count is the machine's, so that a rise may be another container's.
    """
    try:
        lines = (root / "proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return counts[0] if counts else None


def reset_torch_peaks(torch: Any, device: Any) -> None:
    """Let torch's peaks of GPU memory begin anew with the memory in use now. Does nothing on a CPU.

    Args:
        torch: the module, which this one does not import.
        device: torch.device, or its name.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def torch_peaks(torch: Any, device: Any) -> tuple[float | None, float | None]:
    """Peaks of GPU memory that torch's allocator handed out, and that it held, since the last reset; None and None on a CPU.

    What the driver, cuDNN and other libraries hold beside the allocator is in neither. Arguments as in `reset_torch_peaks`.
    """
    if torch.device(device).type != "cuda":
        return None, None
    return torch.cuda.max_memory_allocated(device) / MIB, torch.cuda.max_memory_reserved(device) / MIB
