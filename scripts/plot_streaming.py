#!/usr/bin/env python3
"""Draw streaming J&F over the camera's rate, with each model's offline J&F beside it, as an SVG.

.venv/bin/python scripts/plot_streaming.py results/fps_TIME/sweep --out streaming.svg

Reads nothing but summary.csv and needs nothing but Python. Means are over the objects that are ok at every rate of every model. With a live
clock, rows whose validity is not ok are left out: their latencies are not the board's. A simulated clock has its latencies from elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

SUMMARY = "summary.csv"
WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 176, 60, 52
OFFLINE_GAP = 84
"""Room between the offline marks and the curves."""
LABEL_PITCH = 16
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
NAMING = ("autocast_dtype", "imgsz", "attention", "prompt")
"""What is added to a model's name where it varies."""

Key = tuple[str, str]


class PlotError(ValueError):
    """There is nothing to draw; the message says why."""


@dataclass
class Curve:
    """One arm's scores by object: streaming by camera rate, and offline."""

    name: str
    streaming: dict[float, dict[Key, float]]
    offline: dict[Key, float]


@dataclass
class Drawn:
    """One arm's means over the objects that are drawn."""

    name: str
    points: list[tuple[float, float]]
    offline: float


def read_curves(path: Path) -> tuple[list[Curve], str]:
    """The arms of a run that were streamed, and a line that says at whose pace.

    Raises:
        PlotError: the file has no streaming scores.
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        streamed = [row for row in csv.DictReader(file) if row.get("status") == "ok" and row.get("streaming_JandF")]
    try:
        rows = [row | json.loads(row["streaming"]) for row in streamed]
    except (KeyError, TypeError, ValueError):
        raise PlotError(f"{path}: its column streaming is missing or holds no JSON object; give a run of this version") from None
    rows = [row for row in rows if _counts(row)]
    if not rows:
        raise PlotError(f"{path}: no valid row has a streaming_JandF; run with --realtime, or scripts/sweep.sh fps")
    varying = [name for name in NAMING if len({row[name] for row in rows if row[name] not in ("", "none")}) > 1]
    curves: dict[tuple[str, ...], Curve] = {}
    for row in rows:
        arm = (row["model"], *(row[name] for name in varying))
        name = " ".join(part for part in arm if part not in ("", "none", "auto"))
        curve = curves.setdefault(arm, Curve(name, {}, {}))
        key = (row["video"], row["object"])
        of_rate = curve.streaming.setdefault(float(row["camera_fps"]), {})
        if key in of_rate:
            raise PlotError(f"{path}: two rows of {name} for {'/'.join(key)} at {row['camera_fps']} FPS; draw one run at a time")
        of_rate[key] = float(row["streaming_JandF"])
        curve.offline.setdefault(key, float(row["JandF"]))
    clocks = {(row["streaming_clock"].partition(" ")[0], row["streaming_device"]) for row in rows}
    pace = "; ".join(f"{clock} clock, {device}" for clock, device in sorted(clocks))
    return list(curves.values()), pace


def _counts(row: dict[str, str]) -> bool:
    return row["streaming_clock"] != "live" or row.get("validity", "") in ("", "ok")


def means(curves: Sequence[Curve]) -> tuple[list[Drawn], int]:
    """Means of every arm at every rate it has, over the objects that all of them have, and how many those are.

    Raises:
        PlotError: there is no such object.
    """
    common = set.intersection(*(set(scores) for curve in curves for scores in curve.streaming.values()))
    if not common:
        raise PlotError("no object is ok at every rate of every model; run what is missing first")
    drawn = []
    for curve in curves:
        points = [(rate, _mean(scores, common)) for rate, scores in sorted(curve.streaming.items())]
        drawn.append(Drawn(curve.name, points, _mean(curve.offline, common)))
    return drawn, len(common)


def _mean(scores: dict[Key, float], keys: set[Key]) -> float:
    return math.fsum(scores[key] for key in keys) / len(keys)


def draw(curves: Sequence[Drawn], title: str, subtitle: str) -> str:
    """The SVG. Rates are on a logarithmic axis; offline scores stand left of it, on the same scale."""
    rates = sorted({rate for curve in curves for rate, _ in curve.points})
    scores = [score for curve in curves for score in (curve.offline, *(score for _, score in curve.points))]
    low, high = math.floor(min(scores) * 10) / 10, math.ceil(max(scores) * 10) / 10
    high = high if high > low else low + 0.1
    left, right = LEFT + OFFLINE_GAP, WIDTH - RIGHT
    span = math.log(rates[-1] / rates[0]) or 1.0

    def x(rate: float) -> float:
        return left + (right - left) * math.log(rate / rates[0]) / span

    def y(score: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - score) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT - 44, 20, title, weight="bold"),
        _text(LEFT - 44, 37, subtitle, fill="#555555", size=12),
    ]
    for tenth in range(round(low * 10), round(high * 10) + 1):
        at = y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 8, at + 4, f"{tenth / 10:.1f}", anchor="end", fill="#555555"))
    parts += [_text(x(rate), HEIGHT - BOTTOM + 20, f"{rate:g}", anchor="middle", fill="#555555") for rate in rates]
    parts.append(_text(LEFT + 12, HEIGHT - BOTTOM + 20, "offline", anchor="middle", fill="#555555"))
    parts.append(_text((left + right) / 2, HEIGHT - 12, "camera frames per second", anchor="middle", fill="#555555"))
    labels = _spread([y(curve.points[-1][1]) for curve in curves])
    for number, (curve, label_y) in enumerate(zip(curves, labels, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(rate):.1f},{y(score):.1f}" for rate, score in curve.points)
        (first_rate, first_score), (last_rate, last_score) = curve.points[0], curve.points[-1]
        parts.append(
            f'<line x1="{LEFT + 12}" y1="{y(curve.offline):.1f}" x2="{x(first_rate):.1f}" y2="{y(first_score):.1f}" stroke="{colour}" '
            'stroke-width="1.5" stroke-dasharray="2 4"/>'
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x(rate):.1f}" cy="{y(score):.1f}" r="4" fill="{colour}"/>' for rate, score in curve.points]
        parts.append(f'<rect x="{LEFT + 7}" y="{y(curve.offline) - 5:.1f}" width="10" height="10" fill="{colour}"/>')
        tie = f'x1="{x(last_rate) + 6:.1f}" y1="{y(last_score):.1f}" x2="{right + 14}" y2="{label_y:.1f}"'
        parts.append(f'<line {tie} stroke="{colour}" stroke-width="1"/>')
        parts.append(_text(right + 18, label_y + 4, f"{curve.name}  {last_score:.2f}", fill=colour))
    return "\n".join([*parts, "</svg>", ""])


def _spread(wanted: Sequence[float]) -> list[float]:
    """Heights near the wanted ones and apart enough to be read."""
    placed = [0.0] * len(wanted)
    floor = -math.inf
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        placed[index] = floor = max(wanted[index], floor + LABEL_PITCH)
    return placed


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = "#000000", weight: str = "normal", size: int = 13) -> str:
    style = f'text-anchor="{anchor}" fill="{fill}" font-weight="{weight}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def main(argv: Sequence[str] | None = None) -> int:
    """Draw. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Draw streaming J&F over the camera's rate from a run, as an SVG.")
    parser.add_argument("run", type=Path, help="folder of a run with --realtime at several rates, or its summary.csv")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="SVG to write")
    parser.add_argument("--data", default="", metavar="TEXT", help="what the clips are, for the subtitle")
    args = parser.parse_args(argv)
    try:
        curves, pace = read_curves(args.run / SUMMARY if args.run.is_dir() else args.run)
        drawn, objects = means(curves)
        subtitle = ", ".join(filter(None, (args.data, f"{objects} object{'' if objects == 1 else 's'}", pace)))
        args.out.write_text(draw(drawn, "J&F of what is known when a frame arrives", subtitle), encoding="utf-8")
    except (PlotError, OSError) as error:
        print(f"plot_streaming: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
