"""Draws figures of dots: rows in groups, in each row a dot with its interval for every series."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from savbench.report.charts import NEUTRAL, number
from savbench.report.sheet import MARKERS, PAPER, heading_of, rows_of, write_heading

if TYPE_CHECKING:
    from savbench.report.charts import DotRow, Dots
    from savbench.report.sheet import Sheet, Tips

PER_SERIES = 0.34
"""Height of a dot in its row, in units of `ROW_IN`."""


def dots_height(drawing: Dots, sheet: Sheet) -> float:
    """Height of the rows and headings, in units of `ROW_IN`."""
    height = 0.2
    for heading, rows in drawing.groups:
        height += _gap(heading_of(heading, sheet)) + sum(_height(row, drawing, sheet) for row in rows)
    return height


def draw_dots(axes: Any, drawing: Dots, sheet: Sheet, tips: Tips) -> None:
    """Draw into a pair of axes. The caller adds the legend."""
    place = 0.0
    ticks: list[tuple[float, str]] = []
    named: set[int] = set()
    for heading, rows in drawing.groups:
        lines = heading_of(heading, sheet)
        place += _gap(lines)
        write_heading(axes, lines, place)
        for row in rows:
            height = _height(row, drawing, sheet)
            ticks.append((place + height / 2, "\n".join(textwrap.wrap(row.label, sheet.label_letters))))
            for dot in row.dots:
                label, style = drawing.series[dot.series]
                y = place + height / 2 + (dot.series - (len(drawing.series) - 1) / 2) * PER_SERIES
                low, high = dot.interval
                said = f"{label}: {number(dot.value)}, 95% interval {number(low)} to {number(high)}"
                tip = tips.add(f"{heading}: {row.label}", said)
                axes.plot([low, high], [y, y], color=style.colour, linewidth=1.1, label="_nolegend_", gid=tip)
                axes.plot(
                    [dot.value], [y], color=style.colour, marker=MARKERS[style.symbol], markersize=5, linestyle="none", clip_on=False,
                    markerfacecolor=style.colour, label="_nolegend_" if dot.series in named else label, gid=tip,
                )  # fmt: skip
                named.add(dot.series)
            if row.remark:
                axes.annotate(
                    row.remark, (0.01, place + height / 2), xycoords=("axes fraction", "data"), fontsize=7, va="center", color=NEUTRAL,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
            place += height
    axes.set_yticks([position for position, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(place + 0.2, 0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(drawing.x.title)
    axes.set_xlim(drawing.x.low, drawing.x.high)


def _gap(heading: list[str]) -> float:
    return 0.5 + 0.6 * len(heading)


def _height(row: DotRow, drawing: Dots, sheet: Sheet) -> float:
    return max(rows_of(textwrap.wrap(row.label, sheet.label_letters)), 0.4 + PER_SERIES * len(drawing.series) if row.dots else 1.0)
