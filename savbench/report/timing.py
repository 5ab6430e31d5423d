"""Latency per arm, over the frames of a clip, and by stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from runners.base import STAGES
from savbench.report.arms import numbers
from savbench.report.charts import Axis, Bars, Box, Boxes, Figure, Line, Lines, Missing, Part, axis, notes_of, number, style_of
from savbench.results.beside import object_names
from savbench.results.grid import Grid
from savbench.results.quantiles import TOO_SMALL, Percentile, percentile_of
from savbench.results.rows import STAGE_COLUMN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.report.arms import Arm
    from savbench.report.runs import Run

PERCENTILES = (1, 25, 50, 75, 99)
MOST_BINS = 60
"""Maximum number of points of a line over the frames of a clip."""
MOST_BANDS = 4
"""Maximum number of bands: more would hide each other."""

STAGE_LABELS = {STAGE_COLUMN.format(stage): stage.replace("_", " ") for stage in STAGES}
"""Labels of the stages that --stages records, by column. Waiting for a frame to be decoded is not part of the latency."""
PART_LABELS = {"preprocess_ms": "preprocessing", "model_ms": "model", "output_ms": "threshold and copy out"}
"""Coarser parts of the latency, which every row has."""

NO_FRAMES = "There is no frames.csv with latencies beside the results. Every run writes one; give the run's folder instead of a lone CSV."


def frames_of(arms: Sequence[Arm], runs: Sequence[Run], rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Return the valid timed frames by arm number; columns as in `Run.frames`. Leaves out arms without any."""
    tables = {run.label: run.frames for run in runs if len(run.frames)}
    found = {}
    for arm in arms:
        table = tables.get(arm.run)
        if table is None or not arm.arm_id:
            continue
        table = table[(table["arm_id"] == arm.arm_id) & table["latency_ms"].notna()]
        key = pd.MultiIndex.from_frame(rows.iloc[arm.timed][["video", "object"]].astype(str))
        names = object_names(table["object"])
        here = pd.MultiIndex.from_arrays([table["video"].astype(str), names])
        table = table.assign(object=names)[here.isin(key)]
        if len(table):
            found[arm.number] = table
    return found


def latency_distributions(arms: Sequence[Arm], frames: dict[int, pd.DataFrame]) -> Figure | Missing:
    """Show percentiles over all frames of each arm."""
    key, title = "latency", "Latency of a frame"
    drawn = [arm for arm in arms if arm.number in frames]
    if not drawn:
        return Missing(key, title, NO_FRAMES)
    boxes, lines = [], []
    by_kind = [(arm, of, table) for arm in drawn for of, table in _by_kind(frames[arm.number])]
    for arm, of, table in by_kind:
        samples, shown = table["latency_ms"].to_numpy(np.float64), arm.shown + of
        p1, p25, p50, p75, p99 = (float(value) for value in np.percentile(samples, PERCENTILES))
        mean = float(samples.mean())
        boxes.append(Box(shown, style_of(arm.number), p1, p25, p50, p75, p99, mean, samples.size))
        tails = [_quoted(percentile_of(samples, percent)) for percent in (90, 99)]
        lines.append([shown, f"{samples.size}", *(number(value) for value in (mean, p1, p25, p50, p75)), *tails])
    x = axis("latency, ms", [value for box in boxes for value in (box.p1, box.p99)])
    header = ["arm", "frames", "mean ms", "p1", "p25", "p50", "p75", "p90", "p99"]
    says = "All timed frames of each arm: boxes from the 25th to the 75th percentile with the median, whiskers at the 1st and the 99th."
    says += " In the table, brackets hold 95% intervals of the 90th and 99th percentile; where the frames are too few for one, it says so."
    return Figure(key, title, says, Boxes(x, tuple(boxes)), Grid(header, lines), notes_of(drawn))


