"""Figures of an arm, each defined once for the closing table, compare and the report.

J, F, J&F       mean over objects, as in the official evaluator
FPS             timed frames over timed seconds, all objects together; the mean latency is its inverse
percentiles     over all timed frames; without frame latencies, the mean over objects of each object's percentile
energy          joules over timed frames, FPS/W timed frames over joules
memory          the largest peak of any object
others          mean over objects: measures of failure, streaming figures, setup

An invalid time says nothing about the masks, so an invalid row keeps its scores and loses all other figures. Means are taken over the
objects that all compared arms have, so that no arm looks better because it lacks an object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from savbench.results.measures import MEASURES, PEAKS, SCORES
from savbench.results.numbers import number
from savbench.results.quantiles import Percentile, percentile_of
from savbench.results.scores import ObjectMeans, ObjectScore, dataset_means

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from savbench.results.measures import Measure

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Key = tuple[str, str]
"""Video and object."""

MOST_NAMES = 5


@dataclass(frozen=True)
class Peak:
    """Peak memory as reported.

    Attributes:
        MiB: the largest peak of any object.
        kind: `board` if CPU and GPU share memory, else `GPU` (torch's allocations) or `RSS` (the process).
    """

    MiB: float
    kind: str


@dataclass(frozen=True)
class ArmFigures:
    """Figures of one arm.

    Attributes:
        means: mean scores; None without scores.
        values: by column of `MEASURES`, except the scores; unknown values are left out.
        peak: None if no valid row has one.
        percentiles: percentiles of all timed frames with their intervals, by column; empty without the frames' latencies.
        scored, timed: number of objects behind the scores and behind the other means.
        has_frames: whether the percentiles are over all timed frames.
    """

    means: ObjectMeans | None
    values: Mapping[str, float]
    peak: Peak | None
    percentiles: Mapping[str, Percentile]
    scored: int
    timed: int
    has_frames: bool


@dataclass(frozen=True)
class SameObjects:
    """The objects that several arms have in common.

    Attributes:
        objects: objects that all arms (without empty ones) have; None if there are none: every arm then keeps its own.
        lacking: for each object that only some arms have, the arms that lack it.
    """

    objects: frozenset[Key] | None
    lacking: Mapping[Key, tuple[str, ...]]

    @classmethod
    def of(cls, objects_of_arm: Mapping[str, Collection[Key]]) -> SameObjects:
        """
        Args:
            objects_of_arm: by the arm's name; arms without objects are ignored.
        """
        there = {arm: set(objects) for arm, objects in objects_of_arm.items() if objects}
        if not there:
            return cls(None, {})
        all_of_them = set.union(*there.values())
        common = set.intersection(*there.values())
        lacking = {key: tuple(arm for arm, objects in there.items() if key not in objects) for key in sorted(all_of_them - common)}
        return cls(frozenset(common) if common else None, lacking)

    def __contains__(self, key: Key) -> bool:
        return self.objects is None or key in self.objects

    def describe(self, what: str) -> str:
        """One line that names the objects that the arms do not share; empty if they share all."""
        if not self.lacking:
            return ""
        if self.objects is None:
            return f"{what}: no object is in all arms; each arm's figures cover its own objects and cannot be compared"
        ways: dict[tuple[str, ...], list[str]] = {}
        for (video, name), arms in self.lacking.items():
            ways.setdefault(arms, []).append(f"{video}/{name}")
        left_out = "; ".join(f"{_some(names)} not in {_some(arms)}" for arms, names in ways.items())
        count = len(self.objects)
        return f"{what}: over the {count} object{'' if count == 1 else 's'} that all arms have; left out: {left_out}"


def kinds_of_frames(values: Mapping[str, float]) -> str:
    """Say, of an arm with --keyframe, what its percentiles mix; empty for other arms.

    Args:
        values: as in `ArmFigures`.
    """
    key, between = values.get("key_latency_p50_ms"), values.get("between_latency_p50_ms")
    if key is None and between is None:
        return ""
    shown = ", ".join(
        f"p50 {number(ms)} ms {of}" for ms, of in ((key, "of those that the model saw"), (between, "of those between")) if ms is not None
    )
    return f"its percentiles mix two kinds of frames: {shown}"


def arm_figures(
    column: Callable[[str], Floats], *, scored: Flags, valid: Flags, timed: Flags, samples_ms: Sequence[float] | Floats | None
) -> ArmFigures:
    """The figures of one arm.

    Args:
        column: returns (rows,) float64 for a column's name, NaN if missing; rows ordered by video and object, since the order affects the
                    last bit of means.
        scored: (rows,), rows whose scores count.
        valid: (rows,), rows whose memory counts.
        timed: (rows,), rows whose times and power count.
        samples_ms: latencies of the timed frames of these rows; None if not available.
    """
    J, F, JandF = (column(name) for name in SCORES)
    scored = scored & ~(np.isnan(J) | np.isnan(F) | np.isnan(JandF))
    scores = [ObjectScore(J=j, F=f, JandF=jf, frames_scored=0) for j, f, jf in zip(J[scored], F[scored], JandF[scored], strict=True)]
    samples = None if samples_ms is None or not len(samples_ms) else np.asarray(samples_ms, np.float64)
    values = {}
    percentiles = {m.column: percentile_of(samples, m.percentile) for m in MEASURES if samples is not None and m.percentile is not None}
    for measure in MEASURES:
        if measure.column in SCORES:
            continue
        counts = timed if measure.needs_valid_time else scored
        value = _value(measure, column, valid if measure.pooling == "largest" else counts)
        if measure.column in percentiles:
            value = percentiles[measure.column].value
        if not math.isnan(value):
            values[measure.column] = value
    peak = next((Peak(values[name], kind) for name, kind in PEAKS.items() if name in values), None)
    return ArmFigures(
        means=dataset_means(scores) if scores else None,
        values=values,
        peak=peak,
        percentiles=percentiles,
        scored=int(scored.sum()),
        timed=int((timed & ~np.isnan(frame_ms(column))).sum()),
        has_frames=samples is not None,
    )


def frame_ms(column: Callable[[str], Floats]) -> Floats:
    """(rows,), mean time of a frame in ms; computed from fps if a file of an older tool has no latency."""
    latency_ms, fps = column("latency_ms"), column("fps")
    return np.where(np.isnan(latency_ms) & (fps > 0), 1000 / np.where(fps > 0, fps, np.nan), latency_ms)


def timed_frames(column: Callable[[str], Floats]) -> Floats:
    """(rows,), weight of each row: its timed frames, or 1 if the file does not have them."""
    frames = column("frames")
    return np.where(np.isnan(frames), 1.0, frames)


def pooled_fps(frames: Floats, ms: Floats) -> float:
    """Timed frames over timed seconds.

    Args:
        frames: (rows,), timed frames.
        ms: (rows,), mean time of a frame in ms.

    Returns:
        Frames per second; NaN if no time was measured.
    """
    total_ms = float((frames * ms).sum())
    return 1000 * float(frames.sum()) / total_ms if total_ms > 0 else math.nan


def _value(measure: Measure, column: Callable[[str], Floats], counts: Flags) -> float:
    values = frame_ms(column) if measure.column in ("fps", "latency_ms") else column(measure.column)
    there = counts & ~np.isnan(values)
    if not there.any():
        return math.nan
    values, frames = values[there], timed_frames(column)[there]
    if measure.column == "fps":
        return pooled_fps(frames, values)
    if measure.pooling == "largest":
        return float(values.max())
    if measure.pooling == "frames":
        return float(np.average(values, weights=frames)) if frames.sum() else float(values.mean())
    if measure.pooling == "rate":
        per_frame = float((frames[values > 0] / values[values > 0]).sum())
        return float(frames[values > 0].sum()) / per_frame if per_frame else math.nan
    return float(values.mean())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
