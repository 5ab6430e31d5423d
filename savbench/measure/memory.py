"""Peaks of memory over an interval: of this process, of the machine, and of the GPU as torch counts it. Sizes are in MiB."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.board.memory import MIB, system_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class PeakSampler:
    """Peak memory use over an interval, sampled by a thread.

        with RssSampler() as rss:
            ...
        rss.peak_mib

    Also samples the start and the end, so that even a short interval has a peak. Misses use that comes and goes between two samples.
    """

    def __init__(self, read_mib: Callable[[], float | None], interval_s: float = 0.02, *, name: str = "peak-sampler") -> None:
        """
        Args:
            read_mib: returns the memory in use in MiB, None if unknown.
            interval_s: seconds between samples.
            name: of the thread.

        Raises:
            ValueError: the interval is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"the interval between samples must be above 0 seconds, not {interval_s}")
        self._read_mib = read_mib
        self._interval_s = interval_s
        self._name = name
        self._peak_mib: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        """The exception that ended the thread early."""

    @property
    def peak_mib(self) -> float | None:
        """Highest sample since the start or the last reset; None before the first start, or if memory use is unknown."""
        return self._peak_mib

    def start(self) -> None:
        """Start sampling and discard the previous peak.

        Raises:
            RuntimeError: the sampler is already running.
        """
        if self._thread is not None:
            raise RuntimeError("this sampler is already running; stop it before starting it again")
        self.reset()
        self._failure = None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Discard the peak and restart from the memory in use now."""
        with self._lock:
            self._peak_mib = self._read_mib()

    def stop(self) -> None:
        """Stop sampling. Does nothing if the sampler is not running.

        Raises:
            RuntimeError: the thread ended early, so the true peak may be higher.
        """
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._failure is not None:
            raise RuntimeError(f"{self._name} ended early with {type(self._failure).__name__}: {self._failure}") from self._failure
        self._sample()

    def __enter__(self) -> PeakSampler:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._interval_s):
                self._sample()
        except BaseException as error:  # noqa: BLE001 - `stop` raises it
            self._failure = error

    def _sample(self) -> None:
        with self._lock:
            now_mib = self._read_mib()
            if now_mib is not None:
                self._peak_mib = max(self._peak_mib or 0.0, now_mib)


class RssSampler(PeakSampler):
    """Peak resident memory of this process. Without /proc, for example on macOS, the peak since the process started."""

    def __init__(self, interval_s: float = 0.02) -> None:
        super().__init__(lambda: rss_mib(), interval_s, name="rss-sampler")


class SystemMemorySampler(PeakSampler):
    """Peak memory in use on the whole machine, MemTotal - MemAvailable.

    On boards whose CPU and GPU share memory it covers everything: this process, torch's allocator, CUDA's other allocations, and other
    processes. None if the kernel does not report it, as on macOS.
    """

    def __init__(self, interval_s: float = 0.02, root: Path = Path("/")) -> None:
        super().__init__(lambda: system_memory(root).used_mib, interval_s, name="system-memory-sampler")


def process_peak_rss_mib() -> float:
    """Peak resident memory of this process since it started, as the kernel records it.

    Reads VmHWM if there is a /proc, because `ru_maxrss` also includes the process that this one was forked from.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024


def rss_mib() -> float:
    """Resident memory of this process; without /proc, its peak so far."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except FileNotFoundError:
        return process_peak_rss_mib()
    try:
        resident_pages = int(os.read(statm, 128).split()[1])
    finally:
        os.close(statm)
    return resident_pages * resource.getpagesize() / MIB


def reset_torch_peaks(torch: Any, device: Any) -> None:
    """Reset torch's peaks of GPU memory to the memory in use now. Does nothing on a CPU.

    Args:
        torch: the module, which this module does not import.
        device: torch.device or its name.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def torch_peaks(torch: Any, device: Any) -> tuple[float | None, float | None]:
    """Peaks of GPU memory allocated and reserved by torch's allocator since the last reset; None and None on a CPU.

    Neither includes memory that the driver, cuDNN and other libraries hold. Arguments as in `reset_torch_peaks`.
    """
    if torch.device(device).type != "cuda":
        return None, None
    return torch.cuda.max_memory_allocated(device) / MIB, torch.cuda.max_memory_reserved(device) / MIB


@dataclass(frozen=True)
class GpuMemory:
    """Memory of a GPU at one moment, in MiB."""

    allocated: float
    """By tensors."""
    reserved: float
    """By torch's allocator, tensors included."""
    free: float
    """On the device, for any process."""


def gpu_memory(torch: Any, device: Any) -> GpuMemory | None:
    """GPU memory now; None on a CPU. Arguments as in `reset_torch_peaks`."""
    if torch.device(device).type != "cuda":
        return None
    index = torch.device(device).index
    free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if index is None else index)
    return GpuMemory(torch.cuda.memory_allocated(device) / MIB, torch.cuda.memory_reserved(device) / MIB, free / MIB)
