"""Where the arms fail: their scores over the bins of the objects' attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from savbench.compare.explained import conclusion, has_attributes
from savbench.compare.statistics import MIN_VIDEOS, Floats, estimate
from savbench.report.arms import numbers
from savbench.report.charts import Axis, Dot, DotRow, Dots, Figure, Missing, number, style_of
from savbench.results.attributes import ATTRIBUTES, BASIC, BY_NAME
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from savbench.report.arms import Arm
    from savbench.report.changes import Compared
    from savbench.results.attributes import Attribute

KEY, TITLE = "atlas", "J&F by attribute of the object"
MOST_ARMS = 4
MOST_DRAWN = 6
"""Attributes in a drawing; the table has all."""
MOST_CONCLUSIONS = 6
RESAMPLES = 2_000
TOO_SMALL = "n too small"


@dataclass(frozen=True)
class _Measure:
    key: str
    title: str
    column: str
    axis: str
    says: str


_MEASURES = (
    _Measure(KEY, TITLE, "JandF", "J&F", "Mean J&F of the objects in each bin of an attribute, with its 95% interval."),
    _Measure(
        "atlas-nt2f", "Time to failure by attribute of the object", "nt2f", "time to failure, share of the clip",
        "Mean time to the first failure (nt2f) of the objects in each bin; 1: none failed.",
    ),
    _Measure(
        "atlas-false-positives", "False positives by attribute of the object", "false_positive_rate", "false positives, share of frames",
        "Of the frames on which the object is absent, the share on which the mask is not empty; over objects that are absent at times.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class _Bin:
    """Figures of one bin; without an interval the bin is too small to quote."""

    objects: int
    videos: int
    value: float
    low: float
    high: float

    @property
    def can_be_quoted(self) -> bool:
        return not np.isnan(self.low)


_ByArm = list[dict[int, _Bin]]
"""For each arm, the bins of an attribute that have objects, by number."""


def atlas(arms: Sequence[Arm], rows: pd.DataFrame, compared: Sequence[Compared]) -> list[Figure | Missing]:
    """Show J&F and measures of failure of the arms over the bins of each attribute.

    Args:
        rows: those that the arms are of.
        compared: comparisons; what explains their differences is noted.
    """
    if not has_attributes(rows):
        reason = "No row has attributes of its object: older versions and other tools do not write them. Run again."
        return [Missing(KEY, TITLE, reason)]
    scored = sorted((arm for arm in arms if arm.JandF is not None and not arm.is_random), key=lambda arm: -(arm.JandF or 0.0))
    if not scored:
        return [Missing(KEY, TITLE, "No arm with trained weights has J&F.")]
    shown = sorted(scored[:MOST_ARMS], key=lambda arm: arm.number)
    left_out = (f"Shown are {MOST_ARMS} of {len(scored)} arms, the most accurate ones.",) if len(scored) > MOST_ARMS else ()
    found = [figure for measure in _MEASURES if (figure := _figure(measure, shown, rows, left_out)) is not None]
    if not found:
        return [Missing(KEY, TITLE, f"No bin of any attribute has the {MIN_VIDEOS} videos that an interval needs.")]
    notes = tuple(_conclusions(compared))
    return [replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]]


def _figure(measure: _Measure, arms: Sequence[Arm], rows: pd.DataFrame, left_out: tuple[str, ...]) -> Figure | None:
    parts = [rows.iloc[[row for row in arm.scored if _is_same(arm, rows, row)]] for arm in arms]
    by_attribute = {attribute: [_bins(attribute, measure.column, part) for part in parts] for attribute in ATTRIBUTES}
    several = {attribute: of for attribute, of in by_attribute.items() if any(len(bins) > 1 for bins in of)}
    spreads = {attribute: _spread(of) for attribute, of in several.items()}
    chosen = sorted((attribute for attribute in several if spreads[attribute]), key=lambda one: -spreads[one])[:MOST_DRAWN]
    if not chosen:
        return None
    groups = tuple((attribute.title, _rows(attribute, several[attribute])) for attribute in chosen)
    series = tuple((arm.shown, style_of(arm.number)) for arm in arms)
    notes = [
        *left_out,
        f"{TOO_SMALL}: fewer than {MIN_VIDEOS} videos in the bin, so that there is no interval to quote.",
        "Drawn are the attributes over whose bins the arms differ most, most first; some do by chance, and attributes go together.",
    ]
    if alone := [attribute.title for attribute in ATTRIBUTES if attribute not in several]:
        notes.append(f"All objects are in one bin, or not known: {', '.join(alone)}.")
    drawing = Dots(Axis(measure.axis, low=0.0, high=1.0), series, groups)
    return Figure(measure.key, measure.title, measure.says, drawing, _table(arms, several), tuple(notes))


def _is_same(arm: Arm, rows: pd.DataFrame, row: int) -> bool:
    return (str(rows["video"].iloc[row]), str(rows["object"].iloc[row])) in arm.same.scored


def _bins(attribute: Attribute, column: str, rows: pd.DataFrame) -> dict[int, _Bin]:
    values = numbers(rows, column)
    known = np.isfinite(numbers(rows, BY_NAME[BASIC].column)) & np.isfinite(values)
    if not known.any():
        return {}
    values, within = values[known], rows[known]
    codes = np.array([attribute.bin_of(value) for value in numbers(within, attribute.column)])
    present = sorted(set(codes.tolist()))
    columns: Floats = np.where(codes[:, None] == np.array(present), values[:, None], np.nan)
    videos = np.unique(within["video"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
    found = estimate(columns, videos, resamples=RESAMPLES)
    figures = zip(present, found.objects, found.videos, found.center, found.low, found.high, strict=True)
    return {place: _Bin(int(objects), int(of), float(value), float(low), float(high)) for place, objects, of, value, low, high in figures}


def _spread(by_arm: _ByArm) -> float:
    """Largest difference between two bins that can be quoted, of any arm."""
    quoted = [[one.value for one in bins.values() if one.can_be_quoted] for bins in by_arm]
    return max((max(values) - min(values) for values in quoted if values), default=0.0)


def _rows(attribute: Attribute, by_arm: _ByArm) -> tuple[DotRow, ...]:
    rows = []
    for place, label in enumerate(attribute.labels):
        there = [bins[place] for bins in by_arm if place in bins]
        if not there:
            continue
        dots = tuple(
            Dot(series, one.value, (one.low, one.high))
            for series, bins in enumerate(by_arm)
            if (one := bins.get(place)) is not None and one.can_be_quoted
        )
        rows.append(DotRow(f"{label} (n\u00a0{_range(one.objects for one in there)})", dots, "" if dots else TOO_SMALL))
    return tuple(rows)


def _range(counts: Iterable[int]) -> str:
    """As `12`, or `10 to 12` where arms differ."""
    ordered = sorted(set(counts))
    return f"{ordered[0]}" if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _table(arms: Sequence[Arm], by_attribute: dict[Attribute, _ByArm]) -> Grid:
    lines = []
    for attribute, by_arm in by_attribute.items():
        for place, label in enumerate(attribute.labels):
            at = [bins.get(place) for bins in by_arm]
            there = [one for one in at if one is not None]
            if not there:
                continue
            label = f"{attribute.title}: {label}"
            lines.append([label, *(_range(getattr(one, name) for one in there) for name in ("objects", "videos")), *map(_cell, at)])
    return Grid(["attribute", "objects", "videos", *(arm.shown for arm in arms)], lines)


def _cell(one: _Bin | None) -> str:
    if one is None:
        return ""
    return f"{number(one.value)} [{number(one.low)}, {number(one.high)}]" if one.can_be_quoted else TOO_SMALL


def _conclusions(compared: Sequence[Compared]) -> list[str]:
    """What explains the difference of each pair of arms, each once."""
    pairs = [
        (found.title, pair)
        for found in compared
        if found.comparison is not None
        for block in found.comparison.blocks
        for pair in block.comparisons
        if pair.explanation is not None and pair.explanation.permutations
    ]
    lines = [f"{title}, {pair.arm} against {pair.baseline}: {conclusion(pair.explanation)}" for title, pair in pairs if pair.explanation]
    lines = list(dict.fromkeys(lines))
    more = len(lines) - MOST_CONCLUSIONS
    return [*lines[:MOST_CONCLUSIONS], *([f"And {more} more pairs: compare --explain_by has them."] if more > 0 else [])]
