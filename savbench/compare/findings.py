"""Results of a comparison as plain data, shown by the tables, the exports and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.compare.references import ReferenceLine, SpeedLine
    from savbench.results.measures import Measure
    from savbench.results.quantiles import Percentile
    from savbench.results.scores import ObjectMeans

Verdict = Literal["better", "worse", "~", "=", "?", "meaningless"]
"""`~`: the interval includes no change; `=`: all pairs are equal; `?`: no interval, too few videos; `meaningless`: untrained weights."""


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        by: columns whose values are compared; empty compares the files, or the first setting that varies in a single file.
        baseline: label of the arm to compare the others with; None takes the first.
        force: compare arms that differ in other settings too, and include the times of rows marked invalid.
        center: average of the changes of times over objects: geometric mean or median.
        resamples: number of bootstrap draws; None chooses it from the number of videos.
        seed: seed of the bootstrap.
        top: number of objects with the largest change to keep.
    """

    by: tuple[str, ...] = ()
    baseline: str | None = None
    force: bool = False
    center: Literal["mean", "median"] = "mean"
    resamples: int | None = None
    seed: int = 0
    top: int = 5


@dataclass(frozen=True)
class Change:
    """Change of one measure between the baseline and an arm, over the objects for which both have it.

    Attributes:
        baseline, arm: mean for scores; geometric mean or median for other measures.
        change: arm minus baseline for a difference, arm divided by baseline for a ratio.
        low, high: ends of the 95% interval; None if there are too few videos.
        pairs, videos: number of objects with a figure on both sides, and of their videos.
        better, worse, same: number of objects on which the arm's figure is better than, worse than and equal to the baseline's.
    """

    measure: Measure
    baseline: float
    arm: float
    change: float
    low: float | None
    high: float | None
    pairs: int
    videos: int
    better: int
    worse: int
    same: int
    verdict: Verdict


@dataclass(frozen=True)
class Unpaired:
    """Objects left out because at least one side has no usable row."""

    reason: str
    """`missing in X`, `oom in X`, `invalid (throttled) in X`, ..."""
    objects: tuple[str, ...]
    """VIDEO/OBJECT of each."""


@dataclass(frozen=True)
class Moved:
    """An object, its figures on both sides, and the change."""

    object: str
    baseline: float
    arm: float
    change: float


@dataclass(frozen=True)
class Kept:
    """Share of the baseline's mean J&F that an arm keeps, over the objects that both have a score of.

    Attributes:
        share: the arm's mean over the baseline's.
        low, high: ends of the 95% interval; None if there are too few videos.
    """

    share: float
    low: float | None
    high: float | None
    objects: int
    videos: int


@dataclass(frozen=True)
class PairComparison:
    """An arm against the baseline within one block.

    Attributes:
        pairs: number of objects with figures on both sides.
        lost: number of objects for which the baseline has figures and the arm has none.
        unpaired: objects that are not compared.
        untimed: objects for which only scores are compared, since a row is invalid.
        moved_measure: measure that `moved` is about; None if no measure applies.
        moved: objects with the largest change.
        kept: None without scores, or if the weights are untrained.
        differs: settings that differ and are not compared: values of baseline and arm by column.
    """

    baseline: str
    arm: str
    pairs: int
    videos: int
    lost: int
    changes: tuple[Change, ...]
    unpaired: tuple[Unpaired, ...]
    untimed: tuple[Unpaired, ...]
    moved_measure: Measure | None
    moved: tuple[Moved, ...]
    kept: Kept | None
    differs: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class ArmSummary:
    """Figures of one arm within one block, as `savbench.results.figures` defines them, over the objects that all arms of the block have.

    Attributes:
        is_reference: a model to which the compared setting does not apply; its figures are shown beside the arms'.
        counts: number of rows by status; `invalid` for rows of which only the scores count.
        figures: figures by column of `MEASURES`, without the scores.
        peak_MiB: largest memory peak of any valid row in MiB, of the whole board if known, else of the GPU, else of the process.
        means: mean scores as the official evaluator computes them; None without scores.
        scored, timed: number of objects behind the scores and behind the other means.
        percentiles: percentiles of all timed frames with their intervals, by column; empty without the frames' latencies.
        pools_frames: percentiles are over all timed frames, not means of the objects' percentiles.
        random: the weights are untrained, so scores mean nothing.
        settings: the value of every setting that the arm's rows share.
        power_w: mean power over the timed seconds; None if it was not read.
        streaming_device: device on which streaming latencies were measured; empty if there are none or several devices.
        speeds: reference speeds of the model on the arm's board.
    """

    arm: str
    is_baseline: bool
    is_reference: bool
    counts: dict[str, int]
    videos: int
    figures: dict[str, float]
    peak_MiB: float | None
    peak_kind: str
    means: ObjectMeans | None
    scored: int
    timed: int
    percentiles: Mapping[str, Percentile]
    pools_frames: bool
    random: bool
    reference: ReferenceLine | None
    settings: dict[str, str] = field(default_factory=dict)
    power_w: float | None = None
    streaming_device: str = ""
    speeds: tuple[SpeedLine, ...] = ()


@dataclass(frozen=True)
class BlockComparison:
    """Arms that agree in `setting`. Has no comparisons if there is one arm or the baseline is missing.

    Attributes:
        arms: the arms, followed by the references.
        notes: which objects the figures cover, if the arms have different objects.
    """

    setting: dict[str, str]
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[PairComparison, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        compared: columns whose values are the arms.
        forced: differences that --force overrode; print them above every table.
        notes: notes about the files and the pairing.
    """

    compared: tuple[str, ...]
    options: Options
    blocks: tuple[BlockComparison, ...]
    forced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
