"""Memory limits of a container or systemd unit, read from its control group: memory left, and processes killed.

The files are described in the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. The kernel counts a kill in the
group of the killed process, whichever limit caused it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from savbench.board.memory import MIB, oom_kill_count, system_memory


class _Names(NamedTuple):
    """Names of files and counters in one version of control groups."""

    limit: str
    use: str
    inactive_file: str
    """In memory.stat: cached files that the kernel can drop on demand."""
    events: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
_V2 = _Names("memory.max", "memory.current", "inactive_file", "memory.events")

UNLIMITED = 2**60
"""v1 reports a number near 2^63 if there is no limit."""


@dataclass(frozen=True)
class MemoryGroup:
    """The control group of this process and its children."""

    folder: Path
    mount: Path
    names: _Names

    def oom_kills(self) -> int | None:
        """Processes of this group killed by the kernel because memory ran out; None if the kernel does not count them."""
        return _counter(self.folder / self.names.events, "oom_kill")

    def left_mib(self) -> float | None:
        """Memory left in MiB before this group or an enclosing one reaches its limit; None if there is no limit."""
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
    """This process' group; None if the kernel shows no group with a memory controller."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path_of = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}
    v1 = next((path for controllers, path in path_of.items() if "memory" in controllers.split(",")), None)
    mount, path, names = (root / "sys/fs/cgroup", path_of.get(""), _V2) if v1 is None else (root / "sys/fs/cgroup/memory", v1, _V1)
    if path is None:
        return None
    # a container may see the path on its host, while its own group is mounted at the top
    for folder in (mount / path.lstrip("/"), mount):
        if (folder / names.events).exists():
            return MemoryGroup(folder, mount, names)
    return None


class OomKills:
    """Counts processes killed because memory ran out, from construction on, in this process' group and on the whole machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = self._counts()

    def risen(self) -> int:
        """The larger increase of the two counts; 0 also if the kernel counts neither.

        The machine's count is included because the child may run in another group.
        """
        pairs = zip(self._before, self._counts(), strict=True)
        return max(after - before if before is not None and after is not None else 0 for before, after in pairs)

    def _counts(self) -> tuple[int | None, int | None]:
        group = memory_group(self._root)
        return None if group is None else group.oom_kills(), oom_kill_count(self._root)


def available_mib(root: Path = Path("/")) -> float | None:
    """Memory in MiB that this process and its children can still use: available on the machine and within their group's limit."""
    available = system_memory(root).available_mib
    group = memory_group(root)
    left = None if group is None else group.left_mib()
    known = [value for value in (available, left) if value is not None]
    return min(known, default=None)


def _number(path: Path) -> int | None:
    """A file's number; None if the file cannot be read or says `max`."""
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
