"""Peaks of memory over a stretch of time: of this process, of the machine, of the GPU as torch counts it. Sizes are in MiB."""

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
    """Peak of some use of memory over a stretch of time, sampled by a thread.

        with RssSampler() as rss:
            ...
        rss.peak_mib

    The beginning and the end of the stretch are sampled too, so that one shorter than the interval has a peak. What comes and goes between
    two samples is missed.
    """

    def __init__(self, read_mib: Callable[[], float | None], interval_s: float = 0.02, *, name: str = "peak-sampler") -> None:
        """
        Args:
            read_mib: the use of memory now in MiB; None where it cannot be told.
            interval_s: seconds between samples.
            name: of the thread.

        Raises:
            ValueError: the interval is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"the interval between samples is above 0 seconds, not {interval_s}")
        self._read_mib = read_mib
        self._interval_s = interval_s
        self._name = name
        self._peak_mib: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        """What ended the thread before its time."""

    @property
    def peak_mib(self) -> float | None:
        """Highest sample since the start or the last reset; None before the first start, and where there was nothing to read."""
        return self._peak_mib

    def start(self) -> None:
        """Begin a stretch and forget the one before.

        Raises:
            RuntimeError: one is going on.
        """
        if self._thread is not None:
            raise RuntimeError("this sampler runs already; stop it before it starts again")
        self.reset()
        self._failure = None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forget the peak so far and begin anew with the memory in use now."""
        with self._lock:
            self._peak_mib = self._read_mib()

    def stop(self) -> None:
        """End the stretch. Does nothing where none is going on.

        Raises:
            RuntimeError: the memory could not be read all the time, so that there may have been a higher peak.
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
        except BaseException as error:  # noqa: BLE001 - told by the thread that stops this one
            self._failure = error

    def _sample(self) -> None:
        with self._lock:
            now_mib = self._read_mib()
            if now_mib is not None:
                self._peak_mib = max(self._peak_mib or 0.0, now_mib)


class RssSampler(PeakSampler):
    """Peak of this process' resident memory. Where there is no /proc, on macOS for example, it is that of the whole life of the process."""

    def __init__(self, interval_s: float = 0.02) -> None:
        super().__init__(lambda: rss_mib(), interval_s, name="rss-sampler")


class SystemMemorySampler(PeakSampler):
    """Peak of the memory in use on the whole machine, MemTotal - MemAvailable.

    On boards whose CPU and GPU share memory this is the figure that holds everything: the process, what torch's allocator took, and what
    CUDA took beside it. None where the kernel does not tell, as on macOS. Other processes are in it too.
    """

    def __init__(self, interval_s: float = 0.02, root: Path = Path("/")) -> None:
        super().__init__(lambda: system_memory(root).used_mib, interval_s, name="system-memory-sampler")


def process_peak_rss_mib() -> float:
    """The highest resident memory of this process since it began, as the kernel keeps it.

    VmHWM where there is a /proc: `ru_maxrss` also knows the process that this one was forked from.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024


def rss_mib() -> float:
    """Resident memory of this process; where there is no /proc, the highest that it had so far."""
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


@dataclass(frozen=True)
class GpuMemory:
    """Memory of a GPU in MiB, now."""

    allocated: float
    """By tensors."""
    reserved: float
    """By torch's allocator, tensors included."""
    free: float
    """On the device, for anyone."""


def gpu_memory(torch: Any, device: Any) -> GpuMemory | None:
    """None on a CPU. Arguments as in `reset_torch_peaks`."""
    if torch.device(device).type != "cuda":
        return None
    index = torch.device(device).index
    free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if index is None else index)
    return GpuMemory(torch.cuda.memory_allocated(device) / MIB, torch.cuda.memory_reserved(device) / MIB, free / MIB)
