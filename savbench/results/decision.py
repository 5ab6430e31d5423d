"""Decide from one video after another whether an arm keeps a share of the baseline's J&F, and stop as soon as that is decided.

For a margin m, video t gives d_t, the mean over its objects of (arm - (1 - m) baseline), which lies between -(1 - m) and 1. The arm keeps
the share if the mean of d over videos is 0 or more. A bettor who believes otherwise cannot be refuted by a lucky moment: against "the mean
is 0 or less", capital that starts at 1 and is multiplied by 1 + b d_t with every video has an expectation of 1 or less, so that it ever
reaches 1 / alpha with probability alpha or less (Ville's inequality), however often one looks and whatever the distribution of d. The
capital here is split evenly over a grid of stakes b. This is testing by betting of a bounded mean: Waudby-Smith and Ramdas, "Estimating
means of bounded random variables by betting" (JRSS B 2024). The other direction bets on -d.

It assumes that videos are drawn at random, not that differences are normal. That has a price: a rare total loss cannot be excluded sooner,
so that a margin m takes at least about ln(1 / alpha) / m videos, even if the arms agree in every mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from savbench.results.rows import SummaryRow

ALPHA = 0.025
"""Probability of a wrong decision, in each direction, over all looks together; as a two-sided interval of 95% looked at once."""
_STAKES = np.linspace(0.05, 0.95, 19)
"""Stakes as a share of the largest, at which the worst video would take all capital."""

Answer = Literal["yes", "no", "undecided"]


@dataclass(frozen=True)
class Decision:
    """Whether the arm keeps the share, after so many videos."""

    answer: Answer
    videos: int
    """Videos that it took; all that were given if undecided."""


def decide(differences: Sequence[float], margin: float) -> Decision:
    """Look after every video, and stop at the first at which the question is decided.

    Args:
        differences: d of each video, in random order.
        margin: share of the baseline's J&F that the arm may lose, 0 to 1.
    """
    keeps, loses = np.zeros(_STAKES.size), np.zeros(_STAKES.size)
    limit = math.log(_STAKES.size / ALPHA)
    for videos, d in enumerate(differences, start=1):
        keeps += np.log1p(_STAKES / (1 - margin) * d)
        loses += np.log1p(-_STAKES * d)
        for answer, capital in (("yes", keeps), ("no", loses)):
            if np.logaddexp.reduce(capital) >= limit:
                return Decision(answer, videos)  # type: ignore[arg-type]
    return Decision("undecided", len(differences))


def fewest_videos(margin: float, score: float) -> int:
    """Videos after which identical arms with this J&F are found to keep the share."""
    d = margin * score
    count = 1
    while decide([d] * count, margin).answer != "yes":
        count *= 2
    return decide([d] * count, margin).videos


def video_differences(baseline: Iterable[SummaryRow], arm: Iterable[SummaryRow], videos: Sequence[str], margin: float) -> list[float]:
    """d of each video that both arms have finished, in the order of `videos`; see the module's docstring.

    An object that the baseline has a score of and the arm failed on counts as J&F 0; one without a score of the baseline is left out.

    Args:
        baseline, arm: rows of the two arms.
        videos: in the order in which they were run.
    """
    theirs = {(row.video, row.object): row for row in arm}
    of_video: dict[str, list[float]] = {}
    for row in baseline:
        other = theirs.get((row.video, row.object))
        if row.JandF is None or other is None:
            continue
        of_video.setdefault(row.video, []).append((other.JandF or 0.0) - (1 - margin) * row.JandF)
    return [float(np.mean(of_video[video])) for video in videos if video in of_video]
