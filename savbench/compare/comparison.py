"""Compute the figures of each arm, and its changes against the baseline with intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from savbench.compare.explaining import explain
from savbench.compare.findings import (
    BlockComparison,
    Change,
    Comparison,
    Explanation,
    Kept,
    Moved,
    Options,
    PairComparison,
    Unpaired,
    Verdict,
)
from savbench.compare.pairing import MUST_AGREE, Plan, plan_comparison
from savbench.compare.protocol import RefusedError
from savbench.compare.statistics import Estimates, Floats, estimate, ratio_interval
from savbench.compare.summaries import RowData, Same
from savbench.results.attributes import BASIC, BY_NAME
from savbench.results.circumstances import SETTINGS
from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN, Results
from savbench.results.measures import MEASURES, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.compare.blocks import Block, Positions
    from savbench.results.beside import FrameLatencies

SAME_CLIP = ("clip_frames", "video_height", "video_width", "frames_annotated")
"""Columns in which two rows of one object agree if both cover the same frames."""


def compare(results: Results, options: Options, frame_latencies: FrameLatencies | None = None) -> Comparison:
    """Compare the arms of loaded results.

    Args:
        frame_latencies: latencies of the rows of `results`, for percentiles over all timed frames; without them, an arm's percentiles are
            means over objects.

    Raises:
        RefusedError: arms differ in a setting that is not compared.
        InputError: an option names a missing column or arm, or nothing can be compared.
    """
    plan = plan_comparison(results, by=options.by, baseline=options.baseline, force=options.force)
    computation = _Computation(results.rows, plan, options, frame_latencies)
    blocks = tuple(computation.block(block) for block in plan.blocks)
    notes = [*results.notes, *plan.notes, *_unknown_notes(results, plan)]
    forced = [*plan.forced, *dict.fromkeys(computation.forced)]
    invalid = int(computation.data.is_invalid.sum())
    if options.force and invalid:
        forced.append(f"FORCED: the times of {invalid} rows marked invalid are taken in")
    if results.legacy and len(results.legacy) < len(results.labels):
        notes.append(
            "times of an older tool cover the whole clip, times of this one the tracked frames: do not set them against each other"
        )
    return Comparison(plan.compared, options, blocks, tuple(forced), tuple(notes))


class _Computation:
    def __init__(self, rows: pd.DataFrame, plan: Plan, options: Options, frame_latencies: FrameLatencies | None) -> None:
        self._plan = plan
        self._options = options
        self.data = RowData(rows, frame_latencies)
        self._attributes = {
            name: rows[attribute.column].to_numpy(np.float64) if attribute.column in rows else np.full(len(rows), np.nan)
            for name, attribute in BY_NAME.items()
        }
        self._clip = {name: rows[name].to_numpy(np.float64) for name in SAME_CLIP if name in rows}
        self.forced: list[str] = []
        self._is_valid = self.data.has_figures & (~self.data.is_invalid | options.force)
        self._coded = {name: pd.factorize(self.data.text[name]) for name in SETTINGS}

    def block(self, block: Block) -> BlockComparison:
        wanted = self._plan.baseline
        baseline = (wanted if wanted in block.arms else None) if wanted is not None else next(iter(block.arms))
        others = [arm for arm in block.arms if arm != baseline] if baseline is not None else []
        same = Same.of(self.data, block.arms, self._is_valid)
        timed = [rows[self._is_valid[rows] & self.data.is_timed()[rows]] for rows in (*block.arms.values(), *block.references.values())]
        how: Any = {
            "is_valid": self._is_valid, "same": same, "pools_frames": all(self.data.frames_are_there(rows) for rows in timed if rows.size),
        }  # fmt: skip
        arms = [self.data.summarize(arm, rows, **how, is_baseline=arm == baseline and bool(others)) for arm, rows in block.arms.items()]
        references = [self.data.summarize(model, rows, **how, is_reference=True) for model, rows in block.references.items()]
        comparisons = tuple(self._compare(str(baseline), arm, block) for arm in others)
        return BlockComparison(block.setting, (*arms, *references), comparisons, same.notes())

    def _center(self, measure: Measure, values: Floats) -> float:
        """Return the mean, geometric mean or median of one side over objects."""
        if measure.kind == "difference":
            return float(np.mean(values))
        if measure.is_time and self._options.center == "median":
            return float(np.median(values))
        if not (values > 0).all():
            return float(np.mean(values))
        return float(np.exp(np.mean(np.log(values))))

    def _compare(self, baseline: str, arm: str, block: Block) -> PairComparison:
        data = self.data
        ours, theirs = (rows[data.has_figures[rows]] for rows in (block.arms[baseline], block.arms[arm]))
        _, one, other = np.intersect1d(data.key[ours], data.key[theirs], assume_unique=True, return_indices=True)
        first, second = ours[one], theirs[other]
        self._require_same_clips(baseline, arm, first, second)
        before, after = data.numbers[first], data.numbers[second]
        is_timed = self._is_valid[first] & self._is_valid[second]
        values = np.full(before.shape, np.nan)
        for index, measure in enumerate(MEASURES):
            if measure.kind == "difference":
                values[:, index] = after[:, index] - before[:, index]
            else:
                # a logarithm needs positive numbers; energy minus idle power may be 0 or less
                both = (before[:, index] > 0) & (after[:, index] > 0)
                values[both, index] = np.log(after[both, index] / before[both, index])
            if measure.needs_valid_time:
                values[~is_timed, index] = np.nan
        is_random = data.is_random(first) or data.is_random(second)
        medians = np.array([measure.is_time and self._options.center == "median" for measure in MEASURES])
        found = estimate(values, data.video[first], medians=medians, resamples=self._options.resamples, seed=self._options.seed)
        measured = [index for index in range(len(MEASURES)) if found.objects[index]]
        moved_measure, moved = self._moved(first, values, before, after, is_random)
        unpaired, lost = self._unpaired(baseline, arm, block.arms[baseline], block.arms[arm])
        return PairComparison(
            baseline=baseline,
            arm=arm,
            pairs=len(first),
            videos=len(set(data.video[first])),
            lost=lost,
            changes=tuple(self._change(index, values[:, index], before, after, found, is_random) for index in measured),
            unpaired=unpaired,
            untimed=self._untimed(baseline, arm, first[~is_timed], second[~is_timed]),
            moved_measure=moved_measure,
            moved=moved,
            kept=None if is_random else self._kept(first, before, after),
            differs=self._differs(first, second),
            explanation=None if is_random else self._explanation(first, second, before, after),
        )

    def _require_same_clips(self, baseline: str, arm: str, first: Positions, second: Positions) -> None:
        for name, numbers in self._clip.items():
            ours, theirs = numbers[first], numbers[second]
            other = (ours != theirs) & ~np.isnan(ours) & ~np.isnan(theirs)
            if not other.any():
                continue
            row = int(other.argmax())
            said = (
                f"{baseline} and {arm} are not about the same clips: {int(other.sum())} objects differ in {name}, "
                f"the first {self.data.label(first[row])} ({ours[row]:g} and {theirs[row]:g})"
            )
            if not self._options.force:
                raise RefusedError(f"refused: {said}; run both on the same split, or give --force")
            self.forced.append(f"FORCED: {said}")

    def _change(self, index: int, values: Floats, before: Floats, after: Floats, found: Estimates, is_random: bool) -> Change:
        measure = MEASURES[index]
        there = ~np.isnan(values)
        better, worse = int((values[there] > 0).sum()), int((values[there] < 0).sum())
        if not measure.higher_is_better:
            better, worse = worse, better
        low, high = found.low[index], found.high[index]
        return Change(
            measure=measure,
            baseline=self._center(measure, before[there, index]),
            arm=self._center(measure, after[there, index]),
            change=_to_change(measure, found.center[index]),
            low=None if np.isnan(low) else _to_change(measure, low),
            high=None if np.isnan(high) else _to_change(measure, high),
            pairs=int(found.objects[index]),
            videos=int(found.videos[index]),
            better=better,
            worse=worse,
            same=int(found.objects[index]) - better - worse,
            verdict=_verdict(measure, values[there], low, high, is_random),
        )

    def _moved(
        self, first: Positions, values: Floats, before: Floats, after: Floats, is_random: bool
    ) -> tuple[Measure | None, tuple[Moved, ...]]:
        """Return the objects whose J&F changed most, else J, else latency; only latency if weights are untrained."""
        for name in ("latency_ms",) if is_random else ("JandF", "J", "latency_ms"):
            index = _index(name)
            column = values[:, index]
            if np.isnan(column).all():
                continue
            sizes = np.abs(np.nan_to_num(column))
            rows = [row for row in np.argsort(-sizes, kind="stable")[: self._options.top] if sizes[row] > 0]
            measure = MEASURES[index]
            return measure, tuple(
                Moved(self.data.label(first[row]), float(before[row, index]), float(after[row, index]), _to_change(measure, column[row]))
                for row in rows
            )
        return None, ()

    def _kept(self, first: Positions, before: Floats, after: Floats) -> Kept | None:
        index = _index("JandF")
        ours, theirs = before[:, index], after[:, index]
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        if not ours[both].sum():
            return None
        video = self.data.video[first][both]
        interval = ratio_interval(theirs[both], ours[both], video, resamples=self._options.resamples, seed=self._options.seed)
        low, high = interval or (None, None)
        return Kept(float(theirs[both].sum() / ours[both].sum()), low, high, int(both.sum()), len(set(video)))

    def _explanation(self, first: Positions, second: Positions, before: Floats, after: Floats) -> Explanation | None:
        """With --explain_by, why the J&F of the pairs differs. The truth and so the attributes are the same on both sides."""
        if not self._options.explain_by:
            return None
        differences = (after - before)[:, _index("JandF")]
        of_pair = {name: np.where(np.isnan(of[first]), of[second], of[first]) for name, of in self._attributes.items()}
        scored = ~np.isnan(differences)
        known = scored & ~np.isnan(of_pair[BASIC])
        if not known.any():
            return None
        found = explain(
            differences[known],
            self.data.video[first][known],
            {name: of_pair[name][known] for name in self._options.explain_by},
            [self.data.label(row) for row in first[known]],
            resamples=self._options.resamples,
            seed=self._options.seed,
        )
        return replace(found, unattributed=int((scored & ~known).sum()))

    def _unpaired(self, baseline: str, arm: str, ours: Positions, theirs: Positions) -> tuple[tuple[Unpaired, ...], int]:
        """Group the objects that are not compared by reason, and count those for which the baseline has figures."""
        data = self.data
        reasons: dict[str, list[str]] = {}
        rows_of = {side: dict(zip(data.key[rows], rows, strict=True)) for side, rows in ((baseline, ours), (arm, theirs))}
        lost = 0
        for key in sorted(set(rows_of[baseline]) | set(rows_of[arm])):
            why = {}
            for side, rows in rows_of.items():
                row = rows.get(key)
                if row is None:
                    why[side] = "missing"
                elif not data.has_figures[row]:
                    why[side] = str(data.text["failure"][row])
            if not why:
                continue
            lost += baseline not in why
            row = rows_of[baseline][key] if key in rows_of[baseline] else rows_of[arm][key]
            reasons.setdefault(_both_sides(baseline, arm, why), []).append(data.label(row))
        return tuple(Unpaired(reason, tuple(sorted(names))) for reason, names in reasons.items()), lost

    def _untimed(self, baseline: str, arm: str, first: Positions, second: Positions) -> tuple[Unpaired, ...]:
        """Group pairs with at least one invalid row by reason."""
        reasons: dict[str, list[str]] = {}
        for one, other in zip(first, second, strict=True):
            sides = ((baseline, one), (arm, other))
            why = {side: f"invalid ({self.data.text['invalid'][row]})" for side, row in sides if not self._is_valid[row]}
            reasons.setdefault(_both_sides(baseline, arm, why), []).append(self.data.label(one))
        return tuple(Unpaired(reason, tuple(sorted(names))) for reason, names in reasons.items())

    def _differs(self, first: Positions, second: Positions) -> dict[str, tuple[str, str]]:
        differs = {}
        for name in SETTINGS:
            codes, values = self._coded[name]
            ours, theirs = (set(values[np.unique(codes[rows])]) - {UNKNOWN, NOT_APPLICABLE} for rows in (first, second))
            if ours and theirs and ours != theirs and name not in self._plan.compared:
                differs[name] = (", ".join(sorted(ours)), ", ".join(sorted(theirs)))
        return differs


def _both_sides(baseline: str, arm: str, why: dict[str, str]) -> str:
    """Format reasons as `oom in both`, `oom in A, missing in B` or `missing in B`."""
    if len(why) == 2 and why[baseline] == why[arm]:
        return f"{why[baseline]} in both"
    return ", ".join(f"{text} in {side}" for side, text in why.items())


def _index(column: str) -> int:
    return next(index for index, measure in enumerate(MEASURES) if measure.column == column)


def _verdict(measure: Measure, values: Floats, low: float, high: float, is_random: bool) -> Verdict:
    if is_random and measure.is_score:
        return "meaningless"
    if (values == 0).all():
        return "="
    if np.isnan(low):
        return "?"
    if low <= 0 <= high:
        return "~"
    return "better" if (low > 0) == measure.higher_is_better else "worse"


def _to_change(measure: Measure, value: float) -> float:
    """Convert a logarithm back to a ratio; leave a difference as it is."""
    return float(value) if measure.kind == "difference" else float(np.exp(value))


def _unknown_notes(results: Results, plan: Plan) -> list[str]:
    """Note settings that one file lacks and another has, so that readers know these were not checked."""
    notes = []
    known = {name for name in ("prompt", "imgsz", "autocast_dtype", "attention", *MUST_AGREE) if (results.rows[name] != UNKNOWN).any()}
    for label in results.labels:
        rows = results.rows[results.rows["file"] == label]
        untold: Sequence[str] = [name for name in SETTINGS if name in known and name not in plan.compared and (rows[name] == UNKNOWN).all()]
        if untold and len(results.labels) > 1:
            notes.append(f"{label} does not tell its {', '.join(untold)}: taken to agree")
    return notes
