"""Figures as plain data: drawing, units and text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from savbench.report.arms import Arm
    from savbench.results.grid import Grid

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8733F0", "#F0004A")
"""Four of Okabe and Ito's colours and two more, with 3:1 contrast on the light and dark page, and distinguishable under the
common kinds of colour blindness (simulated after Machado, Oliveira and Fernandes, 2009)."""
NEUTRAL = "#808080"
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
LOG_FROM_RATIO = 20.0
"""Ratio of largest to smallest value from which an axis is logarithmic."""
WIDE_FROM_RATIO = 300.0

Interval = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """How a series looks. Colour is never the only difference: symbol, dash and name differ too."""

    colour: str
    symbol: str = "circle"
    dash: str = "solid"


def style_of(number: int) -> Style:
    """Return the style of an arm. Colours, symbols and dashes cycle at different rates, so that 84 arms look different."""
    return Style(COLOURS[number % len(COLOURS)], SYMBOLS[number % len(SYMBOLS)], DASHES[number // len(COLOURS) % len(DASHES)])


NEUTRAL_STYLE = Style(NEUTRAL)


@dataclass(frozen=True)
class Axis:
    """
    Attributes:
        title: includes the unit.
        low, high: limits of the range; None fits the values.
        is_wide: logarithmic over enough decades that only powers of ten fit as tick labels.
    """

    title: str
    is_log: bool = False
    is_wide: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """
    Attributes:
        label: beside the point and in the legend.
        hover: lines of detail.
        is_hollow: the value is meaningless, such as the J&F of an untrained model.
        on_front: on the Pareto front; always named in the drawing, however many points there are.
    """

    label: str
    style: Style
    x: float
    y: float
    x_interval: Interval | None = None
    y_interval: Interval | None = None
    hover: tuple[str, ...] = ()
    is_hollow: bool = False
    on_front: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points, with the Pareto front as steps and floors as labelled horizontal lines."""

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: tuple[tuple[float, float], ...] = ()
    floors: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Box:
    """Percentiles of a sample, with whiskers at the 1st and 99th."""

    label: str
    style: Style
    p1: float
    p25: float
    p50: float
    p75: float
    p99: float
    mean: float
    count: int


@dataclass(frozen=True)
class Boxes:
    x: Axis
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Line:
    """A line, broken where y is NaN, with a band if low and high are given."""

    label: str
    style: Style
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Lines:
    """
    Attributes:
        marks: x, y and text of individual events.
    """

    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[tuple[float, float, str], ...] = ()
    has_symbols: bool = False


@dataclass(frozen=True)
class Part:
    """One value per category, NaN if missing."""

    label: str
    values: tuple[float, ...]
    hover: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, grouped or stacked."""

    x: Axis
    categories: tuple[str, ...]
    parts: tuple[Part, ...]
    is_stacked: bool = False


Conclusion = Literal["better", "worse", "no difference shown", "no interval"]


@dataclass(frozen=True)
class Change:
    """An estimate with its interval and verdict."""

    label: str
    value: float
    interval: Interval | None
    verdict: Conclusion


@dataclass(frozen=True)
class Forest:
    """Changes listed in groups, with a line at no change. A group without a name has no heading."""

    x: Axis
    groups: tuple[tuple[str, tuple[Change, ...]], ...]
    no_change: float


@dataclass(frozen=True)
class Dot:
    """A value with its interval, of one series by number."""

    series: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class DotRow:
    """
    Attributes:
        remark: written in the row, for example why it has no dots.
    """

    label: str
    dots: tuple[Dot, ...]
    remark: str = ""


@dataclass(frozen=True)
class Dots:
    """Rows in groups, in each row a dot for every series that has a value there."""

    x: Axis
    series: tuple[tuple[str, Style], ...]
    groups: tuple[tuple[str, tuple[DotRow, ...]], ...]


Drawing = Scatter | Boxes | Lines | Bars | Forest | Dots


@dataclass(frozen=True)
class Figure:
    """
    Attributes:
        key: used in file names and the page's anchors.
        says: what the figure shows, in one or two sentences.
        notes: limitations.
        table: the same data as text, for readers who cannot see the drawing or want to copy values.
    """

    key: str
    title: str
    says: str
    drawing: Drawing
    table: Grid
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A figure without data, and how to record them."""

    key: str
    title: str
    reason: str


@dataclass(frozen=True)
class Chapter:
    key: str
    title: str
    items: tuple[Figure | Missing, ...]
    remarks: tuple[str, ...] = ()


def axis(title: str, values: Iterable[float], *, from_zero: bool = True) -> Axis:
    """Make an axis for these values: logarithmic if they are far apart, else from zero if `from_zero` is on and no value is negative."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) / min(finite) >= LOG_FROM_RATIO:
        return Axis(title, is_log=True, is_wide=max(finite) / min(finite) >= WIDE_FROM_RATIO)
    return Axis(title, low=0.0 if from_zero and finite and min(finite) >= 0 else None)


RATIO_TICKS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0,
    200.0, 500.0, 1000.0,
)  # fmt: skip
_MOST_TICKS = 7


def ratio_ticks(low: float, high: float) -> list[float]:
    """Choose round ratios between two bounds, always including 1, spaced for a phone's screen."""
    apart = math.log(high / low) / _MOST_TICKS
    chosen = [1.0]
    for tick in sorted((tick for tick in RATIO_TICKS if low <= tick <= high), key=lambda tick: abs(math.log(tick))):
        if all(abs(math.log(tick / other)) >= apart for other in chosen):
            chosen.append(tick)
    return sorted(chosen)


def bounds(forest: Forest) -> Interval:
    """Return the lowest and highest value of a forest, including intervals and the line of no change, with a margin."""
    values = [forest.no_change]
    for _, changes in forest.groups:
        for change in changes:
            values += [change.value, *(change.interval or ())]
    low, high = min(values), max(values)
    if forest.x.is_log:
        margin = max((high / low) ** 0.08, 1.02)
        return low / margin, high * margin
    margin = 0.08 * (high - low) or 0.01
    return low - margin, high + margin


def number(value: float | None) -> str:
    """Format a number without an exponent, to about four significant digits; empty if None or NaN."""
    if value is None or math.isnan(value):
        return ""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:.{digits}f}"


def notes_of(arms: Iterable[Arm], *, of_scores: bool = False) -> tuple[str, ...]:
    """Explain the marks on the names of these arms briefly; the answer's chapter gives details."""
    listed = list(arms)
    notes = []
    if of_scores and any(arm.is_random for arm in listed):
        notes.append("* untrained weights: this J&F is meaningless; time, memory and power are real.")
    if any(arm.is_doubtful for arm in listed):
        notes.append("† every row is marked invalid: times, power and memory cannot be compared with others', J&F can.")
    if any(arm.shared for arm in listed):
        notes.append("‡ tracked in a session shared with others: not the latency of a single object.")
    return tuple(notes)
