from __future__ import annotations

import math

import pytest

from savbench.board.memory import SystemMemory
from savbench.measure import memory_budget
from savbench.measure.devices import PlainCpu
from savbench.measure.memory import GpuMemory
from savbench.measure.memory_budget import Forecast, MemoryBudgetError, MemoryMeter, forecast, growth_mib
from savbench.plan.extent import Extent
from savbench.results.rows import SummaryRow

PIXEL_MIB = 2**20
"""Pixels of which each byte is a MiB, so that sizes can be worked out by heart."""


def test_the_largest_extent_takes_the_most_of_each() -> None:
    assert Extent.largest([Extent(10, 500, 1), Extent(300, 100, 1), Extent(20, 200, 3)]) == Extent(300, 500, 3)


def test_pixels_count_for_the_frame_and_for_every_object() -> None:
    assert Extent(7, PIXEL_MIB, 1).frames_mib == 16
    assert Extent(7, PIXEL_MIB, 3).frames_mib == 36


def test_growth_is_told_after_the_memory_has_settled() -> None:
    filling = [100.0 + 10 * min(frame, 15) for frame in range(40)]
    assert growth_mib(filling) == 0.0
    assert growth_mib([use + 3 * frame for frame, use in enumerate(filling)]) == pytest.approx(3.0)
    assert growth_mib(filling[:23]) is None


def test_an_allocators_ups_and_downs_are_no_growth() -> None:
    noise = [500.0 + 20 * math.sin(7 * frame) for frame in range(60)]
    assert growth_mib(noise) == 0.0
    assert growth_mib([use + 13.4 * frame for frame, use in enumerate(noise)]) == pytest.approx(13.4, abs=0.5)


def test_the_forecast_is_the_first_clips_with_its_sizes_exchanged() -> None:
    seen, largest = Extent(50, PIXEL_MIB, 1), Extent(300, 2 * PIXEL_MIB, 2)
    # 1000 weights, 16 of frames, 50 x 2 of state: 384 are left for the workspace
    found = forecast(1000.0, 1500.0, 2.0, seen, largest)
    assert found == Forecast(weights=1000.0, workspace=384.0, frames=52.0, state=1200.0)
    assert found.total == 2636.0
    assert found.in_words() == "2.6 GiB (weights 1000 MiB, workspace 384 MiB, frames 52 MiB, state 1.2 GiB)"
    assert found.columns() == {
        "forecast_MiB": 2636.0, "forecast_weights_MiB": 1000.0, "forecast_workspace_MiB": 384.0, "forecast_frames_MiB": 52.0,
        "forecast_state_MiB": 1200.0,
    }  # fmt: skip
    assert forecast(1000.0, 1500.0, None, seen, largest).state == 0.0


class FakeDevice(PlainCpu):
    def __init__(self, *, shares_memory: bool, gpu: GpuMemory | None) -> None:
        self.shares_memory = shares_memory
        self.gpu = gpu

    def gpu_memory_mib(self) -> GpuMemory | None:
        return self.gpu


