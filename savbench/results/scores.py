"""Scores of objects and their means over a dataset, as the official evaluator takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object over its clip, each in 0..1."""

    J: float
    """Mean of J over the scored frames."""
    F: float
    """Mean of F over the scored frames."""
    JandF: float
    """(J + F) / 2."""
    frames_scored: int


@dataclass(frozen=True)
class ObjectMeans:
    """Means over the objects of a dataset."""

    J: float
    """Mean of the objects' J, in 0..1."""
    F: float
    """Mean of the objects' F, in 0..1."""
    JandF: float
    """(J + F) / 2."""
    objects: int
    J_percent: float
    """Mean of the objects' J times 100: the official evaluator's global J to the last bit."""
    F_percent: float
    JandF_percent: float
    """(J_percent + F_percent) / 2."""


def dataset_means(scores: Iterable[ObjectScore]) -> ObjectMeans:
    """Means over all objects, each object counting once however many frames it has.

    Args:
        scores: one per object. The official evaluator takes videos in the order of their names and the objects of a video in the order of
            their folders' names; another order may change the last bit.

    Raises:
        ValueError: there are no scores.
    """
    listed = list(scores)
    if not listed:
        raise ValueError("no object was scored, so there is no mean; ask for it once at least one object has a score")
    J, F = float(np.mean([score.J for score in listed])), float(np.mean([score.F for score in listed]))
    J_percent = float(np.mean([score.J * 100 for score in listed]))
    F_percent = float(np.mean([score.F * 100 for score in listed]))
    return ObjectMeans(
        J=J,
        F=F,
        JandF=(J + F) / 2,
        objects=len(listed),
        J_percent=J_percent,
        F_percent=F_percent,
        JandF_percent=(J_percent + F_percent) / 2,
    )
