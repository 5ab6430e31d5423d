"""Intervals of percentiles against tables, exact probabilities and loadgen's numbers of queries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from savbench.results.quantiles import ROW_MEANINGS, early_stopping_rank, fewest_samples, interval_ranks, percentile_of, row_values


def binomial(n: int, p: float, counts: range) -> float:
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)


@pytest.mark.parametrize(
    ("samples", "ranks"),
    # David and Nagaraja's example: the median of 10 lies between the 2nd and the 9th with 97.9%; of 6, between the extremes with 96.9%
    [(5, None), (6, (1, 6)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))],
)
def test_the_interval_of_a_median_is_the_textbooks(samples: int, ranks: tuple[int, int] | None) -> None:
    assert interval_ranks(samples, 0.5) == ranks


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("samples", [40, 368, 1000])
def test_an_interval_covers_the_quantile_and_a_narrower_one_does_not(samples: int, p: float) -> None:
    ranks = interval_ranks(samples, p)
    if samples < fewest_samples(p):
        assert ranks is None
        return
    assert ranks is not None
    low, high = ranks
    assert binomial(samples, p, range(low)) <= 0.025 < binomial(samples, p, range(low + 1))
    assert binomial(samples, p, range(high, samples + 1)) <= 0.025 < binomial(samples, p, range(high - 1, samples + 1))


def test_percentiles_need_as_many_samples_as_their_tail_has() -> None:
    assert [fewest_samples(p) for p in (0.5, 0.9, 0.95, 0.99)] == [6, 36, 72, 368]
    for p in (0.5, 0.9, 0.95, 0.99):
        assert interval_ranks(fewest_samples(p), p) is not None
        assert interval_ranks(fewest_samples(p) - 1, p) is None


@pytest.mark.parametrize(("p", "queries"), [(0.9, 64), (0.99, 662)])
def test_early_stopping_needs_the_queries_that_loadgen_needs(p: float, queries: int) -> None:
    assert early_stopping_rank(queries - 1, p) is None
    assert early_stopping_rank(queries, p) == 1


def test_early_stopping_discards_what_a_binomial_allows() -> None:
    rank = early_stopping_rank(1024, 0.9)
    assert rank is not None
    assert binomial(1024, 0.1, range(rank + 1)) < 0.01 <= binomial(1024, 0.1, range(rank + 2))


def test_samples_by_hand() -> None:
    found = percentile_of([float(n) for n in range(100, 0, -1)], 50)
    assert (found.value, found.low, found.high, found.samples) == (50.5, 40, 61, 100)
    p90 = percentile_of([float(n) for n in range(1, 65)], 90)
    # 64 queries: none may be discarded, the largest is the estimate
    assert p90.early_stopping == 64
    assert p90.can_be_quoted
    p99 = percentile_of([float(n) for n in range(1, 65)], 99)
    assert (p99.low, p99.high, p99.early_stopping, p99.needed, p99.can_be_quoted) == (None, None, None, 368, False)


def test_a_row_has_only_what_its_frames_carry() -> None:
    assert row_values([]) == {}
    assert set(row_values(range(40))) == {"latency_p50_low_ms", "latency_p50_high_ms", "latency_p90_low_ms", "latency_p90_high_ms"}
    assert set(row_values(range(700))) == set(ROW_MEANINGS)


@pytest.mark.parametrize(("samples", "percent"), [([], 50), ([1.0], 0), ([1.0], 100)])
def test_what_has_no_percentile_is_refused(samples: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="give at least one"):
        percentile_of(samples, percent)


def test_coverage_does_not_depend_on_the_distribution() -> None:
    rng = np.random.default_rng(0)
    for samples, quantile in ((rng.exponential(1, (1000, 200)), math.log(10)), (rng.pareto(1.5, (1000, 200)), 10 ** (1 / 1.5) - 1)):
        found = [percentile_of(of_one, 90) for of_one in samples]
        covered = sum(one.low <= quantile <= one.high for one in found if one.low is not None and one.high is not None)
        # 0.95 less 3 standard errors of 1000 draws
        assert covered / 1000 >= 0.929
