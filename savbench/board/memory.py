"""Memory of this process, of the machine, of the GPU as torch counts it, and the kernel's out-of-memory kills. Sizes are in MiB."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class SystemMemory:
    """Memory use of the whole machine in MiB; None for values that the kernel does not report."""

    used_mib: float | None = None
    """MemTotal - MemAvailable."""
    swap_used_mib: float | None = None
    """SwapTotal - SwapFree, zram included."""
    available_mib: float | None = None
    """MemAvailable: memory that can be allocated without swapping."""


def system_memory(root: Path = Path("/")) -> SystemMemory:
    """Memory and swap in use now, from /proc/meminfo."""
    try:
        descriptor = os.open(root / "proc/meminfo", os.O_RDONLY)
    except OSError:
        return SystemMemory()
    try:
        text = os.read(descriptor, 1 << 14)
    finally:
        os.close(descriptor)
    kib = {name: int(value) for name, value in re.findall(rb"^(Mem(?:Total|Available)|Swap(?:Total|Free)):\s+(\d+) kB", text, re.MULTILINE)}

    def difference_mib(total: bytes, free: bytes) -> float | None:
        return (kib[total] - kib[free]) / 1024 if total in kib and free in kib else None

    available = kib[b"MemAvailable"] / 1024 if b"MemAvailable" in kib else None
    return SystemMemory(difference_mib(b"MemTotal", b"MemAvailable"), difference_mib(b"SwapTotal", b"SwapFree"), available)


def swap_io_mib(root: Path = Path("/")) -> float | None:
    """MiB that the machine has swapped in and out since it booted; None if the kernel does not report it."""
    try:
        text = (root / "proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    pages = [int(count) for count in re.findall(r"^pswp(?:in|out) (\d+)$", text, re.MULTILINE)]
    return sum(pages) * resource.getpagesize() / MIB if pages else None


def unified_memory(root: Path = Path("/")) -> bool:
    """Whether this is a Jetson, whose CPU and GPU share memory.

    Checks three places, since containers hide the device tree and older releases lack the others. A discrete GPU in such a board is not
        detected; torch's `get_device_properties(device).is_integrated` is certain.
    """
    for name, sign in (
        ("proc/device-tree/compatible", b"nvidia,tegra"),
        ("sys/devices/soc0/family", b"Tegra"),
        ("etc/nv_tegra_release", b"R"),
    ):
        with contextlib.suppress(OSError):
            if sign in (root / name).read_bytes():
                return True
    return False


def oom_kill_count(root: Path = Path("/")) -> int | None:
    """Processes that the kernel has killed since boot because memory ran out; None if it does not count them.

    In a container the count is the machine's, so an increase may come from another container; see `savbench.board.cgroup`.
    """
    try:
        lines = (root / "proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return counts[0] if counts else None
