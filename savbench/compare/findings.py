"""What a comparison finds: plain data, which the tables, the exports and the report show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from savbench.compare.references import ReferenceLine
    from savbench.results.measures import Measure
    from savbench.results.scores import ObjectMeans

Verdict = Literal["better", "worse", "~", "=", "?", "meaningless"]
"""`~`: the interval spans no difference; `=`: all pairs are equal; `?`: no interval, too few videos; `meaningless`: untrained weights."""


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        by: columns whose values are compared; empty compares the files, or what varies in a single one.
        baseline: label of the arm that the others are set against; None takes the first.
        force: compare what differs in settings that are not compared, and take in the times of rows that are marked invalid.
        center: of the changes of times over objects.
        resamples: draws of the bootstrap; None lets their number fall with the number of videos.
        top: how many of the objects that moved most to keep.
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
    """One measure of an arm against the baseline, over the objects for which both have it.

    Attributes:
        baseline, arm: mean of a score; geometric mean, or median, of the others.
        change: arm minus baseline for a difference, arm over baseline for a ratio.
        low, high: 95% interval; None where there are too few videos.
        pairs, videos: objects that both sides have a figure for, and videos they come from.
        better, worse, same: objects on which the arm's figure is better than, worse than and equal to the baseline's.
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
    """Rows that count on one side only, or on neither."""

    reason: str
    """`missing in X`, `oom in X`, `invalid (throttled) in X`, ..."""
    objects: tuple[str, ...]
    """VIDEO/OBJECT of each."""


@dataclass(frozen=True)
class Moved:
    """An object and its figure on both sides."""

    object: str
    baseline: float
    arm: float
    change: float


@dataclass(frozen=True)
class PairComparison:
    """An arm against the baseline within one block.

    Attributes:
        pairs: objects that both sides have figures of.
        lost: objects that the baseline has figures of and the arm has not.
        unpaired: objects that are not compared.
        untimed: objects of which only the scores are compared, since a row is not valid.
        differs: circumstances that differ and are not compared: column to the values of baseline and arm.
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
    differs: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class ArmSummary:
    """Figures of one arm within one block, as `savbench.results.figures` defines them, over the objects that all arms of the block have.

    Attributes:
        is_reference: a model that has no use for what is compared; its figures stand beside those of the arms.
        counts: rows by status; `invalid` for rows of which only the scores count.
        figures: by column of `MEASURES`, without the scores.
        peak_MiB: the largest of any valid row, of the whole board where it is known, else of the GPU, else of the process.
        means: of the scores, as the official evaluator takes them; None without scores.
        scored, timed: objects that the scores and the other means are over.
        pools_frames: the percentiles are over all timed frames, not means of the objects' percentiles.
        random: the weights are untrained, so that scores mean nothing.
        streaming_device: what the streaming latencies were measured on; empty where nothing was streamed, or on several.
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
    pools_frames: bool
    random: bool
    reference: ReferenceLine | None
    streaming_device: str = ""


@dataclass(frozen=True)
class BlockComparison:
    """Arms that agree in `setting`. Without comparisons where there is one arm or the baseline is not among them.

    Attributes:
        arms: with the references behind them.
        notes: which objects the figures of the arms are over, where the arms have different ones.
    """

    setting: dict[str, str]
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[PairComparison, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        forced: differences that were overridden; belongs above every table.
        notes: about the files and the pairing.
    """

    compared: tuple[str, ...]
    options: Options
    blocks: tuple[BlockComparison, ...]
    forced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
