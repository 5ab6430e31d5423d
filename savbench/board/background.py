"""CPU load of other programs while frames are timed.

It is the kernel's busy time in /proc/stat minus the time used by the benchmark's own processes: the supervisor and its children, the worker
among them. The files' fields are described in `man 5 proc`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

PF_KTHREAD = 0x00200000
"""Flag of kernel threads, from Linux' include/linux/sched.h."""


class BackgroundLoad:
    """Use as a context manager around the timed frames.

    Args:
        family: process id; this process and its descendants do not count as background. Default: the parent, the worker's supervisor.
        root: root of the file system to read.
    """

    def __init__(self, family: int | None = None, root: Path = Path("/")) -> None:
        self._family = os.getppid() if family is None else family
        self._root = root
        self._begun: _Moment | None = None
        self._ended: _Moment | None = None

    def __enter__(self) -> BackgroundLoad:
        self._begun = self._look()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = self._look()

    @property
    def cpus(self) -> float | None:
        """Mean number of CPUs that other programs kept busy; None if the kernel does not report it or no time has passed.

        Time that the hypervisor takes from a virtual machine counts as load. Interrupts and kernel threads, which mostly serve the model's
        GPU,
                do not count; inside a container kernel threads cannot be distinguished from other programs.
        """
        if self._begun is None or self._ended is None:
            return None
        seconds = self._ended.t_s - self._begun.t_s
        if seconds <= 0:
            return None
        ticks = (self._ended.busy - self._begun.busy) - (self._ended.own - self._begun.own)
        return max(0.0, ticks / os.sysconf("SC_CLK_TCK") / seconds)

    def _look(self) -> _Moment | None:
        try:
            first_line = (self._root / "proc/stat").read_text(encoding="ascii").partition("\n")[0]
        except OSError:
            return None
        user, nice, system, _, _, _, _, steal = map(int, first_line.split()[1:9])
        return _Moment(time.perf_counter(), user + nice + system + steal, self._own_ticks())

    def _own_ticks(self) -> int:
        """Ticks used by the family, its ended children included, and by kernel threads."""
        parent_of: dict[int, int] = {}
        ticks_of: dict[int, int] = {}
        kernel_ticks = 0
        for folder in (self._root / "proc").iterdir():
            if folder.name.isdigit():
                try:
                    text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                except OSError:  # the process has just ended
                    continue
                # the process name, in brackets, may contain brackets and spaces
                values = text.rpartition(")")[2].split()
                ticks = sum(map(int, values[11:15]))
                if int(values[6]) & PF_KTHREAD:
                    kernel_ticks += ticks
                else:
                    parent_of[int(folder.name)], ticks_of[int(folder.name)] = int(values[1]), ticks
        return kernel_ticks + sum(ticks for pid, ticks in ticks_of.items() if self._is_own(pid, parent_of))

    def _is_own(self, pid: int, parent_of: dict[int, int]) -> bool:
        while pid in parent_of:
            if pid == self._family:
                return True
            pid = parent_of[pid]
        return False


def is_of_family(pid: int, root: Path = Path("/"), family: int | None = None) -> bool:
    """Whether a process is `family` (default: this process) or one of its descendants."""
    head = os.getpid() if family is None else family
    while pid > 0:
        if pid == head:
            return True
        try:
            text = (root / f"proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        pid = int(text.rpartition(")")[2].split()[1])
    return False


@dataclass(frozen=True)
class _Moment:
    t_s: float
    busy: int
    """Ticks of all CPUs since the machine booted."""
    own: int
    """Ticks of the benchmark's own processes."""
