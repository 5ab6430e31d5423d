"""Differences between dtypes, attentions, sizes, models and runs, as `compare` finds them, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from savbench.compare.causes import by_cause
from savbench.compare.comparison import compare
from savbench.compare.findings import Options
from savbench.compare.tables import describe
from savbench.data.csv_file import InputError
from savbench.report.arms import FILE
from savbench.report.charts import Axis, Change, Conclusion, Figure, Forest, Missing
from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN, Results
from savbench.results.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

    from savbench.compare.findings import Change as Found
    from savbench.compare.findings import Comparison, PairComparison, Unpaired

    Pair = tuple[str, PairComparison]

NAMES = {"autocast_dtype": "dtype", "attention": "attention", "imgsz": "input size", "model": "model", FILE: "run"}
REMEDIES = {
    "autocast_dtype": "--autocast_dtype float32,float16,bfloat16 runs several.",
    "attention": "--attention auto,flash,math runs several.",
}
"""What to run to enable a comparison that every report includes."""
RATIOS = (
    "fps",
    "latency_p50_ms",
    "latency_p90_ms",
    "unified_peak_used_MiB",
    "gpu_peak_alloc_MiB",
    "cpu_peak_rss_MiB",
    "energy_j_per_frame",
)
"""Measures drawn as ratios; the tables list all compared measures."""
PEAKS = ("unified_peak_used_MiB", "gpu_peak_alloc_MiB", "cpu_peak_rss_MiB")
_OF_THE_MODEL = ("implementation", "hole_filling", "weights")
MOST_GROUPS, MOST_CHANGES = 12, 30
ALL_ROWS = describe({})
HOW_TO_READ = (
    "Lines are 95% intervals of a bootstrap over videos; they cover the choice of videos, not drift between two runs. Filled: the interval "
    "excludes no difference; hollow: it spans it; a cross: there is no interval, so that nothing is shown."
)


@dataclass(frozen=True)
class Compared:
    """A comparison of one column's values within a file, or of the files.

    Attributes:
        column: of `NAMES`.
        run: label of the file; empty if files are compared or there is only one.
        floor: baseline that the models are compared with; empty if they are compared with each other.
        refusal: why there is no comparison; empty if there is one.
    """

    column: str
    run: str
    comparison: Comparison | None = None
    refusal: str = ""
    floor: str = ""

    @property
    def title(self) -> str:
        against = f" and the floor, {self.floor}" if self.floor else ""
        return f"Between {NAMES[self.column]}s{against}" + (f", {self.run}" if self.run else "")


def compare_all(results: Results, options: Options) -> list[Compared]:
    """Make every comparison that the rows allow: dtype and attention (or why not), model and size if they vary, files if several."""
    found = []
    several = len(results.labels) > 1
    for label in results.labels:
        run = label if several else ""
        rows = results.rows[results.rows[FILE] == label].reset_index(drop=True)
        for column in NAMES:
            if column == FILE:
                continue
            # models without dtype or attention are left out of comparing them
            chosen = _learned_or_floors(rows) if column == "model" else rows[~rows[column].isin([UNKNOWN, NOT_APPLICABLE])]
            chosen = chosen.reset_index(drop=True)
            values = set(chosen.loc[chosen["failure"] == "", column]) - {UNKNOWN, NOT_APPLICABLE}
            if len(values) > 1:
                part = Results(chosen, [label], results.legacy & {label})
                found.append(_compare(part, column, run, Options(**{**vars(options), "by": (column,)})))
            elif column in REMEDIES:
                what = f"only {values.pop()} was run" if values else "no row with figures tells one"
                found.append(Compared(column, run, refusal=f"Nothing to compare: {what}. {REMEDIES[column]}"))
        found += _against_floor(Results(rows, [label], results.legacy & {label}), run, options)
    if several:
        found.append(_compare(results, FILE, "", Options(**{**vars(options), "by": ()})))
    return found


def _against_floor(results: Results, run: str, options: Options) -> list[Compared]:
    """Compare the learned models with the baseline of the highest J&F, if both were run."""
    rows = results.rows[(results.rows["failure"] == "").to_numpy() & results.rows["JandF"].notna().to_numpy()]
    floors = rows[rows["weights"] == NOT_APPLICABLE]
    if not len(floors) or len(floors) == len(rows):
        return []
    floor = str(floors.groupby("model", sort=False)["JandF"].mean().idxmax())
    chosen = rows[(rows["weights"] != NOT_APPLICABLE) | (rows["model"] == floor)].reset_index(drop=True)
    part = Results(chosen, results.labels, results.legacy)
    found = _compare(part, "model", run, Options(**{**vars(options), "by": ("model",), "baseline": floor}))
    return [replace(found, floor=floor)]


def _learned_or_floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the learned models if there are several, else the baselines. Mixing in baselines would only stretch the axes."""
    learned = rows[rows["weights"] != NOT_APPLICABLE]
    return learned if len(set(learned["model"])) > 1 else rows[rows["weights"] == NOT_APPLICABLE]


def _compare(results: Results, column: str, run: str, options: Options) -> Compared:
    try:
        return Compared(column, run, compare(results, options))
    except InputError as error:
        return Compared(column, run, refusal=f"{str(error)[:1].upper()}{str(error)[1:]}.")


