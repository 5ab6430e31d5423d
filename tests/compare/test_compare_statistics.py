from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from savbench.compare.statistics import MIN_VIDEOS, _expanded_tail, default_resamples, estimate, t_quantile


def one_measure(values: list[float], videos: list[int], **options: object) -> tuple[float, float, float]:
    found = estimate(np.array(values)[:, None], np.array(videos), resamples=2000, **options)  # type: ignore[arg-type]
    return float(found.center[0]), float(found.low[0]), float(found.high[0])


def test_center_is_the_mean_over_objects_not_over_videos() -> None:
    center, low, high = one_measure([0.0, 0.0, 0.3], [7, 7, 9])
    assert center == pytest.approx(0.1)
    assert np.isnan(low)
    assert np.isnan(high)


def test_there_is_no_interval_below_the_fewest_videos() -> None:
    for videos in (1, MIN_VIDEOS - 1, MIN_VIDEOS):
        _, low, _ = one_measure([1.0, 2.0] * videos, [number // 2 for number in range(2 * videos)])
        assert np.isnan(low) == (videos < MIN_VIDEOS)


def test_objects_of_one_video_do_not_count_as_independent() -> None:
    """Ten copies of each video's object hold nothing new: the interval stays as wide as with one."""
    values = list(np.random.default_rng(0).normal(size=12))
    alone = one_measure(values, list(range(12)))
    copied = one_measure([value for value in values for _ in range(10)], [video for video in range(12) for _ in range(10)])
    assert copied == pytest.approx(alone)
    as_if_independent = one_measure([value for value in values for _ in range(10)], list(range(120)))
    assert as_if_independent[2] - as_if_independent[1] < 0.5 * (alone[2] - alone[1])


def test_interval_of_one_object_per_video_is_close_to_students() -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="needs scipy as the reference")
    for videos in (8, 30, 155):
        values = np.random.default_rng(videos).normal(1.0, 2.0, videos)
        found = estimate(values[:, None], np.arange(videos), resamples=20_000)
        half = scipy_stats.t.ppf(0.975, videos - 1) * values.std(ddof=1) / np.sqrt(videos)
        assert found.low[0] == pytest.approx(values.mean() - half, abs=0.15 * half)
        assert found.high[0] == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    trials, held = 300, 0
    for _ in range(trials):
        of_video = rng.normal(0.0, 1.0, 10)
        values = np.repeat(of_video, 3) + rng.normal(0.0, 0.5, 30)
        _, low, high = one_measure(list(values), [video for video in range(10) for _ in range(3)])
        held += low <= 0 <= high
    assert 0.90 <= held / trials <= 0.98


def test_t_quantile_against_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="needs scipy as the reference")
    for degrees in (5, 6, 10, 30, 154):
        assert t_quantile(0.975, degrees) == pytest.approx(scipy_stats.t.ppf(0.975, degrees), abs=1e-3)
    with pytest.raises(ValueError, match="5 degrees"):
        t_quantile(0.975, 4)


def test_missing_values_count_for_their_measure_alone() -> None:
    nan = float("nan")
    values = np.array([[1.0, nan], [2.0, 5.0], [3.0, nan], [nan, nan]])
    found = estimate(values, np.array([0, 0, 1, 2]))
    assert found.center.tolist() == [2.0, 5.0]
    assert found.objects.tolist() == [3, 1]
    assert found.videos.tolist() == [2, 1]
    empty = estimate(np.full((2, 1), nan), np.array([0, 1]))
    assert np.isnan(empty.center[0])
    assert empty.objects.tolist() == [0]


def test_measures_with_other_videos_get_the_interval_they_would_get_alone() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(20, 2))
    values[:5, 1] = np.nan
    videos = np.arange(20)
    both = estimate(values, videos, resamples=1000)
    alone = estimate(values[5:, 1:], videos[5:], resamples=1000)
    assert (both.low[1], both.high[1]) == (alone.low[0], alone.high[0])


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values, videos = list(np.random.default_rng(0).normal(size=30)), list(range(30))
    assert one_measure(values, videos, seed=1) == one_measure(values, videos, seed=1)
    assert one_measure(values, videos, seed=1) != one_measure(values, videos, seed=2)


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert one_measure([0.0] * 12, list(range(12))) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("objects", [7, 8])
def test_median_is_numpys_and_is_not_moved_by_an_outlier(objects: int) -> None:
    values = [float(number) for number in range(objects - 1)] + [1000.0]
    center, low, high = one_measure(values, list(range(objects)), medians=np.array([True]))
    assert center == np.median(values)
    assert low < center < high <= 1000


def test_median_of_a_draw_is_the_median_of_its_objects() -> None:
    """Against a bootstrap written out: the same draws, numpy's median."""
    rng = np.random.default_rng(5)
    videos = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3])
    values = rng.normal(size=12)
    found = estimate(values[:, None], videos, medians=np.array([True]), resamples=1000, seed=9)
    drawn = np.random.default_rng(9).integers(0, 6, size=(1000, 6))
    medians = [np.median(np.concatenate([values[videos == video] for video in draw])) for draw in drawn]
    # t of 5 degrees at 97.5% is 2.5706, from any table
    tail = NormalDist().cdf(-np.sqrt(6 / 5) * 2.5706)
    assert [found.low[0], found.high[0]] == pytest.approx(np.quantile(medians, [tail, 1 - tail]), abs=1e-3)


def test_number_of_draws_falls_with_the_number_of_videos() -> None:
    assert [default_resamples(videos) for videos in (6, 155, 1000, 50_000)] == [10_000, 10_000, 5_000, 2_000]


def test_tails_are_as_much_thinner_as_few_videos_need() -> None:
    # Phi(-sqrt(6 / 5) * 2.5706) and Phi(-sqrt(155 / 154) * 1.9755), t quantiles from a table
    assert _expanded_tail(6) == pytest.approx(0.00243, abs=2e-5)
    assert _expanded_tail(155) == pytest.approx(0.023745, abs=2e-6)
