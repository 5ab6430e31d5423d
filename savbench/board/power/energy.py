"""From readings to the columns of a row: power integrated over the timed frames alone, and what the board went through meanwhile.

Power is taken to change linearly between two readings, and integrated over the intervals that are given: the timed frames, from their
decoded pixels to their masks. The gaps between them, in which the next JPEG is decoded, are left out. Where frames are shorter than the
interval between readings a reading cannot tell a frame from the decoding beside it; the energy is then that of their average power over the
time of the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from savbench.board.power.events import count_events
from savbench.results.power import PowerSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from savbench.board.power.base import Reading, Scope

MIN_READINGS = 2
"""Readings that have to lie between the first frame's beginning and the last one's end; with fewer there is no power of that time."""
MAX_GAP_S = 1.0
MAX_GAP_INTERVALS = 5
"""Readings further apart than both of these, or so far from the first or last frame, leave a hole that is not bridged."""

Interval = tuple[float, float]
"""Beginning and end in seconds on the clock of `time.perf_counter`."""


def max_gap_s(interval_s: float) -> float:
    """How far apart readings may be that are meant to come every `interval_s` seconds."""
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
    """Energy in joules over the intervals: the integral of power, linear between readings and constant beyond the first and the last one.

    Args:
        readings: oldest first; those for which `watts` is None are passed over.
        intervals: in order and without overlap.
        watts: which power of a reading is meant.
        max_gap_s: readings further apart leave a hole.

    Returns:
        None where the energy is not known: fewer than `MIN_READINGS` readings between the first interval's beginning and the last one's
        end, a hole in them, or none within `max_gap_s` of the beginning or the end.

    Raises:
        ValueError: there is no interval, or one ends before it or the next one begins.
    """
    edges = np.asarray(intervals, np.float64).reshape(-1)
    if not edges.size or np.any(np.diff(edges) < 0):
        raise ValueError("intervals are pairs of beginning and end, in order and without overlap, at least one")
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
    """Integral of power from the first reading to each of the moments `at`; negative for those before it."""
    whole = np.concatenate([[0.0], np.cumsum(np.diff(times) * (power[:-1] + power[1:]) / 2)])
    before = np.clip(np.searchsorted(times, at, side="right") - 1, 0, times.size - 1)
    # beyond both ends np.interp holds the outermost power
    result: npt.NDArray[np.float64] = whole[before] + (at - times[before]) * (power[before] + np.interp(at, times, power)) / 2
    return result


def mean_w(readings: Sequence[Reading], interval: Interval, *, max_gap_s: float = MAX_GAP_S) -> float | None:
    """Mean power in watts over one stretch of time, for example of idling; None where `integrate` gives None or it has no length."""
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
    """The columns of one object.

    Args:
        readings: those from the first timed frame to the last, with one before and one after (`Recorder.around`).
        frames: beginning and end of every timed frame.
        source, scope, interval_s: the sampler's.
        idle_w: mean power before the arm; None where it was not measured, and energy beyond idling then is not known.
        device: that ran the model. A source that measures the GPU alone says nothing of a model that ran elsewhere.
        died: why the source gives no readings any longer.

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
        summary.power_note = f"{source} measures the GPU, and the model ran on {device}"
        return summary
    summary.idle_w = idle_w
    _put_state(summary, [*before, *window], after)
    beneath = _beneath(readings, frames)
    clocks_mhz = [reading.gpu_clock_khz / 1e3 for reading in beneath if reading.gpu_clock_khz is not None]
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
    summary.power_peak_w = max((value for reading in beneath if (value := total_w(reading)) is not None), default=None)
    _put_rails(summary, readings, beneath, frames, busy_s, gap_s)
    return summary


def _put_state(summary: PowerSummary, course: Sequence[Reading], after: Sequence[Reading]) -> None:
    """Temperatures, modes and events, from the last reading before the first frame on."""
    if not course:
        return
    degrees = [value for reading in course if (value := reading.hottest_c) is not None]
    summary.temperature_start_c, summary.temperature_peak_c = (degrees[0], max(degrees)) if degrees else (None, None)
    summary.nvpmodel = _in_turn(reading.nvpmodel for reading in course)
    summary.jetson_clocks = _in_turn({True: "on", False: "off", None: None}[reading.jetson_clocks] for reading in course)
    # an event at the very end shows in the counters of the reading after it
    counted = count_events([*course, *after])
    summary.throttle_events, summary.throttle_reasons = (
        sum(counted.values()),
        "; ".join(f"{name}={times}" for name, times in counted.items()),
    )


def _put_rails(
    summary: PowerSummary, readings: Sequence[Reading], beneath: Sequence[Reading], frames: Sequence[Interval], busy_s: float, gap_s: float
) -> None:
    means, peaks = {}, {}
    for name in sorted({name for reading in readings for name in reading.rails_mw}):

        def watts(reading: Reading, name: str = name) -> float | None:
            value = reading.rails_mw.get(name)
            return None if value is None else value / 1e3

        joules = integrate(readings, frames, watts, max_gap_s=gap_s)
        if joules is not None and busy_s > 0:
            means[name] = joules / busy_s
        values = [value for reading in beneath if (value := watts(reading)) is not None]
        if values:
            peaks[name] = max(values)
    summary.rails_mean_w = {name: round(watt, 3) for name, watt in means.items()}
    summary.rails_peak_w = {name: round(watt, 3) for name, watt in peaks.items()}


def _beneath(readings: Sequence[Reading], intervals: Sequence[Interval]) -> list[Reading]:
    """The readings from which the power of the intervals is interpolated: those within one, and the next on either side of it.

    Readings within frames alone would be none where frames come at the same pace as readings.
    """
    times = np.asarray([reading.t_s for reading in readings])
    starts, ends = np.asarray(intervals).T
    first = np.maximum(np.searchsorted(times, starts, side="right") - 1, 0)
    last = np.searchsorted(times, ends, side="left")
    chosen = np.zeros(times.size + 1, np.int64)
    np.add.at(chosen, first, 1)
    np.add.at(chosen, np.minimum(last + 1, times.size), -1)
    return [reading for reading, count in zip(readings, np.cumsum(chosen), strict=False) if count]


def _why_unknown(readings: Sequence[Reading], window: Sequence[Reading]) -> str:
    if readings and all(reading.total_mw is None for reading in readings):
        return "the source tells no power"
    if len(window) < MIN_READINGS:
        return f"{len(window)} readings during the timed frames, {MIN_READINGS} are needed; run more frames or a shorter --power_interval"
    return "readings are missing in between; see telemetry.csv"


def _in_turn(values: Iterable[str | None]) -> str:
    """The values in the order they came, each change once."""
    turns: list[str] = []
    for value in values:
        if value is not None and turns[-1:] != [value]:
            turns.append(value)
    return " > ".join(turns)


def _compact(items: Iterable[tuple[str, float]], spec: str) -> str:
    return "; ".join(f"{name}={value:{spec}}" for name, value in items)
