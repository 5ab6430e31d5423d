"""Energy: worked out by hand, and against emulated rails of known, changing power."""

from __future__ import annotations

import math
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from boards import ORIN_NX
from emulated_board import FAKE_SYS, BoardFiles, Drive, jtop_service

from savbench.board.power.base import Reading, Sampler
from savbench.board.power.energy import Interval, integrate, max_gap_s, mean_w, summarise
from savbench.board.power.jtop import JtopSampler
from savbench.board.power.rails import split_total
from savbench.board.power.recorder import Recorder
from savbench.board.power.sysfs import SysfsSampler
from savbench.results.power import PowerSummary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _readings(*powers_w: float, every_s: float = 1.0, **others: object) -> list[Reading]:
    return [
        Reading(t_s=index * every_s, unix_s=0.0, total_mw=power * 1e3, total_of="VDD_IN", **others)  # type: ignore[arg-type]
        for index, power in enumerate(powers_w)
    ]


def test_a_ramp_is_integrated_exactly() -> None:
    # 0 W at 0 s to 40 W at 4 s: P = 10 t, so that from 1 to 3 s it is 5 * (9 - 1) J
    ramp = _readings(0, 10, 20, 30, 40)

    assert integrate(ramp, [(1.0, 3.0)]) == pytest.approx(40.0)
    assert integrate(ramp, [(0.5, 2.5)]) == pytest.approx(5 * (2.5**2 - 0.5**2))


def test_gaps_between_frames_are_left_out() -> None:
    # 10 W but for 110 W at 2 s; two frames beside the peak hold none of the triangle under it from 1 to 3 s
    peak = _readings(10, 10, 110, 10, 10)

    assert integrate(peak, [(0.0, 1.0), (3.0, 4.0)]) == pytest.approx(20.0)
    assert integrate(peak, [(0.0, 4.0)]) == pytest.approx(40 + 100)
    assert integrate(peak, [(0.0, 1.5), (2.5, 4.0)]) == pytest.approx(30 + 2 * 0.5 * 50 / 2)


def test_power_is_held_at_both_ends() -> None:
    flat = _readings(7, 7, 7)

    assert integrate(flat, [(-0.5, 2.5)]) == pytest.approx(7 * 3)


def test_readings_without_power_are_passed_over() -> None:
    readings = _readings(10, 10, 10)
    readings[1:1] = [Reading(t_s=0.5, unix_s=0.0)]

    assert integrate(readings, [(0.0, 2.0)]) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([], "no readings"),
        ([1.5], "one reading"),
        ([0.9, 1.5, 2.1], "one reading within, two around"),
        ([2.1, 2.2, 2.3], "all after"),
        ([1.1, 1.2, 1.3, 5.0], "a hole that reaches into the interval"),
    ],
)
def test_energy_of_which_too_little_is_known_is_none(times: list[float], why: str) -> None:
    readings = [Reading(t_s=t, unix_s=0.0, total_mw=1e3) for t in times]

    assert integrate(readings, [(1.0, 2.0)], max_gap_s=1.0) is None, why


def test_readings_have_to_reach_near_both_ends() -> None:
    readings = [Reading(t_s=t, unix_s=0.0, total_mw=1e3) for t in (5.0, 6.0, 7.0)]

    assert integrate(readings, [(4.0, 8.0)], max_gap_s=1.0) == pytest.approx(4.0)
    assert integrate(readings, [(3.9, 8.0)], max_gap_s=1.0) is None
    assert integrate(readings, [(4.0, 8.1)], max_gap_s=1.0) is None


def test_a_hole_outside_of_the_frames_does_no_harm() -> None:
    readings = [Reading(t_s=t, unix_s=0.0, total_mw=1e3) for t in (-9.0, 0.0, 1.0, 2.0, 20.0)]

    assert integrate(readings, [(0.0, 2.0)], max_gap_s=1.0) == pytest.approx(2.0)


