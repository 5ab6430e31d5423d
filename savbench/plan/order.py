"""In which order arms run over targets.

Sequential: an arm runs over everything, then the next. Whatever changes while the run goes on, the temperature of the room, the fan, other
programs, then speaks for one arm and against another.

Interleaved: the arms take turns, a video each, and every second round goes backwards: A B, B A, A B. A drift that is linear in time then
falls on all arms alike, and the arm that ends a round begins the next, so that with two arms a turn after the first is two videos long. A
turn has a worker process of its own, for with the workers kept alive the memory and the idle clocks of one arm would be in the figures of
another. So the model is built once in a turn instead of once in a run: of N videos and A arms about N * (A - 1) builds, where
sequential has A; with one arm both are the same.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.data.dataset import Target

Runs = TypeVar("Runs")
"""What takes turns: an arm, or arms that share their sessions."""


@dataclass(frozen=True)
class Turn(Generic[Runs]):
    """What one worker process is to do."""

    arm: Runs
    targets: tuple[Target, ...]


def turns(arms: Sequence[Runs], targets: Sequence[Target], order: str) -> list[Turn[Runs]]:
    """Every arm over every target, in the order of `savbench.plan.settings.ORDERS`. Targets of one video stand together."""
    if order == "sequential":
        return [Turn(arm, tuple(targets)) for arm in arms]
    planned: list[Turn[Runs]] = []
    for number, (_, of_video) in enumerate(itertools.groupby(targets, key=lambda target: target.video)):
        video = tuple(of_video)
        for arm in reversed(arms) if number % 2 else arms:
            if planned and planned[-1].arm is arm:
                planned[-1] = Turn(arm, (*planned[-1].targets, *video))
            else:
                planned.append(Turn(arm, video))
    return planned
