"""The order in which arms run over targets.

Sequential: an arm runs over all targets, then the next arm does. A change during the run (room temperature, fan, other programs) then
favours one arm over another.

Interleaved: the arms take turns, one video each, and every second round runs backwards: A B, B A, A B. A drift that is linear in time
then affects all arms equally. The arm that ends a round begins the next, so with two arms every turn after the first is two videos long.
Each turn has its own worker process: if idle workers stayed alive, the memory and idle clocks of one arm would show in the figures of
another. The model is therefore built once per turn instead of once per run: about N * (A - 1) builds for N videos and A arms, where
sequential needs A; with one arm both need one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.data.dataset import Target

Runs = TypeVar("Runs")
"""What takes turns: an arm, or a group of arms that share sessions."""


@dataclass(frozen=True)
class Turn(Generic[Runs]):
    """Targets that one worker process runs for one arm."""

    arm: Runs
    targets: tuple[Target, ...]


def turns(arms: Sequence[Runs], targets: Sequence[Target], order: str) -> list[Turn[Runs]]:
    """Every arm over every target, in the order of --order. Targets of one video must be adjacent."""
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
