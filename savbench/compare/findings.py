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
        explain_by: attributes by which to explain the change of J&F; empty explains nothing.
    """

    by: tuple[str, ...] = ()
    baseline: str | None = None
    force: bool = False
    center: Literal["mean", "median"] = "mean"
    resamples: int | None = None
    seed: int = 0
    top: int = 5
    explain_by: tuple[str, ...] = ()


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
class BinChange:
    """Change of J&F over the objects in one bin of an attribute.

    Attributes:
        change: mean difference over the bin's objects.
        low, high: ends of its 95% interval; None if the bin has too few videos to quote it.
        carries: the part of the change over all objects that comes from the bin's; the parts of an attribute sum to the change.
        share: the same over the change; None if that is 0.
    """

    label: str
    objects: int
    videos: int
    change: float
    low: float | None
    high: float | None
    carries: float
    share: float | None


@dataclass(frozen=True)
class AttributeEffect:
    """How far an attribute explains why objects differ in their change.

    Attributes:
        explained: share of the variance of the objects' differences between the bins; None if it was not tested.
        by_chance: mean of that share over the permutations.
        p: of the permutation test, adjusted by Holm's method for the number of attributes; None if it was not tested.
    """

    attribute: str
    bins: tuple[BinChange, ...]
    explained: float | None
    by_chance: float | None
    p: float | None


@dataclass(frozen=True)
class Deciding:
    """An object that decides, its difference, and the change that is left without it and those before it, with its interval."""

    object: str
    change: float
    left: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Explanation:
    """Why the J&F of two arms differs; `savbench.compare.explaining` has the methods.

    Attributes:
        change: mean difference over objects; `low` and `high` are the ends of its 95% interval, None if there are too few videos.
        best: the attribute that explains the differences best; empty if none does.
        permutations: number of permutations; 0 if nothing was tested.
        deciding: the objects that decide, the most influential first.
        unattributed: objects left out because their rows have no attributes.
    """

    change: float
    low: float | None
    high: float | None
    objects: int
    videos: int
    effects: tuple[AttributeEffect, ...]
    best: str
    permutations: int
    deciding: tuple[Deciding, ...]
    unattributed: int = 0

    @property
    def is_shown(self) -> bool:
        """Whether the interval of the change excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def sign_turns_after(self) -> int | None:
        """Number of deciding objects without which the change has no longer its sign; None if it keeps it without all of them."""
        return next((place for place, one in enumerate(self.deciding, start=1) if one.left * self.change <= 0), None)

    @property
    def undecided_after(self) -> int | None:
        """Number of deciding objects without which the interval spans 0 or is missing; None if it never does, or did at first."""
        if not self.is_shown:
            return None
        numbered = enumerate(self.deciding, start=1)
        return next((place for place, one in numbered if one.low is None or one.high is None or one.low <= 0 <= one.high), None)


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
        explanation: None if it was not asked for, or if there are no scores of trained weights with attributes.
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
    explanation: Explanation | None = None


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
