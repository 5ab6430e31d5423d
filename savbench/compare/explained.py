"""Sections of a comparison with --explain_by: which attribute carries the difference, and which objects decide it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.compare.explaining import ALPHA
from savbench.compare.section import Section
from savbench.compare.statistics import LEVEL, MIN_VIDEOS
from savbench.results.attributes import BASIC, BY_NAME
from savbench.results.grid import Grid
from savbench.results.numbers import counted, difference, number

if TYPE_CHECKING:
    import pandas as pd

    from savbench.compare.findings import AttributeEffect, Explanation, PairComparison

_INTERVAL = f"{LEVEL:.0%} interval"


def has_attributes(rows: pd.DataFrame) -> bool:
    """Whether any row of loaded results has attributes of its object."""
    column = BY_NAME[BASIC].column
    return column in rows and bool(rows[column].notna().any())


def explanation_sections(pair: PairComparison) -> list[Section]:
    """The sections of a pair about which --explain_by asks."""
    found, against = pair.explanation, f"{pair.arm} against {pair.baseline}"
    title = f"what explains J&F of {against}"
    if found is None:
        return [Section(title, level=3, before=["nothing to explain: no object has attributes and J&F of trained weights on both sides."])]
    tested = Section(title, level=3, before=[conclusion(found)], grid=_tested(found))
    return [tested, *_bins_section(found, against), *([_deciding(found, against)] if found.deciding else [])]


def _bins_section(found: Explanation, against: str) -> list[Section]:
    grid = _bins(found)
    if not grid.rows:
        return []
    bins = Section(f"J&F of {against} by attribute", level=3, grid=grid)
    if any(one.low is None for effect in found.effects for one in effect.bins):
        bins.after.append(f"n<{MIN_VIDEOS}: too few videos in the bin for an interval; its objects still carry their part.")
    if found.unattributed:
        bins.before.append(f"left out: {counted(found.unattributed, 'object')} without attributes, from an older version or another tool")
    bins.after.append(f"carries: sums to the change of {difference(found.change)} over the bins of an attribute.")
    if alone := [effect.attribute for effect in found.effects if len(effect.bins) == 1]:
        bins.after.append(f"not shown, all objects are in one bin: {', '.join(alone)}.")
    if not found.is_shown:
        bins.after.append("share: not shown, the interval of the whole change spans 0, so that shares of it mean nothing.")
    return [bins]


def conclusion(found: Explanation) -> str:
    """One sentence: the attribute that explains the differences best, or that none does."""
    effects = [effect for effect in found.effects if effect.p is not None]
    if not effects:
        return f"no attribute can be tested: it takes {MIN_VIDEOS} videos, differences that are not all equal, and objects in two bins."
    if not found.best:
        least = min(effect.p or 0.0 for effect in effects)
        return (
            f"none of {counted(len(effects), 'attribute')} explains the differences: the smallest p is {number(least, 2)}, "
            f"{ALPHA:g} or less would be evidence."
        )
    best = next(effect for effect in effects if effect.attribute == found.best)
    rest = [effect.attribute for effect in effects if effect is not best and (effect.p or 0.0) <= ALPHA]
    said = (
        f"{best.attribute} explains the differences best: {best.explained or 0:.0%} of their variance lies between its bins "
        f"({best.by_chance or 0:.0%} by chance), p {number(best.p, 2)}."
    )
    return f"{said} So {'do' if len(rest) > 1 else 'does'} {', '.join(rest)}, which may go with it." if rest else said


def legend(found: Explanation) -> list[str]:
    """How to read the sections."""
    return [
        f"explains: share of the variance of the objects' differences that lies between the attribute's bins. p: permutation test, "
        f"{found.permutations} permutations of the differences among videos with as many objects, times the number of tests (Holm).",
        "objects that decide: those with the largest differences in the direction of the change. Each line leaves out its object and all "
        "above it.",
    ]


def _tested(found: Explanation) -> Grid:
    def rank(effect: AttributeEffect) -> tuple[float, float]:
        return (2.0 if effect.p is None else effect.p, -(effect.explained or 0.0))

    rows = []
    for effect in sorted(found.effects, key=rank):
        title = BY_NAME[effect.attribute].title
        said = "not tested" if effect.p is None else "explains" if effect.p <= ALPHA else "~"
        shares = ["" if share is None else f"{share:.0%}" for share in (effect.explained, effect.by_chance)]
        rows.append([effect.attribute, title, *shares, number(effect.p, 2), said])
    return Grid(["attribute", "meaning", "explains", "by chance", "p", "verdict"], rows, left=1, texts=("meaning",), drop=("meaning",))


def _bins(found: Explanation) -> Grid:
    header = ["attribute", "objects", "videos", "change", _INTERVAL, "carries", *(["share"] if found.is_shown else [])]
    rows = []
    for effect in found.effects:
        if len(effect.bins) == 1:
            continue
        rows.append([f"{effect.attribute}:", *[""] * (len(header) - 1)])
        for one in effect.bins:
            cells = [str(one.objects), str(one.videos), difference(one.change), _interval(one.low, one.high), difference(one.carries)]
            if one.low is None:
                cells[2:4] = ["", f"n<{MIN_VIDEOS}"]
            rows.append([one.label, *cells, *([f"{one.share:.0%}"] if found.is_shown and one.share is not None else [])])
    return Grid(header, rows, drop=("videos",))


def _deciding(found: Explanation, against: str) -> Section:
    section = Section(f"the {counted(len(found.deciding), 'object')} that decide J&F of {against}", level=3)
    rows = [
        [f"{place}. {one.object}", difference(one.change), difference(one.left), _interval(one.low, one.high), _holds(found, place)]
        for place, one in enumerate(found.deciding, start=1)
    ]
    section.grid = Grid(["without", "its change", "change left", _INTERVAL, "conclusion"], rows, left=1)
    section.after.append(_robustness(found))
    return section


def _holds(found: Explanation, place: int) -> str:
    if found.sign_turns_after is not None and place >= found.sign_turns_after:
        return "sign turns"
    if found.undecided_after is not None and place >= found.undecided_after:
        return "~"
    return "holds" if found.is_shown else "~"


def _robustness(found: Explanation) -> str:
    count = len(found.deciding)
    if found.sign_turns_after is not None:
        return f"without the first {counted(found.sign_turns_after, 'object')} of {found.objects} the sign turns."
    if found.undecided_after is not None:
        return f"the sign holds without all {count}; the conclusion does not without the first {found.undecided_after}."
    return f"sign and conclusion hold without all {count}." if found.is_shown else f"the sign holds without all {count}."


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{difference(low)}, {difference(high)}]"
