from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from savbench.board.background import BackgroundLoad, is_of_family

TICK = os.sysconf("SC_CLK_TCK")


def process(root: Path, pid: int, parent: int, user: int, system: int = 0, children: tuple[int, int] = (0, 0), flags: int = 0) -> None:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True, exist_ok=True)
    times = f"{user} {system} {children[0]} {children[1]}"
    (folder / "stat").write_text(f"{pid} (a) b (c)) S {parent} {pid} {pid} 0 -1 {flags} 7 7 7 7 {times} 20 0 1 0\n")


def cpu(root: Path, *, user: int, idle: int, irq: int = 0, steal: int = 0) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(f"cpu  {user} 10 20 {idle} 30 {irq} 5 {steal} 0 0\ncpu0 1 2 3\nbtime 1\n")


def test_it_is_busy_time_less_that_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    cpu(tmp_path, user=1000, idle=5000)
    process(tmp_path, 1, 0, 400)
    process(tmp_path, 50, 1, 100)
    process(tmp_path, 51, 50, 200)
    process(tmp_path, 70, 1, 300)
    with BackgroundLoad(50, tmp_path) as load:
        # over two seconds: 10 CPU-seconds of the family, of which 4 in a child of the worker that came and went and 1 in a new one,
        # 3 of another program, 1 stolen, 1 of a kernel thread, and interrupts, which do not count
        cpu(tmp_path, user=1000 + 14 * TICK, idle=9000, irq=77 * TICK, steal=TICK)
        process(tmp_path, 51, 50, 200 + 3 * TICK, 2 * TICK, (3 * TICK, TICK))
        process(tmp_path, 52, 51, TICK)
        process(tmp_path, 2, 0, TICK, flags=0x00200040)
        process(tmp_path, 70, 1, 300 + 3 * TICK)
    assert load.cpus == 2.0


def test_where_the_kernel_does_not_tell_it_is_none(tmp_path: Path) -> None:
    with BackgroundLoad(1, tmp_path) as load:
        assert load.cpus is None
    assert load.cpus is None


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc on this system")
def test_real_work_counts_as_the_familys_or_as_others() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with BackgroundLoad(other.pid) as without_us, BackgroundLoad(os.getpid()) as with_us:
            begun, worked = time.perf_counter(), time.process_time()
            while time.process_time() - worked < 0.5:
                pass
            worked, took = time.process_time() - worked, time.perf_counter() - begun
        other.communicate()
    assert without_us.cpus is not None
    assert with_us.cpus is not None
    assert (without_us.cpus - with_us.cpus) * took == pytest.approx(worked, abs=0.2)


def test_a_family_is_a_process_with_its_descendants(tmp_path: Path) -> None:
    process(tmp_path, 1, 0, 1)
    process(tmp_path, 50, 1, 1)
    process(tmp_path, 51, 50, 1)
    process(tmp_path, 52, 51, 1)
    process(tmp_path, 60, 1, 1)
    assert [is_of_family(pid, tmp_path, 50) for pid in (1, 50, 51, 52, 60, 99)] == [False, True, True, True, False, False]
