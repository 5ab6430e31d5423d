"""How `sam2_nano` is trained: rounds, stages, rates."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("drawn", "natural", "real", "figures", "clip art")
"""Of clips, in the order in which `Stage.shares` weighs them."""
_WARMUP = 60


@dataclass(frozen=True)
class Stage:
    """A stretch of training."""

    steps: int
    side: int
    """Of the model's input in pixels."""
    frames: int
    """Of each clip, where the step is not one of single frames."""
    clips: int
    """Clips in each process's share of a step."""
    single_frames: int
    """Frames in its share of a step of single frames."""
    single_share: float
    """Share of the steps that are of single frames, each object prompted twice."""
    discs: bool = False
    """Train for discs around the prompts instead of objects: the one task that cannot be solved without looking at them."""
    shares: tuple[float, ...] = ()
    """How often a clip of each of `KINDS` is drawn, kinds that the run lacks aside and those not named never; empty:
    every clip of the first three equally often."""
    click_share: float | None = None
    """Share of the steps of single frames that click, the rest give boxes; None: as many of the one as of the other."""


@dataclass(frozen=True)
class Round:
    """Stages under one schedule of the learning rate: it rises, stays at its peak and falls along half a cosine."""

    peak_lr: float
    stages: tuple[Stage, ...]
    held: int = _WARMUP
    """Steps before it falls."""

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


Recipe = tuple[Round, ...]

RECIPE: Recipe = (
    Round(
        peak_lr=1.5e-3,
        stages=(
            Stage(steps=350, side=128, frames=1, clips=16, single_frames=16, single_share=1.0, discs=True),
            Stage(steps=2050, side=128, frames=4, clips=8, single_frames=16, single_share=0.4),
            Stage(steps=350, side=128, frames=8, clips=5, single_frames=16, single_share=0.1),
            Stage(steps=420, side=192, frames=8, clips=3, single_frames=12, single_share=0.1),
            Stage(steps=110, side=192, frames=12, clips=2, single_frames=12, single_share=0.05),
        ),
    ),
    Round(
        peak_lr=1e-3,
        held=700,
        stages=(
            Stage(steps=700, side=128, frames=8, clips=5, single_frames=16, single_share=0.4, shares=(0.2, 0.4, 0.4, 0.0)),
            Stage(steps=400, side=128, frames=8, clips=5, single_frames=16, single_share=0.4, shares=(0.15, 0.2, 0.25, 0.4)),
            Stage(steps=560, side=128, frames=16, clips=3, single_frames=16, single_share=0.4, shares=(0.15, 0.2, 0.25, 0.4)),
            Stage(steps=890, side=192, frames=12, clips=2, single_frames=12, single_share=0.6, shares=(0.25, 0.15, 0.25, 0.35)),
        ),
    ),
    Round(
        peak_lr=8e-4,
        held=2800,
        stages=(
            Stage(
                steps=500, side=192, frames=12, clips=2, single_frames=12, single_share=0.6, shares=(0.2, 0.15, 0.3, 0.35), click_share=0.65
            ),
            Stage(
                steps=2900,
                side=128,
                frames=16,
                clips=3,
                single_frames=16,
                single_share=0.5,
                shares=(0.2, 0.1, 0.2, 0.2, 0.3),
                click_share=0.65,
            ),
            Stage(
                steps=4000,
                side=192,
                frames=12,
                clips=2,
                single_frames=12,
                single_share=0.6,
                shares=(0.25, 0.1, 0.2, 0.2, 0.25),
                click_share=0.65,
            ),
        ),
    ),
)


def stage_of(recipe: Sequence[Round], step: int) -> Stage:
    """The stage that a step belongs to, steps counted from 0; the last one from the end on."""
    stages = [stage for part in recipe for stage in part.stages]
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def total_steps(recipe: Sequence[Round]) -> int:
    return sum(part.steps for part in recipe)


def rate_of(recipe: Sequence[Round], step: int) -> float:
    """The learning rate of a step, steps counted from 0 and fewer than `total_steps`."""
    for part in recipe:
        if step < part.steps:
            return learning_rate(step, part.steps, part.peak_lr, part.held)
        step -= part.steps
    raise ValueError(f"the recipe ended {step + 1} steps before")


def learning_rate(step: int, total: int, peak: float, held: int = _WARMUP) -> float:
    """Linear warm-up, the peak, then from step `held` on half a cosine down to a fiftieth of the peak."""
    if step < _WARMUP:
        return peak * (step + 1) / _WARMUP
    along = min(1.0, max(0, step - held) / max(1, total - held))
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along)))


def read_recipe(path: Path) -> Recipe:
    """A recipe from a JSON file in the form in which a run's `settings.json` notes its own, under `recipe`.

    Raises:
        ValueError: the file holds none.
    """
    try:
        rounds = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        return tuple(Round(**{**part, "stages": tuple(_stage(stage) for stage in part["stages"])}) for part in rounds)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: holds no recipe ({error}); copy settings.json of a run and change it") from error


def _stage(values: dict[str, object]) -> Stage:
    stage = Stage(**{**values, "shares": tuple(values.get("shares", ()))})  # type: ignore[arg-type]
    if len(stage.shares) > len(KINDS):
        raise ValueError(f"shares {stage.shares}: one for each of {', '.join(KINDS)} at most")
    return stage
