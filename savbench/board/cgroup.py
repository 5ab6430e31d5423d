"""The limit on memory that a container or a systemd unit sets, as its control group shows it: how much is left, and whom it killed.

Files and their meaning: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. The kernel counts a kill in the
group of the process that it killed, whichever limit it was for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from savbench.board.memory import MIB, oom_kill_count, system_memory


class _Names(NamedTuple):
    """What a version of control groups calls its files and counters."""

    limit: str
    use: str
    inactive_file: str
    """In memory.stat: cached files that the kernel drops for the asking."""
    events: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
_V2 = _Names("memory.max", "memory.current", "inactive_file", "memory.events")

UNLIMITED = 2**60
"""v1 writes a number near 2^63 where there is no limit."""


@dataclass(frozen=True)
class MemoryGroup:
    """The group that this process and its children belong to."""

    folder: Path
    mount: Path
    names: _Names

    def oom_kills(self) -> int | None:
        """Processes of this group that the kernel has killed because memory ran out; None where it does not count them."""
        return _counter(self.folder / self.names.events, "oom_kill")

    def left_mib(self) -> float | None:
        """What may still be taken before a limit, of this group or one around it, is reached; None where there is no limit."""
        left = []
        for folder in (self.folder, *self.folder.parents):
            limit, use = _number(folder / self.names.limit), _number(folder / self.names.use)
            if limit is not None and use is not None and limit < UNLIMITED:
                reclaimable = _counter(folder / "memory.stat", self.names.inactive_file) or 0
                left.append((limit - use + reclaimable) / MIB)
            if folder == self.mount:
                break
        return max(0.0, min(left)) if left else None


def memory_group(root: Path = Path("/")) -> MemoryGroup | None:
    """This process' group; None where the kernel shows none with a say over memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path_of = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    v1 = next((path for controllers, path in path_of.items() if "memory" in controllers.split(",")), None)
    mount, path, names = (root / "sys/fs/cgroup", path_of.get(""), _V2) if v1 is None else (root / "sys/fs/cgroup/memory", v1, _V1)
    if path is None:
        return None
    # a container may be told the path on its host, and be shown its own group at the top
    for folder in (mount / path.lstrip("/"), mount):
        if (folder / names.events).exists():
            return MemoryGroup(folder, mount, names)
    return None


class OomKills:
    """How many processes the kernel kills when memory runs out, from now on, in this process' group and on the whole machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = self._counts()

    def risen(self) -> int:
        """By how much either count has risen; 0 also where nothing is counted.

        The machine's counts too: whoever runs the child may have put it into another group.
        """
        pairs = zip(self._before, self._counts(), strict=True)
        return max(after - before if before is not None and after is not None else 0 for before, after in pairs)

    def _counts(self) -> tuple[int | None, int | None]:
        group = memory_group(self._root)
        return None if group is None else group.oom_kills(), oom_kill_count(self._root)


def available_mib(root: Path = Path("/")) -> float | None:
    """Memory that this process and its children may still take: what the machine has available, within the limit of their group."""
    available = system_memory(root).available_mib
    group = memory_group(root)
    left = None if group is None else group.left_mib()
    known = [value for value in (available, left) if value is not None]
    return min(known, default=None)


def _number(path: Path) -> int | None:
    """None where the file cannot be read, or says `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _counter(path: Path, name: str) -> int | None:
    try:
        text = path.read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return None if found is None else int(found[1])
