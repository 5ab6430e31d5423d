"""Figures as plotly.js traces and layout, in plain JSON. The page's style sheet sets the colours of text and axis lines."""

from __future__ import annotations

import html
import math
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from savbench.report.charts import (
    COLOURS,
    NEUTRAL,
    Axis,
    Bars,
    Boxes,
    Conclusion,
    Forest,
    Lines,
    Point,
    Scatter,
    bounds,
    ratio_ticks,
    style_of,
)
from savbench.report.labels import place_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from savbench.report.charts import Drawing, Figure

Json = dict[str, Any]

FONT_PX = 13
LABEL_WIDTH = 24
"""Characters of an axis label before it wraps: a phone shows about 50 in total."""
HEADING_WIDTH = 27
ROW_PX = 26
MOST_DIRECT_LABELS = 10
PATTERNS = ("", "/", ".", "x", "-", "\\", "|", "+")
CONCLUSIONS: dict[Conclusion, tuple[str, str]] = {
    "better": ("#0072B2", "circle"), "worse": ("#D55E00", "square"), "no difference shown": (NEUTRAL, "circle-open"),
    "no interval": (NEUTRAL, "x-thin"),
}  # fmt: skip
"""Colour and symbol."""


def to_plotly(figure: Figure) -> Json:
    """Return `data` and `layout` for Plotly.newPlot."""
    data, layout = _draw(figure.drawing)
    # an exported figure has no style sheet: set a font and a transparent background
    common: Json = {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", "size": FONT_PX},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 16, "t": 12, "b": 12, "pad": 4},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "dragmode": False,
        "autosize": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
    }
    return {"data": data, "layout": {**common, **layout}}


def _draw(drawing: Drawing) -> tuple[list[Json], Json]:
    if isinstance(drawing, Scatter):
        return _scatter(drawing)
    if isinstance(drawing, Boxes):
        return _boxes(drawing)
    if isinstance(drawing, Lines):
        return _lines(drawing)
    if isinstance(drawing, Bars):
        return _bars(drawing)
    return _forest(drawing)


def _scatter(drawing: Scatter) -> tuple[list[Json], Json]:
    data: list[Json] = []
    if len(drawing.front) > 1:
        x, y = zip(*drawing.front, strict=True)
        data.append({
            "type": "scatter", "mode": "lines", "name": "Pareto front", "x": x, "y": y, "hoverinfo": "skip",
            "line": {"color": NEUTRAL, "width": 1.5, "dash": "dot", "shape": "hv"},
        })  # fmt: skip
    all_named = len(drawing.points) <= MOST_DIRECT_LABELS
    places = place_labels(drawing, [point for point in drawing.points if all_named or point.on_front])
    all_named = len(places) == len(drawing.points)
    data += [_point(point, places.get(point.label, "")) for point in drawing.points]
    shapes, annotations = [], []
    for label, level in drawing.floors:
        line = {"color": NEUTRAL, "width": 1.5, "dash": "dot"}
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level, "line": line, "layer": "below"})
        annotations.append({
            "xref": "paper", "x": 0, "xanchor": "left", "y": level, "yanchor": "bottom", "showarrow": False,
            "text": f"{_plain(label)} {level:.3f}", "font": {"size": FONT_PX - 2},
        })  # fmt: skip
    layout = {
        "height": 440 + (0 if all_named else _legend_px(len(data))), "xaxis": _axis(drawing.x), "yaxis": _axis(drawing.y), "shapes": shapes,
        "annotations": annotations, "showlegend": not all_named,
    }  # fmt: skip
    return data, layout


def _point(point: Point, label_place: str) -> Json:
    symbol = f"{point.style.symbol}-open" if point.is_hollow else point.style.symbol
    trace: Json = {
        "type": "scatter", "mode": "markers+text" if label_place else "markers", "name": _plain(point.label),
        "x": [point.x], "y": [point.y], "text": [_plain(point.label)], "textposition": label_place or "top right", "cliponaxis": False,
        "marker": {"color": point.style.colour, "symbol": symbol, "size": 13, "line": {"width": 2, "color": point.style.colour}},
        "hovertext": ["<br>".join(_plain(line) for line in (point.label, *point.hover))], "hoverinfo": "text",
    }  # fmt: skip
    for name, interval, value in (("error_x", point.x_interval, point.x), ("error_y", point.y_interval, point.y)):
        if interval is not None:
            trace[name] = {
                "type": "data", "symmetric": False, "array": [max(0.0, interval[1] - value)], "arrayminus": [max(0.0, value - interval[0])],
                "color": point.style.colour, "thickness": 1.2, "width": 4,
            }  # fmt: skip
    return trace