class Machine:
    """Stands for the kernel's figures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used, self.available, self.rss = 2000.0, 6000.0, 100.0
        monkeypatch.setattr(memory_budget, "system_memory", lambda: SystemMemory(self.used, 0.0, self.available))
        monkeypatch.setattr(memory_budget, "available_mib", lambda: self.available)
        monkeypatch.setattr(memory_budget, "rss_mib", lambda: self.rss)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


SEEN = Extent(40, PIXEL_MIB)
LONGEST = Extent(400, PIXEL_MIB)


def run_clip(machine: Machine, meter: MemoryMeter, growth: float, warm: int = 5, frames: int = 40) -> None:
    """Warm-up, then a clip that takes 200 MiB at once and grows; told as a session tells it."""
    meter.begin(Extent(frames, PIXEL_MIB))
    before = machine.rss
    for done in range(1, warm + frames + 1):
        machine.rss = before + 200 + (growth * (done - warm) if done > warm else 0)
        meter.frame(done, warm + frames)
    assert meter.end(SummaryRow(cpu_peak_rss_MiB=machine.rss + 50)) is None


def test_in_resident_memory_the_first_clip_tells_what_the_longest_takes(machine: Machine) -> None:
    meter = MemoryMeter(8000.0, LONGEST)
    machine.rss = 500.0
    meter.built(FakeDevice(shares_memory=False, gpu=None))
    assert meter.columns["forecast_MiB"] == 500.0
    run_clip(machine, meter, growth=4.0)
    # 200 and the peak's 50, less 16 of frames
    assert meter.columns == pytest.approx(
        {"memory_budget_MiB": 8000.0, "forecast_weights_MiB": 500.0, "forecast_workspace_MiB": 234.0, "forecast_frames_MiB": 16.0,
         "forecast_state_MiB": 1600.0, "forecast_MiB": 2350.0}
    )  # fmt: skip


def test_an_arm_that_grows_too_much_ends_within_its_first_clip(machine: Machine) -> None:
    meter = MemoryMeter("auto", LONGEST)
    machine.rss = 500.0
    meter.built(FakeDevice(shares_memory=False, gpu=None))
    with pytest.raises(MemoryBudgetError) as raised:
        run_clip(machine, meter, growth=15.0)
    assert "forecast 6.5 GiB (weights 500 MiB, workspace 184 MiB, frames 16 MiB, state 5.9 GiB)" in str(raised.value)
    # what was available and what the worker had itself
    assert "exceeds the available memory, 6.0 GiB" in str(raised.value)
    assert raised.value.columns["memory_budget_MiB"] == 6100.0
    assert machine.rss == 500 + 200 + 15 * 24


def test_a_model_that_does_not_fit_is_refused_at_once(machine: Machine) -> None:
    meter = MemoryMeter(400.0, LONGEST)
    machine.rss = 500.0
    with pytest.raises(MemoryBudgetError, match=r"forecast 500 MiB .* exceeds --memory_budget, 400 MiB"):
        meter.built(FakeDevice(shares_memory=False, gpu=None))


def test_a_clip_too_short_to_tell_leaves_it_to_the_next(machine: Machine) -> None:
    meter = MemoryMeter(8000.0, LONGEST)
    machine.rss = 500.0
    meter.built(FakeDevice(shares_memory=False, gpu=None))
    run_clip(machine, meter, growth=4.0, frames=20)
    assert meter.columns["forecast_state_MiB"] == 0.0
    machine.rss = 500.0
    run_clip(machine, meter, growth=4.0)
    assert meter.columns["forecast_state_MiB"] == pytest.approx(1600.0)
    # what is known is not measured again
    run_clip(machine, meter, growth=100.0)
    assert meter.columns["forecast_state_MiB"] == pytest.approx(1600.0)


def test_where_memory_is_shared_it_is_what_the_machine_has_taken_since(machine: Machine) -> None:
    meter = MemoryMeter("auto", LONGEST)
    machine.used = 3500.0
    meter.built(FakeDevice(shares_memory=True, gpu=GpuMemory(300, 400, 5000)))
    assert (meter.columns["memory_budget_MiB"], meter.columns["forecast_weights_MiB"]) == (6000.0, 1500.0)
    meter.begin(SEEN)
    for done in range(1, 41):
        machine.used = 4000.0
        meter.frame(done, 40)
    assert meter.end(SummaryRow(unified_peak_used_MiB=4400.0, gpu_peak_reserved_MiB=900.0, cpu_peak_rss_MiB=300.0)) is None
    assert meter.columns["forecast_workspace_MiB"] == 4400 - 2000 - 1500 - 16


def test_a_gpus_own_memory_is_torchs(machine: Machine) -> None:
    device = FakeDevice(shares_memory=False, gpu=GpuMemory(allocated=300, reserved=400, free=7000))
    meter = MemoryMeter("auto", LONGEST)
    meter.built(device)
    assert (meter.columns["memory_budget_MiB"], meter.columns["forecast_MiB"]) == (7400.0, 400.0)
    meter.begin(SEEN)
    for done in range(1, 41):
        device.gpu = GpuMemory(allocated=350 + 2.0 * done, reserved=700, free=6700)
        meter.frame(done, 40)
    assert meter.end(SummaryRow(gpu_peak_reserved_MiB=816.0, cpu_peak_rss_MiB=300.0)) is None
    assert meter.columns["forecast_state_MiB"] == pytest.approx(800.0)
    assert meter.columns["forecast_workspace_MiB"] == pytest.approx(816 - 400 - 16 - 80)
