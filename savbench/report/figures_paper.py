"""Figures for papers: draws the same data with matplotlib, without a display or its global state."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.report.charts import COLOURS, NEUTRAL, Axis, Bars, Boxes, Conclusion, Forest, Lines, Scatter, bounds, ratio_ticks, style_of
from savbench.report.page import require

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.report.charts import Figure

MATPLOTLIB = "matplotlib>=3.7"
WIDTH_IN = 6.3
ROW_IN = 0.27
PNG_DPI = 200
LABEL_WIDTH = 26
NOTE_WIDTH, NOTE_LINE_IN = 120, 0.13
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "star": "*", "triangle-down": "v",
}  # fmt: skip
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
HATCHES = ("", "//", "..", "xx", "--", "\\\\", "||", "++")
CONCLUSIONS: dict[Conclusion, tuple[str, str, bool]] = {
    "better": (COLOURS[0], "o", True), "worse": (COLOURS[1], "s", True), "no difference shown": (NEUTRAL, "o", False),
    "no interval": (NEUTRAL, "x", True),
}  # fmt: skip
"""Colour, marker and whether the marker is filled."""
_RC = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    # labels come from files: do not parse dollar signs as math
    "text.parse_math": False,
    # TrueType fonts, which journals require
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def save_png(figure: Figure, path: Path) -> None:
    """
    Raises:
        ReportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    matplotlib = require("matplotlib", MATPLOTLIB, "--format png")
    with matplotlib.rc_context(_RC):
        _drawn(figure).savefig(path, dpi=PNG_DPI, format="png", bbox_inches="tight")


