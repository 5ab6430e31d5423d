"""Percentiles that can be quoted: with an interval that assumes no distribution, or none if there are too few samples.

The p-quantile q of independent samples lies between two of the sorted samples, x_(l) and x_(u), unless too many samples fell on one side of
it: the number of samples up to q is binomial with n and p, whatever their distribution (David and Nagaraja, "Order Statistics", 2003,
7.1). Few samples have no upper end: even the largest of n lies under q with probability p^n. p90 needs 36 samples, p99 needs 368.

`early_stopping` is the estimate of MLPerf Inference's single-stream scenario (loadgen/early_stopping.cc and results.cc, tolerance 0): a
sample that is at or above the quantile with 99% confidence.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LEVEL = 0.95
"""Probability with which an interval covers the quantile, at least; half of the rest on either side, at most."""
EARLY_STOPPING_CONFIDENCE = 0.99
TOO_SMALL = "n too small"
QUOTED = (50, 90, 95, 99)
"""Percentiles with an interval in a row."""
EARLY_STOPPING_PERCENTILES = (90, 99)


@dataclass(frozen=True)
class Percentile:
    """A percentile of samples in ms.

    Attributes:
        value: with linear interpolation, as numpy's default.
        low, high: ends of the interval at `LEVEL`; None if there are too few samples.
        early_stopping: MLPerf's estimate of its percentiles, 90 and 99; None if there are too few samples.
        samples: their number.
        needed: the fewest samples for an interval.
    """

    percent: float
    value: float
    low: float | None
    high: float | None
    early_stopping: float | None
    samples: int
    needed: int

    @property
    def can_be_quoted(self) -> bool:
        return self.low is not None

    def shown(self, number: Callable[[float], str]) -> str:
        """The value as text by `number`; with too few samples, `n<368`, for which `described` has words."""
        return number(self.value) if self.can_be_quoted else f"n<{self.needed}"

    def described(self, number: Callable[[float], str]) -> str:
        """As `p90 12.1 ms [11.8, 12.6], early stopping 12.7`, or how many frames are missing."""
        if self.low is None or self.high is None:
            return f"p{self.percent:g} {TOO_SMALL} ({self.samples} frames, {self.needed} needed)"
        text = f"p{self.percent:g} {number(self.value)} ms [{number(self.low)}, {number(self.high)}]"
        return text if self.early_stopping is None else f"{text}, early stopping {number(self.early_stopping)}"


def percentile_of(samples_ms: Sequence[float] | Floats, percent: float) -> Percentile:
    """A percentile with its interval.

    Args:
        samples_ms: at least one, in any order.
        percent: above 0 and under 100.

    Raises:
        ValueError: there is no sample, or the percentile is out of range.
    """
    ordered = np.sort(np.asarray(samples_ms, np.float64))
    if not ordered.size or not 0 < percent < 100:
        raise ValueError(f"p{percent:g} of {ordered.size} samples: give at least one, and a percentile between 0 and 100")
    ranks, discarded = interval_ranks(ordered.size, percent / 100), early_stopping_rank(ordered.size, percent / 100)
    return Percentile(
        percent=percent,
        value=float(np.percentile(ordered, percent)),
        low=None if ranks is None else float(ordered[ranks[0] - 1]),
        high=None if ranks is None else float(ordered[ranks[1] - 1]),
        early_stopping=None if discarded is None or percent not in EARLY_STOPPING_PERCENTILES else float(ordered[-discarded]),
        samples=int(ordered.size),
        needed=fewest_samples(percent / 100),
    )


def row_values(samples_ms: Sequence[float] | Floats) -> dict[str, float]:
    """The values of a row's cell `latency_intervals`, by name; without those that the samples cannot carry."""
    if not len(samples_ms):
        return {}
    found: dict[str, float] = {}
    for percent in QUOTED:
        percentile = percentile_of(samples_ms, percent)
        if percentile.low is not None and percentile.high is not None:
            found |= {f"latency_p{percent}_low_ms": percentile.low, f"latency_p{percent}_high_ms": percentile.high}
        if percentile.early_stopping is not None:
            found[f"latency_p{percent}_early_stopping_ms"] = percentile.early_stopping
    return found


ROW_MEANINGS = {
    **{
        f"latency_p{percent}_{end}_ms": f"{which} end of the {LEVEL:.0%} interval of latency_p{percent}_ms. Missing: too few frames, "
        "do not quote it."
        for percent in QUOTED
        for end, which in (("low", "Lower"), ("high", "Upper"))
    },
    **{
        f"latency_p{percent}_early_stopping_ms": f"MLPerf's early-stopping estimate of the {percent}th percentile: with "
        f"{EARLY_STOPPING_CONFIDENCE:.0%} confidence not below it."
        for percent in EARLY_STOPPING_PERCENTILES
    },
}


def fewest_samples(p: float) -> int:
    """The fewest samples with an interval for the p-quantile, 0 < p < 1: p^n and (1 - p)^n are (1 - LEVEL) / 2 or less."""
    return math.ceil(math.log((1 - LEVEL) / 2) / math.log(max(p, 1 - p)))


@functools.lru_cache(maxsize=256)
def interval_ranks(samples: int, p: float) -> tuple[int, int] | None:
    """Ranks, from 1 for the smallest, of the samples that bound the p-quantile; None if there are too few samples."""
    tail = (1 - LEVEL) / 2
    at_most = _binomial_cdf(samples, p)
    # x_(l) is above the quantile if at most l - 1 samples are up to it; x_(u) is under it if u or more are
    low = int(np.searchsorted(at_most, tail, side="right"))
    high = int(np.searchsorted(at_most, 1 - tail, side="left")) + 1
    return (low, high) if low >= 1 and high <= samples else None


@functools.lru_cache(maxsize=256)
def early_stopping_rank(samples: int, p: float) -> int | None:
    """Rank, from 1 for the largest, of MLPerf's estimate: as many samples may be over the quantile. None if there are too few samples."""
    over = int(np.searchsorted(_binomial_cdf(samples, 1 - p), 1 - EARLY_STOPPING_CONFIDENCE, side="left")) - 1
    return over if over >= 1 else None


def _binomial_cdf(trials: int, p: float) -> Floats:
    """(trials + 1,), the probability of at most k successes."""
    k = np.arange(1, trials + 1, dtype=np.float64)
    logs = np.cumsum(np.log(trials - k + 1) - np.log(k)) + k * (math.log(p) - math.log1p(-p))
    of_none = trials * math.log1p(-p)
    cdf: Floats = np.cumsum(np.exp(np.concatenate([[0.0], logs]) + of_none))
    return cdf
