"""Draws figures with matplotlib, without a display or its global state, for the page and for papers."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.report.charts import (
    COLOURS,
    NEUTRAL,
    Axis,
    Bars,
    Boxes,
    Conclusion,
    Dots,
    Forest,
    Lines,
    Scatter,
    bounds,
    number,
    ratio_ticks,
    style_of,
)
from savbench.report.dots import dots_height, draw_dots
from savbench.report.labels import floor_name, name_all, name_front
from savbench.report.packages import require
from savbench.report.sheet import GRID, INK, JOURNAL, LETTER_PT, MARKERS, PAPER, ROW_IN, Sheet, Tips, heading_of, rows_of, write_heading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from savbench.report.charts import Change, Drawing, Figure

MATPLOTLIB = "matplotlib>=3.7"
PNG_DPI = 200
NOTE_LETTERS_PER_IN, NOTE_LINE_IN = 19, 0.13
LEGEND_SYMBOL_PT = 30
"""Width of a legend beside its labels."""
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
FLOOR_DASHES = (":", "--", "-.")
HATCHES = ("", "//", "..", "xx", "--", "\\\\", "||", "++")
CONCLUSIONS: dict[Conclusion, tuple[str, str, bool]] = {
    "better": (COLOURS[0], "o", True), "worse": (COLOURS[1], "s", True), "no difference shown": (NEUTRAL, "o", False),
    "no interval": (NEUTRAL, "x", True),
}  # fmt: skip
"""Colour, marker and whether the marker is filled."""
RC = {
    # it comes with matplotlib, so that a figure looks the same wherever it is drawn
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    # labels come from files: do not parse dollar signs as math
    "text.parse_math": False,
    # TrueType fonts, which journals require
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}
"""Settings of matplotlib that `draw` and saving its result need."""


def save_png(figure: Figure, path: Path) -> None:
    """
    Raises:
        ReportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    matplotlib = require("matplotlib", MATPLOTLIB, "--format png")
    with matplotlib.rc_context(RC):
        draw(figure, JOURNAL).savefig(path, dpi=PNG_DPI, format="png", bbox_inches="tight")


def save_pdf(figures: list[Figure], path: Path) -> None:
    """Write one page per figure, cropped to its size.

    Raises:
        ReportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    matplotlib = require("matplotlib", MATPLOTLIB, "--format pdf")
    backend = require("matplotlib.backends.backend_pdf", MATPLOTLIB, "--format pdf")
    with matplotlib.rc_context(RC), backend.PdfPages(path) as pages:
        for figure in figures:
            pages.savefig(draw(figure, JOURNAL), bbox_inches="tight")


def draw(figure: Figure, sheet: Sheet, tips: Tips | None = None) -> Any:
    """Make a matplotlib figure without a window; call it, and save the result, within `rc_context(RC)`.

    Args:
        tips: receives a text for each part that has one; the part's id (`gid`) is the one that `tips` returned.
    """
    make_figure = require("matplotlib.figure", MATPLOTLIB, "a figure").Figure
    canvas = require("matplotlib.backends.backend_agg", MATPLOTLIB, "a figure").FigureCanvasAgg
    letters = int(NOTE_LETTERS_PER_IN * sheet.width_in)
    notes = [part for note in figure.notes for part in textwrap.wrap(note, letters)] if sheet.has_text else []
    height_in, notes_in = _height_in(figure.drawing, sheet), NOTE_LINE_IN * len(notes)
    page = make_figure(figsize=(sheet.width_in, height_in + notes_in), layout="constrained")
    canvas(page)
    upper = page
    if notes:
        # a separate part: the legend is at the bottom of the drawing
        upper, lower = page.subfigures(2, 1, height_ratios=[height_in, notes_in])
        lower.text(0.01, 1, "\n".join(notes), fontsize=6.5, va="top")
    axes = upper.add_subplot()
    if sheet.has_text:
        axes.set_title("\n".join(textwrap.wrap(figure.title, 80)), loc="left", fontweight="bold", fontsize=9.5)
    _Artist(axes, sheet, tips or Tips()).draw(figure.drawing)
    return page


def _height_in(drawing: Drawing, sheet: Sheet) -> float:
    height = (1.3 if sheet.has_text else 0.6) + sum(_legend_in(labels, sheet) for labels in _legends(drawing))
    if isinstance(drawing, Boxes):
        return height + 1.5 * ROW_IN * len(drawing.boxes)
    if isinstance(drawing, Bars):
        per_row = 1.5 if drawing.is_stacked else max(1.5, 0.7 * len(drawing.parts))
        return height + ROW_IN * per_row * len(drawing.categories)
    if isinstance(drawing, Dots):
        return height + ROW_IN * dots_height(drawing, sheet)
    if isinstance(drawing, Forest):
        rows = sum(rows_of(textwrap.wrap(change.label, sheet.label_letters)) for _, changes in drawing.groups for change in changes)
        return height + ROW_IN * (1 + rows + sum(0.5 + 0.6 * len(heading_of(heading, sheet)) for heading, _ in drawing.groups if heading))
    return height + min(3.4, 0.62 * sheet.width_in)


def _legends(drawing: Drawing) -> Iterator[list[str]]:
    """Yield the labels of a drawing's legend."""
    if isinstance(drawing, Scatter):
        yield [point.label for point in drawing.points] + [floor_name(*floor) for floor in drawing.floors]
    elif isinstance(drawing, Lines):
        yield [line.label for line in drawing.lines]
    elif isinstance(drawing, Bars):
        yield [part.label for part in drawing.parts]
    elif isinstance(drawing, Dots):
        yield [label for label, _ in drawing.series]
    elif isinstance(drawing, Forest):
        yield list(dict.fromkeys(change.verdict for _, changes in drawing.groups for change in changes))