def _boxes(drawing: Boxes) -> tuple[list[Json], Json]:
    data = [
        {
            "type": "box", "orientation": "h", "name": _plain(box.label), "y": [_wrapped(box.label)], "lowerfence": [box.p1],
            "q1": [box.p25], "median": [box.p50], "q3": [box.p75], "upperfence": [box.p99], "mean": [box.mean],
            "boxmean": True, "boxpoints": False, "line": {"color": box.style.colour, "width": 2}, "fillcolor": _faint(box.style.colour),
            "width": 0.6,
        }
        for box in drawing.boxes
    ]  # fmt: skip
    labels = [box.label for box in drawing.boxes]
    return data, {"height": _height(labels, 1.6), "xaxis": _axis(drawing.x), "yaxis": _categories(labels), "showlegend": False}


def _lines(drawing: Lines) -> tuple[list[Json], Json]:
    data: list[Json] = []
    for line in drawing.lines:
        group = {"legendgroup": line.label}
        if line.low and line.high:
            edge = {
                "type": "scatter",
                "mode": "lines",
                "x": line.x,
                "hoverinfo": "skip",
                "showlegend": False,
                "line": {"width": 0},
                **group,
            }
            data += [
                {**edge, "y": _gaps(line.low)},
                {**edge, "y": _gaps(line.high), "fill": "tonexty", "fillcolor": _faint(line.style.colour)},
            ]
        data.append({
            "type": "scatter", "mode": "lines+markers" if drawing.has_symbols or len(line.x) == 1 else "lines", "name": _plain(line.label),
            "x": line.x, "y": _gaps(line.y), "connectgaps": False,
            "line": {"color": line.style.colour, "width": 2, "dash": line.style.dash},
            "marker": {"symbol": line.style.symbol, "size": 9}, **group,
        })  # fmt: skip
    if drawing.marks:
        x, y, texts = zip(*drawing.marks, strict=True)
        data.append({
            "type": "scatter", "mode": "markers", "name": "throttled or over current", "x": x, "y": y,
            "text": [_plain(text) for text in texts], "hoverinfo": "text+x+y", "marker": {"symbol": "x", "size": 9, "color": COLOURS[1]},
        })  # fmt: skip
    return data, {
        "height": 400,
        "xaxis": _axis(drawing.x),
        "yaxis": _axis(drawing.y),
        "showlegend": len(drawing.lines) > 1 or bool(drawing.marks),
    }


