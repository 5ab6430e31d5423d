"""Computing a row's columns from readings: power integrated over the timed frames, and the board's state meanwhile.

Power is assumed to change linearly between readings and is integrated over the timed frames, each from its decoded pixels to its masks. The
gaps between frames, in which the next frame is decoded, are left out. If frames are shorter than the interval between readings, readings
cannot separate a frame from the decoding next to it; the energy is then the average power of both times the time of the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from savbench.board.power.events import count_events
from savbench.board.power.rails import counted, sum_name
from savbench.results.power import PowerSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from savbench.board.power.base import Reading, Scope

MIN_READINGS = 2
"""Minimum number of readings between the start of the first frame and the end of the last; with fewer, power is unknown."""
MAX_GAP_S = 1.0
MAX_GAP_INTERVALS = 5
"""A gap between readings, or between a reading and the first or last frame, larger than both of these is not interpolated."""

Interval = tuple[float, float]
"""Start and end in seconds on the clock of `time.perf_counter`."""


def max_gap_s(interval_s: float) -> float:
    """Maximum gap in seconds between readings that should come every `interval_s` seconds."""
    return max(MAX_GAP_S, MAX_GAP_INTERVALS * interval_s)


def total_w(reading: Reading) -> float | None:
    return None if reading.total_mw is None else reading.total_mw / 1e3


def integrate(
    readings: Sequence[Reading],
    intervals: Sequence[Interval],
    watts: Callable[[Reading], float | None] = total_w,
    *,
    max_gap_s: float = MAX_GAP_S,
) -> float | None:
    """Energy in joules over the intervals: the integral of power, linear between readings and constant before the first and after the last.

    Args:
        readings: oldest first; readings for which `watts` returns None are skipped.
        intervals: ordered, not overlapping.
        watts: power of a reading in watts.
        max_gap_s: maximum gap between readings.

    Returns:
        None if the energy is unknown: fewer than `MIN_READINGS` readings between the first interval's start and the last one's end, a
        larger
                gap between them, or no reading within `max_gap_s` of the start or the end.

    Raises:
        ValueError: there is no interval, or intervals are out of order.
    """
    edges = np.asarray(intervals, np.float64).reshape(-1)
    if not edges.size or np.any(np.diff(edges) < 0):
        raise ValueError("intervals must be pairs of start and end, ordered and not overlapping, at least one")
    known = [(reading.t_s, value) for reading in readings if (value := watts(reading)) is not None]
    if len(known) < MIN_READINGS:
        return None
    times, power = (np.asarray(column) for column in zip(*known, strict=True))
    begin, end = edges[0], edges[-1]
    if np.count_nonzero((times >= begin) & (times <= end)) < MIN_READINGS:
        return None
    if times[0] - begin > max_gap_s or end - times[-1] > max_gap_s:
        return None
    holes = (np.diff(times) > max_gap_s) & (times[1:] > begin) & (times[:-1] < end)
    if holes.any():
        return None
    energy = _energy_until(times, power, edges).reshape(-1, 2)
    return float((energy[:, 1] - energy[:, 0]).sum())


def _energy_until(times: npt.NDArray[np.float64], power: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Integral of power in joules from the first reading to each time in `at`; negative before the first reading."""
    whole = np.concatenate([[0.0], np.cumsum(np.diff(times) * (power[:-1] + power[1:]) / 2)])
    before = np.clip(np.searchsorted(times, at, side="right") - 1, 0, times.size - 1)
    # np.interp keeps power constant beyond both ends
    result: npt.NDArray[np.float64] = whole[before] + (at - times[before]) * (power[before] + np.interp(at, times, power)) / 2
    return result


def mean_w(readings: Sequence[Reading], interval: Interval, *, max_gap_s: float = MAX_GAP_S) -> float | None:
    """Mean power in watts over one interval, for example while idle; None if `integrate` returns None or the interval is empty."""
    joules = integrate(readings, [interval], max_gap_s=max_gap_s)
    return None if joules is None or interval[1] <= interval[0] else joules / (interval[1] - interval[0])


