"""Places the names of points and floors where they lie on nothing else, from the drawing as it is laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from savbench.report.charts import Interval, Point, Scatter

NAME_PT, FLOOR_PT = 7.5, 7.0
"""Sizes of letters."""
MARKER_PT = 5.0
"""Half a marker plus a margin."""
WHISKER_PT = 2.0
EDGE_PT = 2.0
"""Least distance of a name from the axes."""

Box = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels of the canvas."""

_SIDES = (
    ("left", "bottom", 1, 1), ("left", "top", 1, -1), ("right", "bottom", -1, 1), ("right", "top", -1, -1), ("left", "center", 1.6, 0),
    ("right", "center", -1.6, 0), ("center", "bottom", 0, 1.4), ("center", "top", 0, -1.4),
)  # fmt: skip
"""Alignments of a name beside a marker, and the directions of its distance."""
_FLOOR_PLACES = ((0.0, "left", 0.5), (1.0, "right", -0.5), (0.5, "center", 0), (0.25, "center", 0), (0.75, "center", 0))
"""Parts of the way along the line, alignments there, and the directions of the distance."""


def floor_name(label: str, level: float) -> str:
    """Return the name of a floor in the drawing and its legend."""
    return f"{label} {level:.3f}"


def name_all(axes: Any, drawing: Scatter) -> bool:
    """Write the names of all points beside them and those of floors on their lines.

    Returns:
        Whether there was room for all. If not, none is left, and a legend has to tell them.
    """
    inside, taken = _room(axes, drawing)
    named: list[Any] = []
    for beside in [*(_beside(axes, point) for point in drawing.points), *(_on_line(axes, *floor) for floor in drawing.floors)]:
        name = _first_free(beside, taken, inside)
        if name is None:
            for other in named:
                other.remove()
            return False
        named.append(name)
    return True


def name_front(axes: Any, drawing: Scatter) -> None:
    """Write the names of the points on the Pareto front for which there is room."""
    inside, taken = _room(axes, drawing)
    for point in drawing.points:
        if point.on_front:
            _first_free(_beside(axes, point), taken, inside)


def _beside(axes: Any, point: Point) -> Iterator[Any]:
    for align, vertical, right, up in _SIDES:
        yield _write(axes, point.label, (point.x, point.y), "data", NAME_PT, align, vertical, right, up)


def _on_line(axes: Any, label: str, level: float) -> Iterator[Any]:
    for place, align, right in _FLOOR_PLACES:
        for vertical, up in (("bottom", 0.4), ("top", -0.4)):
            yield _write(axes, floor_name(label, level), (place, level), ("axes fraction", "data"), FLOOR_PT, align, vertical, right, up)


def _room(axes: Any, drawing: Scatter) -> tuple[Box, list[Box]]:
    """Lay out; return the inside of the axes, and what is taken there."""
    axes.figure.canvas.draw()
    return _box(axes.get_window_extent().padded(-EDGE_PT * axes.figure.dpi / 72)), _marks(axes, drawing)


def _first_free(candidates: Iterable[Any], taken: list[Box], inside: Box) -> Any:
    """Keep the first text that lies on nothing and within the axes, remove the others; None if there is none."""
    for text in candidates:
        box = _box(text.get_window_extent())
        if (
            inside[0] <= box[0]
            and box[2] <= inside[2]
            and inside[1] <= box[1]
            and box[3] <= inside[3]
            and not any(_overlap(box, other) for other in taken)
        ):
            taken.append(box)
            return text
        text.remove()
    return None


def _write(
    axes: Any, text: str, where: tuple[float, float], coordinates: Any, size: float, align: str, vertical: str, right: float, up: float
) -> Any:
    away = (right * MARKER_PT, up * MARKER_PT)
    written = axes.annotate(
        text, where, xycoords=coordinates, xytext=away, textcoords="offset points", ha=align, va=vertical, fontsize=size
    )
    written.set_in_layout(False)
    return written


def _marks(axes: Any, drawing: Scatter) -> list[Box]:
    """Return what is drawn at each point: its marker and its whiskers."""
    scale = axes.figure.dpi / 72
    marks = []
    for point in drawing.points:
        marks += [_around(axes, point, None, None, MARKER_PT * scale)]
        marks += [_around(axes, point, point.x_interval, None, WHISKER_PT * scale)] if point.x_interval else []
        marks += [_around(axes, point, None, point.y_interval, WHISKER_PT * scale)] if point.y_interval else []
    return marks


def _around(axes: Any, point: Point, of_x: Interval | None, of_y: Interval | None, margin: float) -> Box:
    xs, ys = of_x or (point.x, point.x), of_y or (point.y, point.y)
    (left, bottom), (right, top) = axes.transData.transform([(xs[0], ys[0]), (xs[1], ys[1])])
    return left - margin, bottom - margin, right + margin, top + margin


def _box(extent: Any) -> Box:
    return extent.x0, extent.y0, extent.x1, extent.y1


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