def _bars(drawing: Bars) -> tuple[list[Json], Json]:
    data = []
    for index, part in enumerate(drawing.parts):
        hovers = [
            f"{_plain(label)}<br>{_plain(part.label)}: {_plain(text)}" for label, text in zip(drawing.categories, part.hover, strict=True)
        ]
        inside = [f"{value:.0f}" if drawing.is_stacked and value >= 7 else "" for value in part.values]
        data.append({
            "type": "bar", "orientation": "h", "name": _plain(part.label), "x": _gaps(part.values),
            "y": [_wrapped(label) for label in drawing.categories], "text": inside if drawing.is_stacked else list(part.hover),
            "textposition": "inside" if drawing.is_stacked else "outside", "insidetextanchor": "middle", "textangle": 0,
            "cliponaxis": False, "hovertext": hovers, "hoverinfo": "text",
            "marker": {"color": style_of(index).colour, "pattern": {"shape": PATTERNS[index // len(COLOURS)], "solidity": 0.25}},
        })  # fmt: skip
        if drawing.is_stacked:
            data[-1]["textfont"] = {"color": "#ffffff"}
    per_row = 1.4 if drawing.is_stacked else max(1.4, 0.65 * len(drawing.parts))
    high = drawing.x.high
    if not drawing.is_stacked and high is None:
        # room for the number after the longest bar
        high = 1.18 * max((value for part in drawing.parts for value in part.values if math.isfinite(value)), default=1.0)
    axis = _axis(replace(drawing.x, high=high))
    layout = {
        "height": _height(drawing.categories, per_row) + _legend_px(len(drawing.parts)), "xaxis": axis,
        "yaxis": _categories(drawing.categories), "barmode": "stack" if drawing.is_stacked else "group", "bargap": 0.25,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left", "traceorder": "normal"},
    }  # fmt: skip
    return data, layout


def _forest(drawing: Forest) -> tuple[list[Json], Json]:
    annotations: list[Json] = []
    placed: dict[str, list[tuple[float, Any, str]]] = {}
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for heading, changes in drawing.groups:
        lines = textwrap.wrap(heading, HEADING_WIDTH)
        y += 0.4 + 0.68 * len(lines) if lines else 0.2
        annotations += [] if not lines else [{
            "xref": "paper", "x": 0, "xanchor": "left", "yref": "y", "y": y + 0.05, "yanchor": "bottom", "showarrow": False,
            "align": "left", "text": "<br>".join(f"<b>{_plain(line)}</b>" for line in lines), "font": {"size": FONT_PX - 1},
        }]  # fmt: skip
        y -= 0.2
        for change in changes:
            height = max(1.0, 0.62 * len(textwrap.wrap(change.label, LABEL_WIDTH)))
            y += height
            ticks.append((y, _wrapped(change.label)))
            placed.setdefault(change.verdict, []).append((y, change, heading))
    data = []
    for kind, (colour, symbol) in CONCLUSIONS.items():
        entries = placed.get(kind, [])
        if not entries:
            continue
        data.append({
            "type": "scatter", "mode": "markers", "name": kind, "x": [change.value for _, change, _ in entries],
            "y": [place for place, _, _ in entries],
            "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
            "error_x": {
                "type": "data", "symmetric": False, "color": colour, "thickness": 1.6, "width": 4,
                "array": [max(0.0, change.interval[1] - change.value) if change.interval else 0 for _, change, _ in entries],
                "arrayminus": [max(0.0, change.value - change.interval[0]) if change.interval else 0 for _, change, _ in entries],
            },
            "hovertext": [_change_text(change, heading, drawing.x.is_log) for _, change, heading in entries], "hoverinfo": "text",
        })  # fmt: skip
    low, high = bounds(drawing)
    axis = _axis(drawing.x)
    axis["range"] = [math.log10(low), math.log10(high)] if drawing.x.is_log else [low, high]
    if drawing.x.is_log:
        values = ratio_ticks(low, high)
        axis |= {"tickangle": 0, "tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    layout = {
        "height": round(110 + ROW_PX * (y + 0.6)), "xaxis": axis, "annotations": annotations, "showlegend": True,
        "yaxis": {
            "range": [y + 0.6, 0], "tickvals": [place for place, _ in ticks], "ticktext": [label for _, label in ticks], "automargin": True,
            "showgrid": False, "zeroline": False, "fixedrange": True,
        },
        "shapes": [{
            "type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": drawing.no_change, "x1": drawing.no_change, "layer": "below",
            "line": {"color": NEUTRAL, "width": 1.5},
        }],
    }  # fmt: skip
    return data, layout


def _change_text(change: Any, heading: str, is_ratio: bool) -> str:
    shown = [f"x{value:.3f}" if is_ratio else f"{value:+.4f}" for value in (change.value, *(change.interval or ()))]
    interval = f"95% interval {shown[1]} to {shown[2]}" if change.interval else "no interval: too few videos"
    return "<br>".join(_plain(line) for line in (heading, f"{change.label}: {shown[0]}", interval))


def _axis(axis: Axis) -> Json:
    title = {"text": _plain(axis.title), "standoff": 10, "font": {"size": FONT_PX}}
    shown: Json = {"title": title, "automargin": True, "zeroline": False, "fixedrange": True, "exponentformat": "none"}
    if axis.is_log:
        shown |= {"type": "log", "tickangle": 0, **({"dtick": 1} if axis.is_wide else {})}
    elif axis.low is not None and axis.high is not None:
        shown["range"] = [axis.low, axis.high]
    elif axis.low is not None:
        shown["rangemode"] = "tozero"
    return shown


def _categories(labels: Sequence[str]) -> Json:
    order = [_wrapped(label) for label in labels]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": order,
        "autorange": "reversed",
        "automargin": True,
        "fixedrange": True,
    }


def _legend_px(entries: int) -> int:
    """Return the height of a legend with three entries per line, as on a page of usual width."""
    return 22 * math.ceil(entries / 3)


def _height(labels: Sequence[str], per_row: float) -> int:
    rows = sum(max(per_row, 0.8 * (1 + _wrapped(label).count("<br>"))) for label in labels)
    return round(110 + ROW_PX * rows)


def _wrapped(label: str) -> str:
    return "<br>".join(_plain(line) for line in textwrap.wrap(label, LABEL_WIDTH) or [""])


def _plain(text: str) -> str:
    """Escape HTML tags, a few of which plotly.js interprets in labels."""
    return html.escape(text, quote=False)


def _gaps(values: Iterable[float]) -> list[float | None]:
    """Replace NaN, which JSON lacks."""
    return [value if math.isfinite(value) else None for value in values]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