def save_pdf(figures: list[Figure], path: Path) -> None:
    """Write one page per figure, cropped to its size.

    Raises:
        ReportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    matplotlib = require("matplotlib", MATPLOTLIB, "--format pdf")
    backend = require("matplotlib.backends.backend_pdf", MATPLOTLIB, "--format pdf")
    with matplotlib.rc_context(_RC), backend.PdfPages(path) as pages:
        for figure in figures:
            pages.savefig(_drawn(figure), bbox_inches="tight")


def _drawn(figure: Figure) -> Any:
    """Make a matplotlib figure without a window."""
    make_figure = require("matplotlib.figure", MATPLOTLIB, "a figure").Figure
    canvas = require("matplotlib.backends.backend_agg", MATPLOTLIB, "a figure").FigureCanvasAgg
    notes = [part for note in figure.notes for part in textwrap.wrap(note, NOTE_WIDTH)]
    height_in, notes_in = _height_in(figure.drawing), NOTE_LINE_IN * len(notes)
    page = make_figure(figsize=(WIDTH_IN, height_in + notes_in), layout="constrained")
    canvas(page)
    upper = page
    if notes:
        # a separate part: the legend is at the bottom of the drawing
        upper, lower = page.subfigures(2, 1, height_ratios=[height_in, notes_in])
        lower.text(0.01, 1, "\n".join(notes), fontsize=6.5, va="top")
    axes = upper.add_subplot()
    axes.set_title("\n".join(textwrap.wrap(figure.title, 80)), loc="left", fontweight="bold", fontsize=9.5)
    drawing = figure.drawing
    if isinstance(drawing, Scatter):
        _scatter(axes, drawing)
    elif isinstance(drawing, Boxes):
        _boxes(axes, drawing)
    elif isinstance(drawing, Lines):
        _lines(axes, drawing)
    elif isinstance(drawing, Bars):
        _bars(axes, drawing)
    else:
        _forest(axes, drawing)
    return page


def _height_in(drawing: Any) -> float:
    if isinstance(drawing, Boxes):
        return 1.3 + 1.5 * ROW_IN * len(drawing.boxes)
    if isinstance(drawing, Bars):
        per_row = 1.5 if drawing.is_stacked else max(1.5, 0.7 * len(drawing.parts))
        return 1.6 + ROW_IN * per_row * len(drawing.categories)
    if isinstance(drawing, Forest):
        rows = sum(max(1, len(textwrap.wrap(change.label, LABEL_WIDTH)) / 2) for _, changes in drawing.groups for change in changes)
        return 1.3 + ROW_IN * (rows + sum(1.5 for heading, _ in drawing.groups if heading))
    return 3.7


def _scatter(axes: Any, drawing: Scatter) -> None:
    if len(drawing.front) > 1:
        x, y = zip(*drawing.front, strict=True)
        axes.step(x, y, where="post", color=NEUTRAL, linestyle=":", linewidth=1.2, label="Pareto front")
    for label, level in drawing.floors:
        axes.axhline(level, color=NEUTRAL, linestyle=":", linewidth=1)
        axes.annotate(
            f"{label} {level:.3f}", (0, level), xycoords=("axes fraction", "data"), xytext=(2, 2), textcoords="offset points", fontsize=7
        )
    for point in drawing.points:
        errors = [
            None if interval is None else [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]
            for interval, value in ((point.x_interval, point.x), (point.y_interval, point.y))
        ]
        axes.errorbar(
            [point.x], [point.y], xerr=errors[0], yerr=errors[1], color=point.style.colour,
            marker=MARKERS[point.style.symbol], markersize=7,
            markerfacecolor="white" if point.is_hollow else point.style.colour, linestyle="none", elinewidth=0.9, capsize=2,
            label=point.label,
        )  # fmt: skip
    _apply(axes, drawing.x, "x")
    _apply(axes, drawing.y, "y")
    _legend(axes)


def _boxes(axes: Any, drawing: Boxes) -> None:
    for place, box in enumerate(drawing.boxes):
        colour = box.style.colour
        axes.hlines(place, box.p1, box.p99, color=colour, linewidth=1.1)
        axes.vlines([box.p1, box.p99], place - 0.18, place + 0.18, color=colour, linewidth=1.1)
        axes.barh(place, box.p75 - box.p25, left=box.p25, height=0.6, facecolor="white", edgecolor=colour, linewidth=1.3)
        axes.vlines(box.p50, place - 0.3, place + 0.3, color=colour, linewidth=2)
    _rows(axes, [box.label for box in drawing.boxes])
    _apply(axes, drawing.x, "x")
    if drawing.x.is_log:
        axes.set_xlim(min(box.p1 for box in drawing.boxes) / 1.3, max(box.p99 for box in drawing.boxes) * 1.3)


def _lines(axes: Any, drawing: Lines) -> None:
    for line in drawing.lines:
        colour = line.style.colour
        if line.low and line.high:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        marker = MARKERS[line.style.symbol] if drawing.has_symbols or len(line.x) == 1 else None
        axes.plot(
            line.x, line.y, color=colour, linestyle=LINES[line.style.dash], linewidth=1.3, marker=marker, markersize=5, label=line.label
        )
    if drawing.marks:
        x, y, _ = zip(*drawing.marks, strict=True)
        axes.scatter(x, y, marker="x", color=COLOURS[1], s=22, label="throttled or over current", zorder=3)
    _apply(axes, drawing.x, "x")
    _apply(axes, drawing.y, "y")
    if len(drawing.lines) > 1 or drawing.marks:
        _legend(axes)


def _bars(axes: Any, drawing: Bars) -> None:
    places = np.arange(len(drawing.categories))
    left = np.zeros(len(drawing.categories))
    thick = 0.7 if drawing.is_stacked else 0.8 / len(drawing.parts)
    for index, part in enumerate(drawing.parts):
        values = np.nan_to_num(np.array(part.values))
        offset = 0.0 if drawing.is_stacked else (index - (len(drawing.parts) - 1) / 2) * thick
        hatch = HATCHES[index // len(COLOURS)]
        bars = axes.barh(
            places + offset, values, thick, left=left if drawing.is_stacked else 0, label=part.label, color=style_of(index).colour,
            hatch=hatch, edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        if drawing.is_stacked:
            for place, begin, value in zip(places, left, values, strict=True):
                if value >= 7:
                    axes.text(begin + value / 2, place, f"{value:.0f}", ha="center", va="center", color="white", fontsize=7)
            left = left + values
        else:
            axes.bar_label(bars, labels=part.hover, fontsize=6.5, padding=2)
    _rows(axes, list(drawing.categories))
    _apply(axes, drawing.x, "x")
    _legend(axes)


def _forest(axes: Any, drawing: Forest) -> None:
    place = 0.0
    ticks: list[tuple[float, str]] = []
    named: set[str] = set()
    for heading, changes in drawing.groups:
        lines = textwrap.wrap(heading, 84)
        place += 0.5 + 0.6 * len(lines) if lines else 0.2
        axes.annotate("\n".join(lines), (0, place), xycoords=("axes fraction", "data"), fontsize=7.5, fontweight="bold", va="bottom")
        for change in changes:
            label = textwrap.wrap(change.label, LABEL_WIDTH)
            place += max(1.0, 0.55 * len(label))
            ticks.append((place, "\n".join(label)))
            colour, marker, is_filled = CONCLUSIONS[change.verdict]
            errors = None
            if change.interval:
                errors = [[max(0.0, change.value - change.interval[0])], [max(0.0, change.interval[1] - change.value)]]
            axes.errorbar(
                [change.value], [place], xerr=errors, color=colour, marker=marker, markersize=6,
                markerfacecolor=colour if is_filled else "white", linestyle="none", capsize=2, elinewidth=1.1,
                label="_nolegend_" if change.verdict in named else change.verdict,
            )  # fmt: skip
            named.add(change.verdict)
    axes.axvline(drawing.no_change, color=NEUTRAL, linewidth=1)
    axes.set_yticks([position for position, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(place + 0.6, 0)
    axes.grid(visible=False, axis="y")
    low, high = bounds(drawing)
    _apply(axes, drawing.x, "x")
    axes.set_xlim(low, high)
    if drawing.x.is_log:
        values = ratio_ticks(low, high)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
    _legend(axes)


def _rows(axes: Any, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), ["\n".join(textwrap.wrap(label, LABEL_WIDTH)) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _apply(axes: Any, axis: Axis, which: str) -> None:
    getattr(axes, f"set_{which}label")(axis.title)
    if axis.is_log:
        getattr(axes, f"set_{which}scale")("log")
        scale = getattr(axes, f"{which}axis")
        scale.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_minor_formatter(lambda *_: "")
        return
    low, high = getattr(axes, f"get_{which}lim")()
    limits = (axis.low if axis.low is not None else low, axis.high if axis.high is not None else high)
    if all(map(math.isfinite, limits)) and limits[0] < limits[1]:
        getattr(axes, f"set_{which}lim")(*limits)


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(handles)), fontsize=7.5)
