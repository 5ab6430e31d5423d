"""How `sam2_nano` is trained: stages, rates, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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


RECIPE: tuple[Stage, ...] = (
    Stage(steps=350, side=128, frames=1, clips=16, single_frames=16, single_share=1.0, discs=True),
    Stage(steps=2050, side=128, frames=4, clips=8, single_frames=16, single_share=0.4),
    Stage(steps=350, side=128, frames=8, clips=5, single_frames=16, single_share=0.1),
    Stage(steps=420, side=192, frames=8, clips=3, single_frames=12, single_share=0.1),
    Stage(steps=110, side=192, frames=12, clips=2, single_frames=12, single_share=0.05),
)


def stage_of(recipe: Sequence[Stage], step: int) -> Stage:
    """The stage that a step belongs to, steps counted from 0."""
    for stage in recipe:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return recipe[-1]


def total_steps(recipe: Sequence[Stage]) -> int:
    return sum(stage.steps for stage in recipe)


def learning_rate(step: int, total: int, peak: float, warmup: int = 60) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    along = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * along)))


def parse_recipe(text: str) -> tuple[Stage, ...]:
    """Stages from `STEPS:SIDE:FRAMES:CLIPS:SINGLE_FRAMES:SINGLE_SHARE`, with `:discs` after a stage of discs, separated by commas.

    Raises:
        ValueError: a stage without its six numbers.
    """
    stages = []
    for part in text.split(","):
        numbers = part.split(":")
        discs = numbers[-1] == "discs"
        numbers = numbers[:-1] if discs else numbers
        if len(numbers) != 6:
            raise ValueError(f"stage {part!r}: write STEPS:SIDE:FRAMES:CLIPS:SINGLE_FRAMES:SINGLE_SHARE")
        steps, side, frames, clips, singles = (int(number) for number in numbers[:5])
        stages.append(Stage(steps, side, frames, clips, singles, float(numbers[5]), discs))
    return tuple(stages)
