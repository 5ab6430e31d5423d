"""Statistics of timed frames. All samples are kept; every figure is derived from them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class LatencySamples:
    """Durations in milliseconds and their statistics, which are None, never 0, without samples.

    A percentile p of n sorted samples is the value at position p / 100 * (n - 1), counted from 0 and interpolated linearly between the
    samples on both sides: method 7 of Hyndman and Fan (Sample Quantiles in Statistical Packages, 1996), which numpy calls `linear`.
    """

    def __init__(self, samples_ms: Iterable[float]) -> None:
        """
        Raises:
            ValueError: a sample is negative, infinite or not a number.
        """
        self.samples_ms = tuple(float(sample) for sample in samples_ms)
        for sample in self.samples_ms:
            if not 0 <= sample < float("inf"):
                raise ValueError(f"a latency must be a finite number of milliseconds, 0 or more, not {sample}")

    @property
    def count(self) -> int:
        return len(self.samples_ms)

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.samples_ms)) if self.samples_ms else None

    @property
    def min(self) -> float | None:
        return min(self.samples_ms, default=None)

    @property
    def max(self) -> float | None:
        return max(self.samples_ms, default=None)

    @property
    def p50(self) -> float | None:
        return self.percentile(50)

    @property
    def p90(self) -> float | None:
        return self.percentile(90)

    @property
    def p95(self) -> float | None:
        return self.percentile(95)

    @property
    def p99(self) -> float | None:
        return self.percentile(99)

    @property
    def fps(self) -> float | None:
        """Frames per second, 1000 / mean: frames over the total time. (The mean of per-frame rates would overstate it.)

        Also None if no time passed.
        """
        return 1000 / self.mean if self.mean else None

    def percentile(self, p: float) -> float | None:
        """
        Args:
            p: 0 to 100.

        Raises:
            ValueError: p is out of range.
        """
        if not 0 <= p <= 100:
            raise ValueError(f"a percentile must be 0 to 100, not {p}")
        return float(np.percentile(self.samples_ms, p, method="linear")) if self.samples_ms else None
