"""Memory: known allocations show up, nothing is counted that was not there."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from savbench.board.memory import MIB, SystemMemory, oom_kill_count, swap_io_mib, system_memory, unified_memory
from savbench.measure.memory import PeakSampler, RssSampler, SystemMemorySampler, reset_torch_peaks, rss_mib, torch_peaks

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")


def _touch(mib: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Memory that was not resident before and is now, since every page of it was written; np.ones may reuse pages of the heap."""
    block = np.frombuffer(mmap.mmap(-1, mib * MIB), np.uint8)
    block[:] = 1
    return block


def _wait_for(condition: threading.Event) -> None:
    assert condition.wait(10), "the sampler took no sample in 10 s"


@needs_proc
def test_resident_memory_agrees_with_the_kernels_own_figure() -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kernel_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    assert rss_mib() == pytest.approx(kernel_kib / 1024, abs=4)


@needs_proc
def test_a_block_held_until_the_end_counts_however_short_the_stretch() -> None:
    # with an hour between samples, only those at the beginning and the end are taken
    with RssSampler(interval_s=3600) as rss:
        before = rss.peak_mib
        block = _touch(64)
    assert before is not None
    assert rss.peak_mib is not None
    assert rss.peak_mib - before == pytest.approx(64, abs=8)
    del block


@needs_proc
def test_a_block_freed_before_the_end_is_seen_by_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = threading.Event()

    def counted() -> float:
        if threading.current_thread().name == "rss-sampler":
            sampled.set()
        return rss_mib()

    monkeypatch.setattr("savbench.measure.memory.rss_mib", counted)
    with RssSampler(interval_s=0.001) as rss:
        before = rss_mib()
        block = _touch(64)
        sampled.clear()
        _wait_for(sampled)
        sampled.clear()
        _wait_for(sampled)
        del block
        after = rss_mib()

    assert after - before < 32, "the block should have gone back to the system"
    assert rss.peak_mib is not None
    assert rss.peak_mib - before > 56


@needs_proc
def test_reset_forgets_the_peak_so_far() -> None:
    with RssSampler(interval_s=3600) as rss:
        block = _touch(64)
        rss.reset()
        high = rss.peak_mib
        del block
        rss.reset()
        low = rss.peak_mib

    assert high is not None
    assert low is not None
    assert high - low > 56
    assert rss.peak_mib is not None
    assert rss.peak_mib < high - 32


def test_before_the_first_start_there_is_no_peak() -> None:
    assert RssSampler().peak_mib is None


def test_the_thread_ends_with_the_stretch_even_after_an_error() -> None:
    before = threading.active_count()
    rss = RssSampler(interval_s=3600)

    with contextlib.suppress(KeyError), rss:
        assert threading.active_count() == before + 1
        raise KeyError

    assert threading.active_count() == before
    assert rss.peak_mib is not None


def test_a_sampler_serves_one_stretch_after_another_but_not_two_at_once() -> None:
    rss = RssSampler()
    rss.start()
    with pytest.raises(RuntimeError, match="already running"):
        rss.start()
    rss.stop()
    rss.stop()
    with rss:
        pass
    assert rss.peak_mib is not None


def test_a_reading_that_fails_in_the_thread_is_told_when_the_stretch_ends() -> None:
    failed = threading.Event()
    readings = iter([1.0])

    def read() -> float:
        try:
            return next(readings)
        except StopIteration:
            failed.set()
            raise OverflowError("no such number") from None

    with pytest.raises(RuntimeError, match="peak-sampler ended early with OverflowError: no such number"), PeakSampler(read, 1e-3):
        _wait_for(failed)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan")])
def test_an_interval_that_is_no_time_is_refused(interval_s: float) -> None:
    with pytest.raises(ValueError, match="above 0 seconds"):
        RssSampler(interval_s)