def _by_kind(frames: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The frames of an arm; with keyframes by kind, with what to add to the arm's name."""
    kinds = ((kind, frames[frames["frame_kind"] == kind]) for kind in ("", "key", "between"))
    return [(f", {kind} frames" if kind else "", table) for kind, table in kinds if len(table)]


def _quoted(percentile: Percentile) -> str:
    if percentile.low is None or percentile.high is None:
        return TOO_SMALL
    return f"{number(percentile.value)} [{number(percentile.low)}, {number(percentile.high)}]"


def latency_over_frames(arms: Sequence[Arm], frames: dict[int, pd.DataFrame]) -> Figure | Missing:
    """Show median latency by position in the clip: a rise indicates a leak, growing memory or heat."""
    key, title = "latency-frames", "Latency over the frames of a clip"
    there = [arm for arm in arms if arm.number in frames and frames[arm.number]["frame"].notna().any()]
    # a baseline that takes a microsecond would compress the models' lines
    drawn = [arm for arm in there if not arm.is_floor] or there
    if not drawn:
        return Missing(key, title, NO_FRAMES)
    last = max(float(frames[arm.number]["frame"].max()) for arm in drawn)
    width = max(1, math.ceil((last + 1) / MOST_BINS))
    has_bands = len(drawn) <= MOST_BANDS
    lines, rows = [], []
    shown: list[float] = []
    for arm in drawn:
        table = frames[arm.number]
        table = table[table["frame_kind"] != "between"]
        grouped = table.groupby((table["frame"] // width) * width + (width - 1) / 2)["latency_ms"]
        quantiles = pd.DataFrame({q: grouped.quantile(q) for q in (0.1, 0.5, 0.9)})
        x, low, middle, high = (tuple(map(float, column)) for column in (quantiles.index, *(quantiles[q] for q in (0.1, 0.5, 0.9))))
        lines.append(Line(arm.shown, style_of(arm.number), x, middle, low if has_bands else (), high if has_bands else ()))
        shown += [*low, *high] if has_bands else middle
        fifth = max(1, len(middle) // 5)
        first, final = float(np.median(middle[:fifth])), float(np.median(middle[-fifth:]))
        rows.append([arm.shown, number(first), number(final), f"x{final / first:.2f}" if first > 0 else ""])
    says = "Median over objects" + (", with the band from the 10th to the 90th percentile." if has_bands else ".")
    says += " A line that rises is growing memory or heat."
    if width > 1:
        says += f" A point is {width} frames."
    if any((frames[arm.number]["frame_kind"] == "between").any() for arm in drawn):
        says += " Of arms with --keyframe, only frames that the model saw."
    if len(drawn) < len(there):
        says += " Baselines without weights are left out."
    header = ["arm", "first fifth, median ms", "last fifth, median ms", "last over first"]
    drawing = Lines(Axis("frame of the clip", low=0), axis("latency, ms", shown), tuple(lines))
    return Figure(key, title, says, drawing, Grid(header, rows), notes_of(drawn))


def stage_shares(arms: Sequence[Arm], rows: pd.DataFrame) -> Figure | Missing:
    """Show shares of the latency by stage if --stages recorded it, else by the parts that every row has."""
    key, title = "stages", "Where a frame's time goes"
    remedy = "--stages records image encoder, memory attention, decoder and the rest."
    for columns, is_fine in ((STAGE_LABELS, True), (PART_LABELS, False)):
        means = {arm.number: _means(arm, rows, columns) for arm in arms}
        drawn = [arm for arm in arms if sum(value for value in means[arm.number].values() if not math.isnan(value)) > 0]
        if not drawn:
            continue
        labels = {name: label for name, label in columns.items() if any(means[arm.number][name] > 0 for arm in drawn)}
        totals = {arm.number: sum(v for v in means[arm.number].values() if not math.isnan(v)) for arm in drawn}
        parts = tuple(
            Part(
                label,
                tuple(100 * means[arm.number][name] / totals[arm.number] for arm in drawn),
                tuple(f"{number(means[arm.number][name])} ms" for arm in drawn),
            )
            for name, label in labels.items()
        )
        lines = [[arm.shown, *(number(means[arm.number][name]) for name in labels), number(totals[arm.number])] for arm in drawn]
        grid = Grid(["arm", *(f"{label}, ms" for label in labels.values()), "sum, ms"], lines)
        notes = list(notes_of(drawn))
        if not is_fine:
            notes.insert(0, f"Finer stages were not recorded: {remedy}")
        elif len(drawn) < len(arms):
            notes.insert(0, f"Not recorded for {', '.join(arm.label for arm in arms if arm not in drawn)}: {remedy}")
        bars = Bars(Axis("share of the latency, %", low=0, high=100), tuple(arm.shown for arm in drawn), parts, is_stacked=True)
        return Figure(key, title, "Mean over objects of each part's time, as a share of their sum.", bars, grid, tuple(notes))
    return Missing(key, title, f"No row has parts of its latency. {remedy}")


def sustained_speed(arms: Sequence[Arm], runs: Sequence[Run]) -> list[Figure]:
    """Show FPS over the minutes of --sustained, relative to each object's first run. Nothing if no run recorded it."""
    tables = {run.label: run.sustained for run in runs if len(run.sustained)}
    lines, rows = [], []
    for arm in arms:
        table = tables.get(arm.run, pd.DataFrame())
        if not len(table) or not arm.arm_id:
            continue
        table = table[(table["arm_id"] == arm.arm_id) & (table["fps"] > 0) & table["minutes"].notna()].sort_values("minutes", kind="stable")
        if not len(table):
            continue
        speed = table["fps"] / table.groupby(["video", "object"])["fps"].transform("first")
        width = max(float(table["minutes"].max()) / MOST_BINS, 1e-9)
        grouped = pd.DataFrame({"minutes": table["minutes"], "speed": speed}).groupby((table["minutes"] / width).astype(int))
        middle = grouped.median()
        lines.append(Line(arm.shown, style_of(arm.number), tuple(map(float, middle["minutes"])), tuple(map(float, middle["speed"]))))
        heat = table["temperature_peak_c"].dropna()
        last = f"{heat.iloc[-1]:.1f}" if len(heat) else ""
        rows.append([arm.shown, number(float(table["minutes"].max())), f"x{middle['speed'].iloc[-1]:.3f}", last])
    if not lines:
        return []
    drawing = Lines(Axis("minutes of the course", low=0), Axis("FPS, in units of the first run", low=0), tuple(lines))
    says = "Median over the objects run in each stretch of time: 1 is the speed of a board that has just begun to work."
    grid = Grid(["arm", "minutes", "FPS at the end, over the first", "last peak, °C"], rows)
    return [Figure("sustained", "Speed under sustained load", says, drawing, grid)]


def _means(arm: Arm, rows: pd.DataFrame, columns: dict[str, str]) -> dict[str, float]:
    timed = rows.iloc[arm.timed]
    means = {}
    for name in columns:
        values = numbers(timed, name)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if values.size else math.nan
    return means
