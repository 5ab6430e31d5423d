"""Sequential decisions: how often they are wrong, in simulations, and what they save."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from savbench.results.decision import ALPHA, decide, fewest_videos, video_differences
from savbench.results.rows import SummaryRow

Floats = npt.NDArray[np.float64]
MARGIN = 0.1
VIDEOS, RUNS = 155, 1000


def rare_loss(rng: np.random.Generator) -> Floats:
    """An arm equal to the baseline that loses every eighth object for good: J&F 0.8, or 0. The mean of d is -0.02."""
    return np.where(rng.random(VIDEOS) < 0.125, 0.0, 0.8) - (1 - MARGIN) * 0.8


def exactly_at_the_margin(rng: np.random.Generator) -> Floats:
    """As above, every tenth: the mean of d is 0."""
    return np.where(rng.random(VIDEOS) < 0.1, 0.0, 0.8) - (1 - MARGIN) * 0.8


def skewed(rng: np.random.Generator) -> Floats:
    return np.clip(0.1 - rng.exponential(0.1, VIDEOS), -(1 - MARGIN), 1)


def answers(draw: Callable[[np.random.Generator], Floats], sign: int = 1) -> dict[str, float]:
    rng = np.random.default_rng(0)
    found = [decide(list(sign * draw(rng)), MARGIN).answer for _ in range(RUNS)]
    return {answer: found.count(answer) / RUNS for answer in ("yes", "no", "undecided")}


SLACK = 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
"""Three standard errors of a rate over so many runs."""


@pytest.mark.parametrize("draw", [rare_loss, exactly_at_the_margin, skewed], ids=lambda draw: draw.__name__)
def test_a_wrong_yes_is_as_rare_as_promised_though_every_video_is_looked_at(draw: Callable[[np.random.Generator], Floats]) -> None:
    assert answers(draw)["yes"] <= ALPHA + SLACK


@pytest.mark.parametrize("draw", [exactly_at_the_margin, skewed], ids=lambda draw: draw.__name__)
def test_a_wrong_no_is_as_rare(draw: Callable[[np.random.Generator], Floats]) -> None:
    assert answers(draw)["no"] <= ALPHA + SLACK


def test_clear_cases_are_decided_early() -> None:
    rng = np.random.default_rng(1)
    same = [decide(list((1 - (1 - MARGIN)) * rng.beta(4, 1.5, VIDEOS)), MARGIN) for _ in range(100)]
    assert {one.answer for one in same} == {"yes"}
    assert np.median([one.videos for one in same]) < VIDEOS * 2 / 3
    worse = [decide(list(rng.normal(-0.3, 0.1, VIDEOS)), MARGIN) for _ in range(100)]
    assert {one.answer for one in worse} == {"no"}
    assert max(one.videos for one in worse) < VIDEOS / 4


def test_the_fewest_videos_grow_as_the_margin_shrinks() -> None:
    needed = [fewest_videos(margin, 0.75) for margin in (0.1, 0.05, 0.01)]
    assert needed == sorted(needed)
    assert decide([0.075] * needed[0], 0.1).answer == "yes"
    assert decide([0.075] * (needed[0] - 1), 0.1).answer == "undecided"


def test_no_video_decides_nothing() -> None:
    assert decide([], 0.1).answer == "undecided"


def row(video: str, name: str, JandF: float | None) -> SummaryRow:
    return SummaryRow(video=video, object=name, JandF=JandF, status="ok" if JandF is not None else "oom")


def test_differences_are_means_over_a_videos_objects_in_running_order() -> None:
    baseline = [row("a", "0", 0.8), row("a", "1", 0.6), row("b", "0", 0.5), row("c", "0", None), row("d", "0", 0.4)]
    arm = [row("b", "0", None), row("a", "0", 0.8), row("a", "1", 0.5), row("c", "0", 0.9)]
    # b: failed, so 0 - 0.45; a: (0.8 - 0.72 + 0.5 - 0.54) / 2; c has no score to keep; d has not run yet
    assert video_differences(baseline, arm, ["b", "a", "c", "d"], 0.1) == pytest.approx([-0.45, 0.02])
