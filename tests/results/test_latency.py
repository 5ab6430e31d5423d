"""Statistics of latency against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from savbench.results.latency import LatencySamples


def test_statistics_of_five_samples_worked_out_by_hand() -> None:
    samples = LatencySamples([40, 10, 20, 50, 30])

    assert list(samples.samples_ms) == [40, 10, 20, 50, 30]
    assert samples.count == 5
    assert samples.mean == 30
    assert samples.min == 10
    assert samples.max == 50
    assert samples.p50 == 30
    # positions among 10 20 30 40 50: 0.9 * 4 = 3.6, 0.95 * 4 = 3.8, 0.99 * 4 = 3.96
    assert samples.p90 == pytest.approx(46)
    assert samples.p95 == pytest.approx(48)
    assert samples.p99 == pytest.approx(49.6)
    assert samples.fps == pytest.approx(1000 / 30)


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert LatencySamples([1, 2, 4, 8]).p50 == 3


def test_fps_is_frames_over_time_not_the_mean_of_rates() -> None:
    # two frames in 100 ms are 20 a second; the rates 100 and 11.1 would average 55.6
    assert LatencySamples([10, 90]).fps == pytest.approx(20)


def test_one_sample_is_every_percentile_of_itself() -> None:
    samples = LatencySamples([7.5])

    assert (samples.p50, samples.p90, samples.p95, samples.p99, samples.mean, samples.min, samples.max) == (7.5,) * 7


def test_without_samples_there_is_no_figure() -> None:
    samples = LatencySamples([])

    assert samples.count == 0
    for name in ("mean", "min", "max", "p50", "p90", "p95", "p99", "fps"):
        assert getattr(samples, name) is None, name


def test_samples_of_no_time_have_no_rate() -> None:
    samples = LatencySamples([0.0, 0.0])

    assert samples.mean == 0
    assert samples.fps is None


@pytest.mark.parametrize("bad", [-0.1, math.inf, math.nan])
def test_an_impossible_sample_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite number of milliseconds"):
        LatencySamples([1.0, bad])


@pytest.mark.parametrize("bad", [-1, 100.5])
def test_a_percentile_outside_of_the_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="must be 0 to 100"):
        LatencySamples([1.0]).percentile(bad)
