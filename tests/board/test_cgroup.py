from __future__ import annotations

from pathlib import Path

import pytest

from savbench.board.cgroup import OomKills, available_mib, memory_group

MIB = 2**20


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def machine(root: Path, cgroup: str, kills: int = 0, available_mib: int = 6000) -> None:
    write(root / "proc/self/cgroup", cgroup)
    write(root / "proc/vmstat", f"oom_kill {kills}")
    write(root / "proc/meminfo", f"MemTotal: {8000 * 1024} kB\nMemAvailable: {available_mib * 1024} kB")


def version_2(folder: Path, limit: object, use_mib: int, kills: int = 0, inactive_mib: int = 0) -> None:
    write(folder / "memory.max", limit)
    write(folder / "memory.current", use_mib * MIB)
    write(folder / "memory.stat", f"anon 5\ninactive_file {inactive_mib * MIB}\nactive_file 7")
    write(folder / "memory.events", f"low 0\noom 3\noom_kill {kills}\noom_group_kill 0")


def version_1(folder: Path, limit: int, use_mib: int, kills: int = 0, inactive_mib: int = 0) -> None:
    write(folder / "memory.limit_in_bytes", limit)
    write(folder / "memory.usage_in_bytes", use_mib * MIB)
    write(folder / "memory.stat", f"cache 5\ninactive_file 1\ntotal_inactive_file {inactive_mib * MIB}")
    write(folder / "memory.oom_control", f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}")


def test_what_is_left_is_the_least_of_all_limits_around_the_group(tmp_path: Path) -> None:
    top = tmp_path / "sys/fs/cgroup"
    machine(tmp_path, "0::/pod/box")
    version_2(top / "pod", 2000 * MIB, 1700, inactive_mib=50)
    version_2(top / "pod/box", 1000 * MIB, 500)
    group = memory_group(tmp_path)
    assert group is not None
    assert group.folder == top / "pod/box"
    assert group.left_mib() == 350.0
    assert available_mib(tmp_path) == 350.0


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    machine(tmp_path, "0::/user.slice")
    version_2(tmp_path / "sys/fs/cgroup/user.slice", "max", 500)
    assert available_mib(tmp_path) == 6000.0
    assert available_mib(tmp_path / "nothing") is None


def test_a_container_of_version_1_that_is_told_the_hosts_path(tmp_path: Path) -> None:
    machine(tmp_path, "9:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n0::/")
    version_1(tmp_path / "sys/fs/cgroup/memory", 800 * MIB, 900, inactive_mib=300)
    group = memory_group(tmp_path)
    assert group is not None
    assert group.left_mib() == 200.0


def test_the_number_for_no_limit_is_none_and_nothing_is_below_zero(tmp_path: Path) -> None:
    machine(tmp_path, "4:memory:/a")
    version_1(tmp_path / "sys/fs/cgroup/memory/a", 9223372036854771712, 900)
    group = memory_group(tmp_path)
    assert group is not None
    assert group.left_mib() is None
    version_1(tmp_path / "sys/fs/cgroup/memory/a", 800 * MIB, 900)
    assert group.left_mib() == 0.0


@pytest.mark.parametrize(
    ("in_group", "on_machine", "risen"),
    [((2, 2), (5, 5), 0), ((2, 3), (5, 6), 1), ((2, 2), (5, 6), 1), ((2, 4), (5, 5), 2)],
)
def test_kills_are_counted_in_the_group_and_on_the_machine(
    tmp_path: Path, in_group: tuple[int, int], on_machine: tuple[int, int], risen: int
) -> None:
    folder = tmp_path / "sys/fs/cgroup/box"
    machine(tmp_path, "0::/box", kills=on_machine[0])
    version_2(folder, "max", 1, kills=in_group[0])
    kills = OomKills(tmp_path)
    machine(tmp_path, "0::/box", kills=on_machine[1])
    version_2(folder, "max", 1, kills=in_group[1])
    assert kills.risen() == risen


def test_where_nothing_counts_nothing_rises(tmp_path: Path) -> None:
    assert memory_group(tmp_path) is None
    assert OomKills(tmp_path).risen() == 0
