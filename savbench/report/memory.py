"""Peak memory of each arm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from savbench.report.arms import numbers
from savbench.report.charts import Axis, Bars, Figure, Missing, Part
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from savbench.report.arms import Arm

KINDS = {
    "unified_peak_used_MiB": "whole board in use",
    "gpu_peak_reserved_MiB": "GPU reserved by torch",
    "gpu_peak_alloc_MiB": "GPU allocated by torch",
    "cpu_peak_rss_MiB": "resident (RSS)",
}


def peak_memory(arms: Sequence[Arm], rows: pd.DataFrame) -> Figure | Missing:
    """Show the largest peak of any object, by kind of memory."""
    key, title = "memory", "Peak memory"
    peaks = {(arm.number, name): _peak(rows.iloc[arm.valid], name) for arm in arms for name in KINDS}
    drawn = [arm for arm in arms if any(not math.isnan(peaks[arm.number, name]) for name in KINDS)]
    if not drawn:
        return Missing(key, title, "No row has a peak of memory. Runs of this benchmark record it always.")
    kinds = {name: label for name, label in KINDS.items() if any(not math.isnan(peaks[arm.number, name]) for arm in drawn)}
    parts = tuple(
        Part(label, tuple(peaks[arm.number, name] for arm in drawn), tuple(_whole(peaks[arm.number, name]) for arm in drawn))
        for name, label in kinds.items()
    )
    lines = [[arm.shown, *(_whole(peaks[arm.number, name]) for name in kinds)] for arm in drawn]
    notes = []
    if "unified_peak_used_MiB" in kinds:
        notes.append("CPU and GPU share this board's memory: the whole board's is the figure to quote, the others are a part of it.")
    elif "gpu_peak_alloc_MiB" not in kinds:
        notes.append("No GPU memory: nothing ran on a CUDA device, or torch was not used.")
    if any(arm.shared for arm in drawn):
        notes.append("‡ of a shared session: the memory of all that it tracked.")
    says = "The largest peak of any object of the arm, in MiB (2^20 bytes)."
    bars = Bars(Axis("peak, MiB", low=0), tuple(arm.shown for arm in drawn), parts)
    return Figure(key, title, says, bars, Grid(["arm", *(f"{label}, MiB" for label in kinds.values())], lines), tuple(notes))


def _peak(rows: pd.DataFrame, name: str) -> float:
    values = numbers(rows, name)
    return math.nan if np.isnan(values).all() else float(np.nanmax(values))


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}"