def summarise(
    readings: Sequence[Reading],
    frames: Sequence[Interval],
    *,
    source: str,
    scope: Scope,
    interval_s: float,
    idle_w: float | None,
    device: str = "",
    died: str = "",
) -> PowerSummary:
    """Compute the columns of one object.

    Args:
        readings: from the first timed frame to the last, with one before and one after (`Recorder.around`).
        frames: start and end of every timed frame.
        source, scope, interval_s: the sampler's.
        idle_w: mean power before the arm; if None, energy above idle is unknown.
        device: device that ran the model. A source that measures only the GPU gives no power for a model that ran elsewhere.
        died: why the source stopped; empty if it did not.

    Raises:
        ValueError: frames overlap, or there are none.
    """
    gap_s = max_gap_s(interval_s)
    begin, end = frames[0][0], frames[-1][1]
    window = [reading for reading in readings if begin <= reading.t_s <= end]
    summary = PowerSummary(
        power_source=source,
        power_of=next((reading.total_of for reading in readings), ""),
        power_interval_s=interval_s,
        power_readings=len(window),
    )
    before = [reading for reading in readings if reading.t_s < begin][-1:]
    after = [reading for reading in readings if reading.t_s > end][:1]
    swapped = [reading.swap_io_mib for reading in [*before, *window, *after] if reading.swap_io_mib is not None]
    if swapped:
        summary.swap_io_mib = swapped[-1] - swapped[0]
    if scope == "gpu" and not device.startswith("cuda"):
        summary.power_note = f"{source} measures the GPU, but the model ran on {device}"
        return summary
    summary.idle_w = idle_w
    _put_state(summary, [*before, *window], after)
    supporting = _supporting(readings, frames)
    clocks_mhz = [reading.gpu_clock_khz / 1e3 for reading in supporting if reading.gpu_clock_khz is not None]
    summary.gpu_clock_min_mhz, summary.gpu_clock_max_mhz = min(clocks_mhz, default=None), max(clocks_mhz, default=None)
    others_pct = [reading.gpu_others_pct for reading in window if reading.gpu_others_pct is not None]
    if others_pct:
        summary.background_gpu_pct = sum(others_pct) / len(others_pct)
    joules = integrate(readings, frames, max_gap_s=gap_s)
    if joules is None:
        summary.power_note = died or _why_unknown(readings, window)
        return summary
    busy_s = sum(stop - start for start, stop in frames)
    summary.energy_gross_j_per_frame = joules / len(frames)
    if idle_w is not None:
        summary.energy_j_per_frame = (joules - idle_w * busy_s) / len(frames)
    if busy_s > 0:
        summary.power_mean_w = joules / busy_s
    if joules > 0:
        summary.fps_per_w = len(frames) / joules
    summary.power_peak_w = max((value for reading in supporting if (value := total_w(reading)) is not None), default=None)
    _put_rails(summary, readings, supporting, frames, busy_s, gap_s)
    if busy_s > 0 and (every := integrate(readings, frames, _every_rail_w, max_gap_s=gap_s)) is not None:
        summary.all_rails_mean_w = every / busy_s
    return summary


def _every_rail_w(reading: Reading) -> float | None:
    """All rails added up, if the total is the sum of only some because one is part of another."""
    some = counted(reading.rails_mw)
    if reading.total_of != sum_name(some) or len(some) == len(reading.rails_mw):
        return None
    return sum(reading.rails_mw.values()) / 1e3


def _put_state(summary: PowerSummary, course: Sequence[Reading], after: Sequence[Reading]) -> None:
    """Set temperatures, modes and events, from the last reading before the first frame on."""
    if not course:
        return
    degrees = [value for reading in course if (value := reading.hottest_c) is not None]
    summary.temperature_start_c, summary.temperature_peak_c = (degrees[0], max(degrees)) if degrees else (None, None)
    summary.nvpmodel = _in_turn(reading.nvpmodel for reading in course)
    summary.jetson_clocks = _in_turn({True: "on", False: "off", None: None}[reading.jetson_clocks] for reading in course)
    # an event at the end appears in the counters of the next reading
    counted = count_events([*course, *after])
    summary.throttle_events, summary.throttle_reasons = (
        sum(counted.values()),
        "; ".join(f"{name}={times}" for name, times in counted.items()),
    )


def _put_rails(
    summary: PowerSummary,
    readings: Sequence[Reading],
    supporting: Sequence[Reading],
    frames: Sequence[Interval],
    busy_s: float,
    gap_s: float,
) -> None:
    means, peaks = {}, {}
    for name in sorted({name for reading in readings for name in reading.rails_mw}):

        def watts(reading: Reading, name: str = name) -> float | None:
            value = reading.rails_mw.get(name)
            return None if value is None else value / 1e3

        joules = integrate(readings, frames, watts, max_gap_s=gap_s)
        if joules is not None and busy_s > 0:
            means[name] = joules / busy_s
        values = [value for reading in supporting if (value := watts(reading)) is not None]
        if values:
            peaks[name] = max(values)
    summary.rails_mean_w = {name: round(watt, 3) for name, watt in means.items()}
    summary.rails_peak_w = {name: round(watt, 3) for name, watt in peaks.items()}


def _supporting(readings: Sequence[Reading], intervals: Sequence[Interval]) -> list[Reading]:
    """Readings that the power of the intervals is interpolated from: those inside an interval and the next on each side.

    Readings inside frames alone might be none if frames and readings come at the same rate.
    """
    times = np.asarray([reading.t_s for reading in readings])
    starts, ends = np.asarray(intervals).T
    first = np.maximum(np.searchsorted(times, starts, side="right") - 1, 0)
    last = np.searchsorted(times, ends, side="left")
    changes = np.zeros(times.size + 1, np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, np.minimum(last + 1, times.size), -1)
    return [reading for reading, count in zip(readings, np.cumsum(changes), strict=False) if count]


def _why_unknown(readings: Sequence[Reading], window: Sequence[Reading]) -> str:
    if readings and all(reading.total_mw is None for reading in readings):
        return "the source reports no power"
    if len(window) < MIN_READINGS:
        return f"{len(window)} readings during the timed frames, need {MIN_READINGS}; run more frames or give a shorter --power_interval"
    return "readings are missing during the timed frames; see telemetry.csv"


def _in_turn(values: Iterable[str | None]) -> str:
    """The values in order, without repeats in a row."""
    turns: list[str] = []
    for value in values:
        if value is not None and turns[-1:] != [value]:
            turns.append(value)
    return " > ".join(turns)