def test_oom_kills_are_read_from_vmstat(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 3\noom_kill_disable 9\noom_kill 17\npgfault 5\n")

    assert oom_kill_count(tmp_path) == 17


def test_without_the_counter_there_is_no_count(tmp_path: Path) -> None:
    assert oom_kill_count(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 3\n")
    assert oom_kill_count(tmp_path) is None


def _meminfo(root: Path, available_kib: int) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal:        8388608 kB\nMemFree:             100 kB\nMemAvailable:    {available_kib} kB\n"
        "SwapCached:            7 kB\nSwapTotal:       4194304 kB\nSwapFree:        3145728 kB\n"
    )


def test_memory_in_use_is_what_is_not_available(tmp_path: Path) -> None:
    _meminfo(tmp_path, 2 * 1024 * 1024)
    assert system_memory(tmp_path) == SystemMemory(used_mib=6144.0, swap_used_mib=1024.0, available_mib=2048.0)


def test_what_the_kernel_does_not_tell_is_none(tmp_path: Path) -> None:
    assert system_memory(tmp_path) == SystemMemory(None, None)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8 kB\nMemFree: 8 kB\n")
    assert system_memory(tmp_path) == SystemMemory(None, None)
    assert swap_io_mib(tmp_path) is None
    with SystemMemorySampler(interval_s=3600, root=tmp_path) as sampler:
        pass
    assert sampler.peak_mib is None


def test_swapping_counts_both_ways(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("pswpin 300\npswpout 212\npswpin_zero 9\n")
    assert swap_io_mib(tmp_path) == 512 * resource.getpagesize() / MIB


def test_the_systems_peak_is_its_highest_use(tmp_path: Path) -> None:
    _meminfo(tmp_path, 6 * 1024 * 1024)
    sampler = SystemMemorySampler(interval_s=3600, root=tmp_path)
    peaks = [sampler.peak_mib]
    with sampler:
        peaks.append(sampler.peak_mib)
        _meminfo(tmp_path, 3 * 1024 * 1024)
    peaks.append(sampler.peak_mib)
    with sampler:
        _meminfo(tmp_path, 7 * 1024 * 1024)
    peaks.append(sampler.peak_mib)
    sampler.reset()
    peaks.append(sampler.peak_mib)

    # the second stretch began anew, at what was in use then
    assert peaks == [None, 2048, 5120, 5120, 1024]


@needs_proc
def test_the_machines_use_covers_a_block_that_is_held() -> None:
    """A rise cannot be asked for: other programs free memory at the same moment. That a rise is seen is tested with files of our own."""
    with SystemMemorySampler(interval_s=3600) as sampler:
        block = _touch(256)
    assert sampler.peak_mib is not None
    assert 256 <= sampler.peak_mib <= os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() / MIB
    del block


def test_a_use_that_cannot_be_read_now_and_then_is_passed_over() -> None:
    uses = iter([None, 5.0, None, 3.0])
    sampler = PeakSampler(lambda: next(uses), interval_s=3600)
    sampler.reset()
    assert sampler.peak_mib is None
    for _ in range(3):
        sampler._sample()
    assert sampler.peak_mib == 5.0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("proc/device-tree/compatible", b"nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0"),
        ("sys/devices/soc0/family", b"Tegra\n"),
        ("etc/nv_tegra_release", b"# R36 (release), REVISION: 4.3\n"),
    ],
)
def test_a_jetson_is_known_by_any_of_its_signs(tmp_path: Path, name: str, content: bytes) -> None:
    assert not unified_memory(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    assert unified_memory(tmp_path)


def test_another_board_is_no_jetson(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert not unified_memory(tmp_path)


class _Cuda:
    """torch.cuda's allocator, as far as it is asked."""

    def __init__(self) -> None:
        self.reset: list[object] = []

    def reset_peak_memory_stats(self, device: object) -> None:
        self.reset.append(device)

    def max_memory_allocated(self, device: object) -> int:
        return 3 * MIB + MIB // 2

    def max_memory_reserved(self, device: object) -> int:
        return 20 * MIB


def _torch(cuda: _Cuda) -> SimpleNamespace:
    return SimpleNamespace(device=lambda name: SimpleNamespace(type=str(name).partition(":")[0]), cuda=cuda)


def test_peaks_of_a_gpu_are_mebibytes() -> None:
    cuda = _Cuda()

    reset_torch_peaks(_torch(cuda), "cuda:1")

    assert cuda.reset == ["cuda:1"]
    assert torch_peaks(_torch(cuda), "cuda:1") == (3.5, 20.0)


def test_a_cpu_has_no_peaks_and_the_gpu_is_not_touched() -> None:
    cuda = _Cuda()

    reset_torch_peaks(_torch(cuda), "cpu")

    assert cuda.reset == []
    assert torch_peaks(_torch(cuda), "cpu") == (None, None)