@pytest.mark.parametrize("intervals", [[], [(1.0, 0.0)], [(0.0, 2.0), (1.0, 3.0)]])
def test_intervals_that_are_none_are_refused(intervals: list[Interval]) -> None:
    with pytest.raises(ValueError, match="ordered and not overlapping"):
        integrate(_readings(1, 1, 1, 1), intervals)


def test_a_slow_source_may_have_longer_gaps() -> None:
    assert max_gap_s(0.1) == 1.0
    assert max_gap_s(2.0) == 10.0


def test_mean_power_of_a_stretch() -> None:
    assert mean_w(_readings(2, 4, 6), (0.0, 2.0)) == pytest.approx(4.0)
    assert mean_w(_readings(2, 4, 6), (1.0, 1.0)) is None
    assert mean_w([], (0.0, 1.0)) is None


def _summary(readings: list[Reading], frames: list[Interval], *, idle_w: float | None = 4.0, died: str = "") -> PowerSummary:
    return summarise(readings, frames, source="sysfs", scope="module", interval_s=1.0, idle_w=idle_w, device="cuda:0", died=died)


def test_columns_of_a_row_worked_out_by_hand() -> None:
    # frames of half a second, each at the beginning of a second: 12 W throughout but for the reading at 2.75 s, between frames
    powers = [12.0] * 16
    powers[11] = 100.0
    readings = _readings(*powers, every_s=0.25, rails_mw={"VDD_SOC": 3000.0})
    frames = [(0.0, 0.5), (1.0, 1.5), (2.0, 2.5), (3.0, 3.5)]

    row = _summary(readings, frames)

    assert row.power_source == "sysfs"
    assert row.power_of == "VDD_IN"
    assert row.power_readings == 15
    assert row.power_note == ""
    assert row.power_mean_w == pytest.approx(12.0)
    assert row.power_peak_w == pytest.approx(12.0)
    assert row.energy_gross_j_per_frame == pytest.approx(6.0)
    assert row.idle_w == 4.0
    assert row.energy_j_per_frame == pytest.approx((12 - 4) * 0.5)
    # 2 frames per second of tracking at 12 W
    assert row.fps_per_w == pytest.approx(2 / 12)
    assert row.rails_mean_w == row.rails_peak_w == {"VDD_SOC": 3.0}


def test_frames_at_the_pace_of_readings_have_a_peak() -> None:
    row = _summary(_readings(8, 12, 10, 9), [(0.2, 0.8), (1.2, 1.8), (2.2, 2.8)])

    assert row.power_readings == 2
    assert row.power_peak_w == 12
    # 10 and 11 W on average of the first two frames, 9.5 W of the last
    assert row.power_mean_w == pytest.approx((10 + 11 + 9.5) / 3)


def test_without_idle_power_the_energy_beyond_it_is_not_known() -> None:
    row = _summary(_readings(5, 5, 5), [(0.0, 2.0)], idle_w=None)

    assert row.energy_gross_j_per_frame == pytest.approx(10.0)
    assert row.energy_j_per_frame is None
    assert row.idle_w is None


def test_state_is_taken_from_before_the_first_frame_to_the_last() -> None:
    def at(t_s: float, tj: float, mhz: float, mode: str, clocks: bool, oc3: int, alarms: frozenset[str], swap: float) -> Reading:
        return Reading(
            t_s=t_s, unix_s=0.0, total_mw=1e3, temperatures_c={"tj": tj, "cpu": 20.0}, gpu_clock_khz=mhz * 1e3, nvpmodel=mode,
            jetson_clocks=clocks, events={"oc1": 0, "oc3": oc3}, alarms=alarms, swap_io_mib=swap,
        )  # fmt: skip

    hot, cool = frozenset({"gpu-throttle"}), frozenset[str]()
    readings = [
        at(-0.5, 50, 1000, "MAXN", True, 7, cool, 2.0),
        at(0.1, 55, 1300, "MAXN", True, 7, hot, 2.0),
        at(0.5, 61, 900, "MAXN", True, 8, hot, 2.5),
        at(1.1, 58, 1300, "15W", True, 8, cool, 2.5),
        at(1.5, 90, 50, "15W", False, 9, hot, 3.0),
        at(1.7, 59, 1200, "15W", False, 9, cool, 3.0),
        at(2.5, 99, 1000, "30W", False, 10, cool, 3.5),
    ]

    row = _summary(readings, [(0.0, 1.0), (1.8, 2.0)])

    assert row.temperature_start_c == 50
    assert row.temperature_peak_c == 90
    # 50 MHz was read between the frames, with another reading on either side
    assert (row.gpu_clock_min_mhz, row.gpu_clock_max_mhz) == (900, 1300)
    assert row.nvpmodel == "MAXN > 15W"
    assert row.jetson_clocks == "on > off"
    # throttled twice, and the counter of peak current rose from 7 to 10
    assert row.throttle_reasons == "gpu-throttle=2; oc3=3"
    assert row.throttle_events == 5
    assert row.swap_io_mib == 1.5