def change_figures(compared: Compared, number: int) -> list[Figure | Missing]:
    """Draw forest plots of a comparison: differences for J&F, ratios for other measures.

    Args:
        number: makes the keys of the figures unique.
    """
    key = f"changes-{compared.column.replace('autocast_', '')}-{number}"
    if compared.comparison is None:
        return [Missing(key, compared.title, compared.refusal)]
    blocks = [block for block in compared.comparison.blocks if any(pair.changes for pair in block.comparisons)]
    if not blocks:
        return [Missing(key, compared.title, "No object has figures on both sides.")]
    first = blocks[0].setting
    common = {name: value for name, value in first.items() if all(block.setting.get(name) == value for block in blocks)}
    pairs = []
    for block in blocks:
        own = describe({name: value for name, value in block.setting.items() if name not in common})
        named = "" if own == ALL_ROWS else f" ({own})"
        pairs += [(f"{pair.arm} against {pair.baseline}{named}", pair) for pair in block.comparisons if pair.changes]
    within = describe(common)
    where = "" if within == ALL_ROWS else f" In all of them: {within}."
    is_median = compared.comparison.options.center == "median"
    scores = _scores(f"{key}-scores", compared.title, pairs, where)
    if compared.floor:
        # a baseline's cost says nothing about a model
        return [scores]
    return [scores, _ratios(f"{key}-ratios", compared.title, pairs, where, is_median)]


def _scores(key: str, title: str, pairs: list[Pair], where: str) -> Figure | Missing:
    title = f"{title}: difference in J&F"
    found = [(name, change) for name, pair in pairs for change in pair.changes if change.measure.column == "JandF"]
    kept = [_shown(name, change) for name, change in found if change.verdict != "meaningless"]
    if not kept:
        why = "The weights are untrained: differences of their J&F are meaningless." if found else "No object has J&F on both sides."
        return Missing(key, title, why)
    forest = Forest(Axis("difference in J&F"), (("", tuple(kept[:MOST_CHANGES])),), 0.0)
    says = f"Paired object by object; right is better.{where} {HOW_TO_READ}"
    return Figure(key, title, says, forest, _grid(pairs, ("J", "F", "JandF")), _cut(len(kept), MOST_CHANGES))


def _ratios(key: str, title: str, pairs: list[Pair], where: str, is_median: bool) -> Figure | Missing:
    title = f"{title}: speed, memory, energy"
    groups = []
    for name, pair in pairs:
        there = {change.measure.column: change for change in pair.changes}
        peak = next((column for column in PEAKS if column in there), "")
        drawn = [column for column in RATIOS if column in there and (column not in PEAKS or column == peak)]
        if drawn:
            groups.append((name, tuple(_shown(there[column].measure.label, there[column]) for column in drawn)))
    if not groups:
        return Missing(key, title, "No object has times, memory or energy on both sides.")
    forest = Forest(Axis("ratio to the baseline", is_log=True), tuple(groups[:MOST_GROUPS]), 1.0)
    columns = tuple(dict.fromkeys(change.measure.column for _, pair in pairs for change in pair.changes if change.measure.kind == "ratio"))
    how = "Medians of the objects' ratios" if is_median else "Ratios of geometric means, paired object by object"
    says = f"{how}: 1.10 is 10% more. Of FPS more is better, of the others less.{where} {HOW_TO_READ}"
    return Figure(key, title, says, forest, _grid(pairs, columns), _cut(len(groups), MOST_GROUPS))


def _shown(label: str, change: Found) -> Change:
    interval = None if change.low is None or change.high is None else (change.low, change.high)
    return Change(label, change.change, interval, _conclusion(change))


def _conclusion(change: Found) -> Conclusion:
    if change.verdict == "better" or change.verdict == "worse":
        return change.verdict
    # all pairs equal: no difference, with or without an interval
    return "no difference shown" if change.verdict in ("~", "=") else "no interval"


def _grid(pairs: list[Pair], columns: tuple[str, ...]) -> Grid:
    rows = []
    for name, pair in pairs:
        for change in pair.changes:
            if change.measure.column not in columns:
                continue
            sign = "{:+.4f}" if change.measure.kind == "difference" else "x{:.3f}"
            shown = [sign.format(value) for value in (change.change, change.low, change.high) if value is not None]
            interval = f"{shown[1]} to {shown[2]}" if len(shown) == 3 else ""
            counts = [str(count) for count in (change.pairs, change.better, change.worse)]
            said = "meaningless" if change.verdict == "meaningless" else _conclusion(change)
            rows.append([name, change.measure.label, shown[0], interval, *counts, said])
    return Grid(["what", "measure", "change", "95% interval", "objects", "better", "worse", "verdict"], rows, left=1)


def _cut(count: int, most: int) -> tuple[str, ...]:
    return () if count <= most else (f"The first {most} of {count} comparisons are drawn; the table has all.",)


def losses(compared: Compared) -> list[str]:
    """List what a comparison left out or was forced to include, one line each."""
    if compared.comparison is None:
        return []
    lines = [*compared.comparison.forced]
    lost: dict[str, list[Unpaired]] = {}
    differing = []
    for block in compared.comparison.blocks:
        for pair in block.comparisons:
            between = f"{pair.arm} against {pair.baseline}"
            lost.setdefault(f"{between}: ", []).extend(pair.unpaired)
            lost.setdefault(f"{between}: times of ", []).extend(pair.untimed)
            differing += [
                f"{pair.arm} and {pair.baseline} differ too in {name}: {b} and {a}"
                for name, (a, b) in pair.differs.items()
                if not (compared.column == "model" and name in _OF_THE_MODEL)
            ]
    lines += [
        f"{what}{len(names)} not compared, {cause}: {_names(tuple(dict.fromkeys(names)))}"
        for what, found in lost.items()
        for cause, names in by_cause(found)
    ]
    return list(dict.fromkeys([*lines, *differing]))


def _names(objects: tuple[str, ...]) -> str:
    return ", ".join(objects[:5]) + (f" and {len(objects) - 5} more" if len(objects) > 5 else "")