def _in_legend(labels: list[str], sheet: Sheet) -> tuple[list[str], int]:
    """Wrap the labels of a legend to the sheet. Returns them, and the number of columns that fit beside each other."""
    wrapped = ["\n".join(textwrap.wrap(label, int((sheet.width_pt - LEGEND_SYMBOL_PT) / LETTER_PT))) for label in labels]
    widest = LEGEND_SYMBOL_PT + LETTER_PT * max(len(line) for label in wrapped for line in label.split("\n"))
    return wrapped, max(1, min(len(labels), int(sheet.width_pt / widest)))


def _legend_in(labels: list[str], sheet: Sheet) -> float:
    if not labels:
        return 0.0
    wrapped, columns = _in_legend(labels, sheet)
    return 0.15 * math.ceil(sum(1 + label.count("\n") for label in wrapped) / columns)


class _Artist:
    """Draws into one pair of axes."""

    def __init__(self, axes: Any, sheet: Sheet, tips: Tips) -> None:
        self._axes = axes
        self._sheet = sheet
        self._tips = tips

    def draw(self, drawing: Drawing) -> None:
        if isinstance(drawing, Scatter):
            self._scatter(drawing)
        elif isinstance(drawing, Boxes):
            self._boxes(drawing)
        elif isinstance(drawing, Lines):
            self._lines(drawing)
        elif isinstance(drawing, Bars):
            self._bars(drawing)
        elif isinstance(drawing, Dots):
            draw_dots(self._axes, drawing, self._sheet, self._tips)
            self._legend()
        else:
            self._forest(drawing)

    def _scatter(self, drawing: Scatter) -> None:
        axes = self._axes
        if len(drawing.front) > 1:
            x, y = zip(*drawing.front, strict=True)
            axes.step(x, y, where="post", color=NEUTRAL, linewidth=1, label="Pareto front", zorder=1.5)
        for index, (label, level) in enumerate(drawing.floors):
            text = floor_name(label, level)
            dash = FLOOR_DASHES[index % len(FLOOR_DASHES)]
            axes.axhline(level, color=NEUTRAL, linestyle=dash, linewidth=1.2, label=text, gid=self._tips.add(text), zorder=1.5)
        for point in drawing.points:
            colour, tip = point.style.colour, self._tips.add(point.label, *point.hover)
            marker = MARKERS[point.style.symbol]
            self._whiskers(point.x, point.y, point.x_interval, point.y_interval, colour, 0.9, tip)
            axes.plot(
                [point.x], [point.y], color=colour, marker=marker, markersize=10 if marker == "*" else 7,
                markerfacecolor=PAPER if point.is_hollow else colour, linestyle="none", label=point.label, gid=tip,
            )  # fmt: skip
        self._apply(drawing.x, "x")
        self._apply(drawing.y, "y")
        axes.margins(x=0.06)
        if not name_all(axes, drawing):
            self._legend()
            name_front(axes, drawing)

    def _whiskers(
        self, x: float, y: float, of_x: tuple[float, float] | None, of_y: tuple[float, float] | None, colour: str, width: float, tip: str
    ) -> None:
        for interval, ends in ((of_x, "_|"), (of_y, "|_")):
            if interval is None:
                continue
            xs, ys = (interval, (y, y)) if ends == "_|" else ((x, x), interval)
            self._axes.plot(xs, ys, color=colour, linewidth=width, marker=ends[1], markersize=5, label="_nolegend_", gid=tip)

    def _boxes(self, drawing: Boxes) -> None:
        axes = self._axes
        for place, box in enumerate(drawing.boxes):
            colour = box.style.colour
            of = {name: number(getattr(box, name)) for name in ("p1", "p25", "p50", "p75", "p99", "mean")}
            tip = self._tips.add(
                box.label, f"median {of['p50']} ms, mean {of['mean']}", f"p25 to p75: {of['p25']} to {of['p75']}",
                f"p1 to p99: {of['p1']} to {of['p99']}", f"{box.count} frames",
            )  # fmt: skip
            axes.hlines(place, box.p1, box.p99, color=colour, linewidth=1.1, gid=tip)
            axes.vlines([box.p1, box.p99], place - 0.18, place + 0.18, color=colour, linewidth=1.1)
            axes.barh(
                place, box.p75 - box.p25, left=box.p25, height=0.6, facecolor=PAPER, edgecolor=colour, linewidth=1.3, gid=tip, zorder=2
            )
            axes.vlines(box.p50, place - 0.3, place + 0.3, color=colour, linewidth=2, gid=tip, zorder=3)
        self._rows([box.label for box in drawing.boxes])
        self._apply(drawing.x, "x")
        if drawing.x.is_log:
            axes.set_xlim(min(box.p1 for box in drawing.boxes) / 1.3, max(box.p99 for box in drawing.boxes) * 1.3)

    def _lines(self, drawing: Lines) -> None:
        axes = self._axes
        for line in drawing.lines:
            colour = line.style.colour
            if line.low and line.high:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
            marker = MARKERS[line.style.symbol] if drawing.has_symbols or len(line.x) == 1 else None
            tip = self._tips.add(line.label, *_ends(line.y))
            style: dict[str, Any] = {"color": colour, "linestyle": LINES[line.style.dash], "linewidth": 1.3, "marker": marker}
            axes.plot(line.x, line.y, **style, markersize=5, label=line.label, gid=tip)
            # wide enough to point at
            axes.plot(line.x, line.y, color=colour, alpha=0, linewidth=9, gid=tip)
        for x, y, text in drawing.marks:
            axes.plot([x], [y], "x", color=COLOURS[1], markersize=5, zorder=3, gid=self._tips.add(text))
        if drawing.marks:
            axes.plot([], [], "x", color=COLOURS[1], markersize=5, label="throttled or over current")
        self._apply(drawing.x, "x")
        self._apply(drawing.y, "y")
        if len(drawing.lines) > 1 or drawing.marks:
            self._legend()

    def _bars(self, drawing: Bars) -> None:
        axes = self._axes
        places = np.arange(len(drawing.categories))
        left = np.zeros(len(drawing.categories))
        thick = 0.7 if drawing.is_stacked else 0.8 / len(drawing.parts)
        total = max((sum(np.nan_to_num(part.values[row]) for part in drawing.parts) for row in range(len(places))), default=1.0)
        for index, part in enumerate(drawing.parts):
            values = np.nan_to_num(np.array(part.values))
            offset = 0.0 if drawing.is_stacked else (index - (len(drawing.parts) - 1) / 2) * thick
            bars = axes.barh(
                places + offset, values, thick, left=left if drawing.is_stacked else 0, label=part.label, color=style_of(index).colour,
                hatch=HATCHES[index // len(COLOURS)], edgecolor=PAPER, linewidth=0.5,
            )  # fmt: skip
            for bar, category, text in zip(bars, drawing.categories, part.hover, strict=True):
                bar.set_gid(self._tips.add(category, f"{part.label}: {text}" if text else part.label))
            if drawing.is_stacked:
                for place, begin, value in zip(places, left, values, strict=True):
                    if value >= 0.07 * total:
                        axes.text(begin + value / 2, place, f"{value:.0f}", ha="center", va="center", color="white", fontsize=7)
                left = left + values
            else:
                axes.bar_label(bars, labels=part.hover, fontsize=6.5, padding=2)
        self._rows(list(drawing.categories))
        self._apply(drawing.x, "x")
        if not drawing.is_stacked and drawing.x.high is None:
            # room for the number after the longest bar
            axes.set_xlim(right=axes.get_xlim()[1] * (1 + 36 / self._sheet.width_pt))
        self._legend()

    def _forest(self, drawing: Forest) -> None:
        axes = self._axes
        place = 0.0
        ticks: list[tuple[float, str]] = []
        named: set[str] = set()
        for heading, changes in drawing.groups:
            lines = heading_of(heading, self._sheet)
            place += 0.5 + 0.6 * len(lines) if lines else 0.2
            write_heading(axes, lines, place)
            for change in changes:
                label = textwrap.wrap(change.label, self._sheet.label_letters)
                height = rows_of(label)
                ticks.append((place + height / 2, "\n".join(label)))
                colour, marker, is_filled = CONCLUSIONS[change.verdict]
                tip = self._tips.add(*([heading] if heading else []), *_said(change, drawing.x.is_log))
                self._whiskers(change.value, place + height / 2, change.interval, None, colour, 1.1, tip)
                axes.plot(
                    [change.value], [place + height / 2], color=colour, marker=marker, markersize=6,
                    markerfacecolor=colour if is_filled else PAPER, linestyle="none", gid=tip,
                    label="_nolegend_" if change.verdict in named else change.verdict,
                )  # fmt: skip
                named.add(change.verdict)
                place += height
        axes.axvline(drawing.no_change, color=NEUTRAL, linewidth=1, zorder=1)
        axes.set_yticks([position for position, _ in ticks], [label for _, label in ticks])
        axes.set_ylim(place + 0.2, 0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        low, high = bounds(drawing)
        self._apply(drawing.x, "x")
        axes.set_xlim(low, high)
        if drawing.x.is_log:
            values = ratio_ticks(low, high)
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.set_xticks([], minor=True)
        self._legend()

    def _rows(self, labels: list[str]) -> None:
        wrapped = ["\n".join(textwrap.wrap(label, self._sheet.label_letters)) for label in labels]
        self._axes.set_yticks(range(len(labels)), wrapped)
        self._axes.set_ylim(len(labels) - 0.4, -0.6)
        self._axes.grid(visible=False, axis="y")

    def _apply(self, axis: Axis, which: str) -> None:
        axes = self._axes
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

    def _legend(self) -> None:
        handles, labels = self._axes.get_legend_handles_labels()
        if handles:
            labels, columns = _in_legend(labels, self._sheet)
            self._axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=7.5)


def _ends(values: tuple[float, ...]) -> list[str]:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    return [f"from {number(finite[0])} to {number(finite[-1])}", f"lowest {number(min(finite))}, highest {number(max(finite))}"]


def _said(change: Change, is_ratio: bool) -> list[str]:
    shown = [f"x{value:.3f}" if is_ratio else f"{value:+.4f}" for value in (change.value, *(change.interval or ()))]
    return [f"{change.label}: {shown[0]}", f"95% interval {shown[1]} to {shown[2]}" if change.interval else "no interval: too few videos"]