def test_too_few_readings_are_said_and_no_figure_is_given() -> None:
    row = _summary(_readings(5, 5, every_s=2.0), [(0.5, 0.6)])

    assert "0 readings during the timed frames" in row.power_note
    assert row.power_mean_w is row.energy_j_per_frame is row.energy_gross_j_per_frame is row.fps_per_w is None
    assert row.idle_w == 4.0


def test_a_dead_source_is_named() -> None:
    row = _summary([], [(0.0, 1.0)], died="sysfs: gone")

    assert row.power_note == "sysfs: gone"
    assert row.power_readings == 0
    assert row.power_mean_w is None
    assert row.throttle_events is None


def test_power_of_a_gpu_says_nothing_of_a_model_on_the_cpu() -> None:
    row = summarise(
        _readings(50, 50, 50, temperatures_c={"gpu": 40.0}), [(0.0, 2.0)],
        source="nvml", scope="gpu", interval_s=1.0, idle_w=40.0, device="cpu",
    )  # fmt: skip

    assert row.power_note == "nvml measures the GPU, but the model ran on cpu"
    assert row.power_mean_w is row.idle_w is row.energy_j_per_frame is row.temperature_start_c is None


def test_a_rail_that_is_part_of_another_is_not_added_and_the_sum_of_all_stays_visible() -> None:
    rails_mw = {"VDD_GPU_SOC": 3_000.0, "VDD_CPU_CV": 500.0, "VIN_SYS_5V0": 5_000.0, "VDDQ_VDD2_1V8AO": 400.0}
    total_mw, total_of = split_total(dict(rails_mw))
    readings = [Reading(float(t), float(t), total_mw=total_mw, total_of=total_of, rails_mw=rails_mw) for t in range(3)]
    row = summarise(readings, [(0.0, 2.0)], source="sysfs", scope="module", interval_s=1.0, idle_w=None)
    assert row.power_mean_w == pytest.approx(8.5)
    assert row.all_rails_mean_w == pytest.approx(8.9)
    assert row.rails_mean_w["VDDQ_VDD2_1V8AO"] == 0.4

    nano = [replace(reading, total_mw=9_000.0, total_of="VDD_IN") for reading in readings]
    assert summarise(nano, [(0.0, 2.0)], source="sysfs", scope="module", interval_s=1.0, idle_w=None).all_rails_mean_w is None


def test_every_column_has_a_meaning() -> None:
    assert all(f.metadata["meaning"] for f in fields(PowerSummary))


MEAN_W, SWING_W, IDLE_W, PERIOD_S = 10.0, 5.0, 3.0, 4.0


def _sine(start_s: float) -> Callable[[float], float]:
    """Power by time: idling, then from a moment on a swing about a mean."""

    def watts_at(t_s: float) -> float:
        since_s = t_s - start_s
        return IDLE_W if since_s < 0 else MEAN_W + SWING_W * math.sin(2 * math.pi * since_s / PERIOD_S)

    return watts_at


