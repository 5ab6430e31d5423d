"""Places the names of points so that none overlap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from savbench.report.charts import Point, Scatter

WIDTH_PX, HEIGHT_PX = 900.0, 330.0
"""Size of the drawing on a page of usual width; a narrow page shows a legend instead of names."""
LETTER_PX, LINE_PX = 7.2, 17.0
MARKER_PX = 9.0
"""Half a marker plus a margin."""

_Rectangle = tuple[float, float, float, float]


def place_labels(drawing: Scatter, wanted: Iterable[Point]) -> dict[str, str]:
    """Choose a side for the name of each point, by label, in plotly.js terms: `top right`, `bottom left`, ...

    Leaves out names that would overlap a marker or another name on every side; a legend must list those.
    """
    spots = {point.label: _spot(drawing, point) for point in drawing.points}
    taken: list[_Rectangle] = [(x - MARKER_PX, y - MARKER_PX, x + MARKER_PX, y + MARKER_PX) for x, y in spots.values()]
    places: dict[str, str] = {}
    for point in wanted:
        x, y = spots[point.label]
        for side in ("top right", "bottom right", "top left", "bottom left", "top center", "bottom center"):
            name = _rectangle(side, x, y, len(point.label) * LETTER_PX)
            if _is_inside(name) and not any(_overlap(name, other) for other in taken):
                places[point.label] = side
                taken.append(name)
                break
    return places


def _spot(drawing: Scatter, point: Point) -> tuple[float, float]:
    """Return pixels from the left and from the top."""
    xs, ys = [other.x for other in drawing.points], [other.y for other in drawing.points]
    x = point.x
    if drawing.x.is_log:
        xs, x = [math.log(value) for value in xs], math.log(x)
    left = min(xs) if drawing.x.low is None or drawing.x.is_log else drawing.x.low
    low = min(ys) if drawing.y.low is None else drawing.y.low
    high = max(ys) if drawing.y.high is None else drawing.y.high
    return WIDTH_PX * (x - left) / (max(xs) - left or 1.0), HEIGHT_PX * (1 - (point.y - low) / (high - low or 1.0))


def _rectangle(side: str, x: float, y: float, width: float) -> _Rectangle:
    left = {"right": x + MARKER_PX / 2, "left": x - MARKER_PX / 2 - width, "center": x - width / 2}[side.split()[1]]
    # beside the marker's corner, clear of the marker itself
    top = y - MARKER_PX - LINE_PX if side.startswith("top") else y + MARKER_PX
    return left, top, left + width, top + LINE_PX


def _is_inside(name: _Rectangle) -> bool:
    return name[0] >= 0 and name[2] <= WIDTH_PX


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
