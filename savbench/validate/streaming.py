"""Checks that times in streaming.csv follow from the schedule, and the streaming figures of the summary from the times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from savbench.data.csv_file import InputError, read_csv
from savbench.measure.streaming import Camera, Processed, Timeline
from savbench.results.frame_rows import StreamingRow
from savbench.results.run_folder import STREAMING, SUMMARY
from savbench.validate.failures import check_failures
from savbench.validate.findings import KEY, RELATIVE, Table, close, keys_of, positions_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from savbench.validate.findings import Flags, Numbers, Positions, Report

SHARES = ("streaming_J", "streaming_F", "streaming_JandF", "deadline_met")
ALWAYS = ("frames_processed", "frames_dropped", "mask_age_p50_ms", "mask_age_p90_ms", "deadline_met")
"""Columns that a streamed row has if and only if its status is ok."""


def check_streaming(folder: Path, rows: Table, ok: Flags, report: Report) -> None:
    """Check the streaming columns of the summary, and streaming.csv if there is one.

    Raises:
        InputError: streaming.csv cannot be read at all.
    """
    n = rows.numbers
    streamed = ~np.isnan(n["camera_fps"])
    rows.flag(report, n["camera_fps"] <= 0, lambda row: f"camera_fps {n['camera_fps'][row]:g} is not above 0")
    for name in SHARES:
        outside = (n[name] < 0) | (n[name] > 1)
        rows.flag(report, outside, lambda row, name=name: f"{name} {n[name][row]:g} is out of its range")  # type: ignore[misc]
    for name in ALWAYS:
        rows.flag(report, ok & streamed & np.isnan(n[name]), lambda row, name=name: f"camera_fps without {name}")  # type: ignore[misc]
        rows.flag(report, ~(ok & streamed) & ~np.isnan(n[name]), lambda row, name=name: f"{name} without an object that was streamed")  # type: ignore[misc]
    JandF = (n["streaming_J"] + n["streaming_F"]) / 2
    rows.flag(
        report,
        ok & ~close(n["streaming_JandF"], JandF),
        lambda row: f"streaming_JandF {n['streaming_JandF'][row]:g} is not (streaming_J + streaming_F) / 2 = {JandF[row]:g}",
    )
    if not (folder / STREAMING).exists():
        if (ok & streamed).any():
            report.problems.append(f"{STREAMING} is missing, but {SUMMARY} has streaming figures")
        return
    try:
        frames = Table(read_csv(folder / STREAMING, KEY), StreamingRow, report)
    except InputError:
        if (ok & streamed).any():
            raise
        return
    inside = positions_by_key(frames)
    keys = keys_of(rows)
    orphans = [key for key in inside if key not in set(keys)]
    if orphans:
        report.problems.append(
            f"{STREAMING}: frames of {len(orphans)} objects without a row in {SUMMARY}, the first {'/'.join(orphans[0])}"
        )
    usable = _check_values(frames, inside.values(), report)
    differing: dict[str, Numbers] = {}
    for row in np.flatnonzero(ok & streamed & (n["camera_fps"] > 0)):
        of = inside.get(keys[row])
        if of is None:
            report.problems.append(f"{STREAMING}: no frames of {'/'.join(keys[row])}")
            continue
        if not usable[of].all():
            continue
        timeline = _timeline(frames, of, float(n["camera_fps"][row]))
        if not _check_times(frames, of, timeline, report):
            continue
        for name, value in _figures(timeline, frames, of, float(n["frames_scored"][row])).items():
            differing.setdefault(name, n[name].copy())[row] = math.nan if value is None else value
    for name, values in differing.items():
        rows.flag(
            report, ok & streamed & ~close(n[name], values),
            lambda row, name=name, values=values: f"{name} {n[name][row]:g}, {STREAMING} gives {values[row]:g}",  # type: ignore[misc]
        )  # fmt: skip
    check_failures(frames, inside, rows, ok & streamed, report, "streaming_")
    report.checked.append(f"{len(frames.lines)} frames of {STREAMING}")


def _check_values(frames: Table, objects: Iterable[Positions], report: Report) -> Flags:
    """Whether each line is possible for a camera and a tracker; only possible lines make a timeline to check."""
    n = frames.numbers
    steps = np.array([n["taken_ms"], n["latency_ms"], n["finished_ms"]])
    rises = np.ones(len(frames.lines), np.bool_)
    for of in objects:
        rises[of[1:]] = np.diff(n["frame"][of]) > 0
    checks = {
        "frame is missing or negative": ~(n["frame"] >= 0),
        "frame is not above the one before it": ~rises,
        "taken_ms, latency_ms and finished_ms are partly missing": np.isnan(steps).any(axis=0) & ~np.isnan(steps).all(axis=0),
        "a time is negative": (steps < 0).any(axis=0) | (n["arrived_ms"] < 0),
        "finished_ms is before taken_ms": n["finished_ms"] < n["taken_ms"],
    }
    for message, wrong in checks.items():
        frames.flag(report, wrong, lambda row, message=message: message)  # type: ignore[misc]
    wrong_anywhere: Flags = np.any(list(checks.values()), axis=0)
    return ~wrong_anywhere


def _timeline(frames: Table, of: Positions, fps: float) -> Timeline:
    n = frames.numbers
    camera = Camera([int(frame) for frame in n["frame"][of]], fps)
    steps = [
        Processed(index, float(n["taken_ms"][line]), float(n["latency_ms"][line]), float(n["finished_ms"][line]))
        for index, line in enumerate(of)
        if not np.isnan(n["taken_ms"][line])
    ]
    return Timeline(camera, tuple(steps))


def _check_times(frames: Table, of: Positions, timeline: Timeline, report: Report) -> bool:
    """Check one object's arrivals, taken frames and known masks. Returns whether figures can be computed from the times."""
    n, camera = frames.numbers, timeline.camera
    arrived = np.array([camera.arrival_ms(index) for index in range(len(of))])
    steps = [timeline.known_at(moment) for moment in arrived]
    known = np.array([math.nan if step is None else camera.frames[step.index] for step in steps])
    ages = np.array([timeline.mask_age_ms(moment) for moment in arrived])
    late = np.zeros(len(of), np.bool_)
    for before, after in zip(timeline.processed, timeline.processed[1:], strict=False):
        due = max(before.index + 1, camera.newest_at(before.finished_ms))
        due_ms = max(before.finished_ms, camera.arrival_ms(due))
        late[after.index] = after.index != due or not math.isclose(after.taken_ms, due_ms, rel_tol=RELATIVE)
    checks = {
        "arrived_ms is not its position in the clip divided by camera_fps": ~close(n["arrived_ms"][of], arrived),
        "finished_ms is not taken_ms + latency_ms": ~close(n["finished_ms"][of], n["taken_ms"][of] + n["latency_ms"][of]),
        "not taken when the tracker became free, or not the newest frame then": late,
        "known_frame is not the newest finished by arrived_ms": ~close(n["known_frame"][of], known),
        "mask_age_ms is not the time since known_frame arrived": ~close(n["mask_age_ms"][of], ages),
        "the newest mask was finished before the frame that it was computed from arrived": ages < 0,
    }
    for message, wrong in checks.items():
        lines = np.zeros(len(frames.lines), np.bool_)
        lines[of[wrong]] = True
        frames.flag(report, lines, lambda row, message=message: message)  # type: ignore[misc]
    return not (ages < 0).any()


def _figures(timeline: Timeline, frames: Table, of: Positions, scored: float) -> dict[str, float | None]:
    """Columns of a row, computed from its frames. Has scores only if the camera delivered every scored frame."""
    ages = timeline.mask_ages_ms
    found: dict[str, float | None] = {
        "frames_processed": len(timeline.tracked),
        "frames_dropped": timeline.dropped,
        "streaming_fps": timeline.fps,
        "deadline_met": timeline.deadline_met,
        "mask_age_p50_ms": ages.p50,
        "mask_age_p90_ms": ages.p90,
    }
    for name in ("J", "F"):
        values = frames.numbers[name][of]
        values = values[~np.isnan(values)]
        if len(values) == scored:
            found[f"streaming_{name}"] = float(np.mean(values)) if scored else None
    return found