def _frames(start_s: float) -> list[Interval]:
    """60 ms of each 100 ms, but none while power is at its highest.

    They begin some readings after the jump from idling, as after a model's warm-up; a jump is smeared over the time between two readings.
    """
    return [(start_s + 0.1 * number, start_s + 0.1 * number + 0.06) for number in (*range(2, 6), *range(17, 22))]


def _measured(sampler: Sampler, frames: list[Interval], idle: Interval) -> PowerSummary:
    """Record until the last frame is over and work out the row, as a run does."""
    with Recorder(sampler) as recorder:
        assert recorder.wait_past(frames[-1][1], timeout_s=30)
    assert recorder.died == ""
    return summarise(
        recorder.around(frames[0][0], frames[-1][1]),
        frames,
        source=sampler.name,
        scope=sampler.scope,
        interval_s=sampler.interval_s,
        idle_w=mean_w(recorder.around(*idle), idle, max_gap_s=max_gap_s(sampler.interval_s)),
        device="cuda:0",
    )


def _check(row: PowerSummary, frames: list[Interval], joules: Callable[[float, float], float]) -> None:
    """Within 2% of the energy that the emulated board gave."""
    busy_s = sum(end - begin for begin, end in frames)
    gross_j = sum(joules(begin, end) for begin, end in frames)
    span = frames[0][0], frames[-1][1]
    # taking the mean over everything, the gaps between frames included, would be wrong by far more than what is allowed
    assert busy_s * joules(*span) / (span[1] - span[0]) > 1.08 * gross_j

    assert row.power_note == ""
    assert row.energy_gross_j_per_frame == pytest.approx(gross_j / len(frames), rel=0.02)
    assert row.idle_w == pytest.approx(IDLE_W, rel=0.02)
    assert row.energy_j_per_frame == pytest.approx((gross_j - IDLE_W * busy_s) / len(frames), rel=0.02)
    assert row.power_mean_w == pytest.approx(gross_j / busy_s, rel=0.02)
    assert row.power_peak_w is not None
    assert row.power_mean_w is not None
    assert row.power_mean_w < row.power_peak_w <= MEAN_W + SWING_W + 0.01


@pytest.mark.alone
def test_energy_of_an_emulated_rail_read_from_sysfs(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", ORIN_NX)
    begun_s = time.perf_counter()
    start_s = begun_s + 0.5
    with Drive(files, "VDD_IN", _sine(start_s)) as rail:
        row = _measured(SysfsSampler(0.05, tmp_path), _frames(start_s), (begun_s + 0.05, begun_s + 0.4))

    _check(row, _frames(start_s), rail.joules)
    assert row.power_of == "VDD_IN"


@pytest.mark.alone
def test_energy_of_an_emulated_rail_read_through_the_real_jtop_service() -> None:
    with jtop_service() as service:
        # 3 W, no more than idling takes, of the total that is their sum on this board; the last is part of the second
        for name, ma in (("VDD_CPU_CV", 200), ("VIN_SYS_5V0", 400), ("VDDQ_VDD2_1V8AO", 200)):
            service.files.set_rail(name, 5_000, ma)
        sampler = JtopSampler(0.1)
        begun_s = time.perf_counter() + 0.3
        start_s = begun_s + 0.8
        watts_at = _sine(start_s)
        with Drive(service.files, "VDD_GPU_SOC", lambda t_s: watts_at(t_s) - 3) as rail:
            row = _measured(sampler, _frames(start_s), (begun_s, begun_s + 0.7))

    _check(row, _frames(start_s), lambda begin_s, end_s: rail.joules(begin_s, end_s) + 3 * (end_s - begin_s))
    assert row.power_of == "VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0"
    assert row.power_mean_w is not None
    assert row.all_rails_mean_w == pytest.approx(row.power_mean_w + 1.0, rel=0.01)
    assert list(row.rails_mean_w.items())[:2] == [("VDDQ_VDD2_1V8AO", 1.0), ("VDD_CPU_CV", 1.0)]
    assert not FAKE_SYS.exists()
