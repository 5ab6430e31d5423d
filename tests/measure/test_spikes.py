"""Causes of latency spikes: each is provoked in this process, or given as the counters would tell it."""

from __future__ import annotations

import gc
import mmap
import time
from pathlib import Path
from typing import Any

import pytest

from savbench.measure.devices import PlainCpu
from savbench.measure.spikes import NEW_PAGES, spike_causes
from savbench.measure.witness import Witness, Witnessed, is_first_use

FRAMES = 100


def causes(spike: Witnessed, usual: Witnessed | None = None) -> str:
    """The cause of a frame of 50 ms after 99 frames of 10 ms."""
    *others, last = spike_causes([*[10.0] * (FRAMES - 1), 50.0], [*[usual or Witnessed()] * (FRAMES - 1), spike])
    assert others == [""] * (FRAMES - 1)
    return last


@pytest.mark.parametrize(
    ("spike", "cause"),
    [
        (Witnessed(), "unknown"),
        (Witnessed(collected_ms=4.0), "garbage collection"),
        (Witnessed(collected_ms=3.9), "unknown"),
        (Witnessed(waited_ms=39.0), "another process"),
        (Witnessed(major_faults=1), "page fault"),
        (Witnessed(minor_faults=NEW_PAGES), "page fault"),
        (Witnessed(minor_faults=NEW_PAGES - 1), "unknown"),
        (Witnessed(allocations=1), "allocation"),
        (Witnessed(compilations=2, waited_ms=5.0), "recompilation; another process"),
        (Witnessed(is_first_of_size=True), "first use of a memory size"),
    ],
)
def test_a_cause_is_what_took_a_tenth_of_the_excess_or_is_not_usual(spike: Witnessed, cause: str) -> None:
    assert causes(spike) == cause


def test_what_every_frame_does_is_no_cause() -> None:
    assert causes(Witnessed(minor_faults=5000), Witnessed(minor_faults=5000)) == "unknown"


def test_equal_frames_have_no_spike() -> None:
    assert spike_causes([10.0] * 5, [Witnessed()] * 5) == [""] * 5
    assert spike_causes([], []) == []


def test_a_garbage_collection_is_witnessed() -> None:
    with Witness(PlainCpu()) as witness:
        witness.begin()
        gc.collect()
        assert witness.end().collected_ms > 0
        witness.begin()
        assert witness.end().collected_ms == 0
    assert not any(getattr(callback, "__self__", None) is witness for callback in gc.callbacks)


def test_new_memory_is_witnessed() -> None:
    size = 4 * NEW_PAGES * mmap.PAGESIZE
    with Witness(PlainCpu()) as witness, mmap.mmap(-1, size) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page is one fault for 2 MiB
        witness.begin()
        memory[:: mmap.PAGESIZE] = bytes(4 * NEW_PAGES)
        faults = witness.end().minor_faults
    assert faults >= 4 * NEW_PAGES


class Allocating(PlainCpu):
    requests = 0

    def allocations(self) -> int | None:
        return self.requests


def test_a_request_for_device_memory_is_witnessed() -> None:
    device = Allocating()
    witness = Witness(device)
    witness.begin()
    device.requests += 2
    assert witness.end().allocations == 2


def test_waiting_for_a_cpu_is_read_from_the_scheduler(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("1000 5000000 7\n")
    witness = Witness(PlainCpu(), schedstat)
    witness.begin()
    schedstat.write_text("2000 12000000 9\n")
    assert witness.end().waited_ms == 7.0
    schedstat.unlink()
    assert witness.end().waited_ms is None


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the kernel has no scheduler statistics")
def test_threads_that_share_a_cpu_wait_for_each_other() -> None:
    """A process pinned beside this one keeps its CPU busy."""
    import os
    import subprocess
    import sys

    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("threads cannot be pinned here")
    allowed = os.sched_getaffinity(0)
    cpu = min(allowed)
    busy = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nprint('on', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            os.sched_setaffinity(0, {cpu})
            witness = Witness(PlainCpu())
            witness.begin()
            until = time.process_time() + 0.2
            while time.process_time() < until:
                pass
            waited_ms = witness.end().waited_ms
        finally:
            os.sched_setaffinity(0, allowed)
            child.kill()
    assert waited_ms is not None
    assert waited_ms > 10


def test_a_memory_size_is_new_once_for_a_runner() -> None:
    class Runner:
        pass

    one: Any = Runner()
    assert [is_first_use(one, frames, 1, 3) for frames in (1, 2, 3, 4, 5)] == [True, True, True, False, False]
    assert not is_first_use(one, 2, 1, 3)
    assert is_first_use(one, 2, 2, 3)
    assert is_first_use(Runner(), 2, 1, 3)
    assert not is_first_use(Runner(), 1, 1, 0)
