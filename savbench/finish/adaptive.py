"""J and F as MOSE's own tool takes them (MOSEv2/sam2_rcms/tools of henghuiding/MOSE-api: `J` and `F_new`), bit-identical.

J is (intersection + 1) / (union + 1). For F, boundaries match within 0.1 of the square root of the object's true area, rounded up, but at
most within 0.008 of the image diagonal. That limit is not rounded, so that the disk around a pixel is not centred on it: the tool samples
the disk at -r, -r + 1, ..., as `skimage.morphology.disk` does for a radius that is not whole.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

OF_DIAGONAL, OF_SIZE = 0.008, 0.1


def score_adaptive(prediction_hw: Mask, truth_hw: Mask) -> tuple[float, float]:
    """J and F of one predicted mask, each in 0..1.

    Args:
        prediction_hw: (height, width), bool.
        truth_hw: the same shape, bool.
    """
    inside, union = int(np.count_nonzero(prediction_hw & truth_hw)), int(np.count_nonzero(prediction_hw | truth_hw))
    if union == 0:
        return 1.0, 1.0
    J = (inside + 1) / (union + 1)
    limit = float(OF_DIAGONAL * np.linalg.norm(truth_hw.shape))
    area = np.count_nonzero(truth_hw)
    radius = min(limit, float(np.ceil(OF_SIZE * np.sqrt(area)))) if area else limit
    return J, _boundary_score(prediction_hw, truth_hw, radius)


def _boundary_score(prediction_hw: Mask, truth_hw: Mask, radius: float) -> float:
    disk = _disk(radius)
    window = _window(prediction_hw | truth_hw, len(disk))
    ours, theirs = _boundary(prediction_hw[window]), _boundary(truth_hw[window])
    on_prediction, on_truth = int(np.count_nonzero(ours)), int(np.count_nonzero(theirs))
    if on_prediction == 0 or on_truth == 0:
        return float(on_prediction == on_truth)
    near_prediction, near_truth = (cv2.dilate(boundary.view(np.uint8), disk) > 0 for boundary in (ours, theirs))
    precision = np.count_nonzero(ours & near_truth) / on_prediction
    recall = np.count_nonzero(theirs & near_prediction) / on_truth
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=64)
def _disk(radius: float) -> npt.NDArray[np.uint8]:
    steps = np.arange(-radius, radius + 1)
    return np.asarray(np.add.outer(steps**2, steps**2) <= radius**2, np.uint8)


def _window(mask_hw: Mask, margin: int) -> tuple[slice, slice]:
    """Rows and columns around a mask that is not empty."""
    lines = [np.flatnonzero(mask_hw.any(axis=axis)) for axis in (1, 0)]
    return (
        slice(max(int(lines[0][0]) - margin, 0), int(lines[0][-1]) + margin + 1),
        slice(max(int(lines[1][0]) - margin, 0), int(lines[1][-1]) + margin + 1),
    )


def _boundary(mask_hw: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; beyond the image lies the nearest pixel inside."""
    wide = np.pad(mask_hw, ((0, 1), (0, 1)), mode="edge")
    here = wide[:-1, :-1]
    return np.asarray((here != wide[:-1, 1:]) | (here != wide[1:, :-1]) | (here != wide[1:, 1:]))
