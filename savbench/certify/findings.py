"""What the comparison of two models found, without torch: errors of stages, where they first leave their bound, whether they grow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORCED, FREE = "forced", "free"
GROWS_FROM = 2.0
"""Ratio from which an error counts as growing: over a clip, errors of single frames scatter by less than that."""
FEWEST_FRAMES = 6
"""Tracked frames that a statement about growth needs, two thirds of which are compared."""


@dataclass
class StageError:
    """Error of one stage on one frame."""

    frame: int
    """Frame of the clip."""
    mode: str
    """`forced` or `free`."""
    stage: str
    error: float
    """Relative, see `savbench.certify.forcing.compare_outputs`; infinite if the candidate's outputs are not finite."""
    finite: bool = True
    decisions: int = 0
    """Decisions of the mask decoder that differ: whether the object is there, and which mask is best."""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "error": self.error if math.isfinite(self.error) else None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StageError:
        return cls(**{**data, "error": math.inf if data["error"] is None else data["error"]})


@dataclass(frozen=True)
class ObjectFindings:
    """One object of one clip."""

    video: str
    object: str
    errors: tuple[StageError, ...]
    """In the order of the calls, first teacher-forced, then free-running."""
    mask_ious: tuple[float, ...]
    """IoU of the two models' masks, by tracked frame, free-running."""
    reference_JandF: float | None = None
    candidate_JandF: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "errors": [error.to_json() for error in self.errors], "mask_ious": list(self.mask_ious)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ObjectFindings:
        errors = tuple(StageError.from_json(error) for error in data["errors"])
        return cls(**{**data, "errors": errors, "mask_ious": tuple(data["mask_ious"])})


@dataclass(frozen=True)
class Beyond:
    """A stage that left its bound."""

    where: str
    """VIDEO/OBJECT."""
    error: StageError


def errors_of(found: Sequence[ObjectFindings], mode: str, stage: str) -> list[StageError]:
    """Errors of one stage over all objects."""
    return [error for one in found for error in one.errors if (error.mode, error.stage) == (mode, stage)]


def first_beyond(found: Sequence[ObjectFindings], bounds: Mapping[str, float], stage: str | None = None) -> Beyond | None:
    """The first teacher-forced error beyond its stage's bound, in the order of objects, frames and calls; of one stage, or of any."""
    for one in found:
        for error in one.errors:
            if error.mode == FORCED and stage in (None, error.stage) and not error.error <= bounds[error.stage]:
                return Beyond(f"{one.video}/{one.object}", error)
    return None


def growth(found: Sequence[ObjectFindings]) -> float | None:
    """How the error that the memory adds changes over a clip: the ratio of the last third of the tracked frames to the first.

    What the memory adds on a frame is the free-running error of what is remembered of it, the memory encoder's output, over its
    teacher-forced error there; so a scene that becomes harder does not count as growth. Median over a third's frames, then over objects.
    None without enough frames, or without an error.
    """
    ratios = []
    for one in found:
        by_frame = {mode: {e.frame: e.error for e in errors_of([one], mode, "memory_encoder")} for mode in (FORCED, FREE)}
        frames = sorted(set(by_frame[FORCED]) & set(by_frame[FREE]))[1:]
        added = [by_frame[FREE][frame] / by_frame[FORCED][frame] for frame in frames if by_frame[FORCED][frame] > 0]
        third = len(added) // 3
        if len(added) >= FEWEST_FRAMES and all(map(math.isfinite, added)) and median(added[:third]) > 0:
            ratios.append(median(added[-third:]) / median(added[:third]))
    return median(ratios) if ratios else None
