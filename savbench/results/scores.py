"""Scores of objects and their means over a dataset, computed as the official evaluator does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object over its clip, each 0 to 1."""

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
    """Mean of the objects' J, 0 to 1."""
    F: float
    """Mean of the objects' F, 0 to 1."""
    JandF: float
    """(J + F) / 2."""
    objects: int
    J_percent: float
    """Mean of the objects' J times 100, bit-identical to the official evaluator's global J."""
    F_percent: float
    JandF_percent: float
    """(J_percent + F_percent) / 2."""


def dataset_means(scores: Iterable[ObjectScore]) -> ObjectMeans:
    """Means over all objects; each object counts once, whatever its number of frames.

    Args:
        scores: one per object. Order them as the official evaluator does, by video name and then by object folder name: another order may
        change
                    the last bit.

    Raises:
        ValueError: there are no scores.
    """
    listed = list(scores)
    if not listed:
        raise ValueError("no object was scored, so there is no mean; give at least one score")
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
