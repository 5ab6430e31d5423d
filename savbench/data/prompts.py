"""Prompts derived from a ground-truth mask: clicks, a box, or the mask itself.

Points are the mask's innermost pixels. The centroid is cheaper but lies outside rings and crescents.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from runners.base import Prompt, PromptKind


def points_n2(mask_hw: npt.NDArray[np.bool_], num_points: int = 1) -> npt.NDArray[np.float32]:
    """Positive clicks on a mask: (n, 2), float32, x then y, in pixels of the mask.

    The first is the pixel with the largest Euclidean distance to the nearest pixel outside of the mask, where everything beyond the image
    counts as outside. Each further one is the pixel whose distance to the outside and to the clicks so far, whichever is smaller, is
    largest. Distances are compared as exact squared integers and ties go to the topmost, then leftmost pixel, so that the clicks do not
    depend on the version of OpenCV.

    Args:
        mask_hw: (height, width), bool, not empty.
        num_points: number of clicks; a mask with fewer pixels gives as many clicks as it has pixels.

    Raises:
        ValueError: the mask is empty or not a boolean (height, width) array, or `num_points` is below 1.
    """
    _check(mask_hw)
    if num_points < 1:
        raise ValueError(f"num_points is 1 or more, not {num_points}")
    # no pixel outside the tight box can be chosen, and the border of zeros stands for everything around it
    x_min, y_min, x_max, y_max = (int(edge) for edge in tight_box(mask_hw))
    inside = np.pad(mask_hw[y_min : y_max + 1, x_min : x_max + 1], 1).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # the precise transform is exact up to the rounding of its float32 root; squares of distances between pixels are integers
    clearance = np.rint(np.square(distance, dtype=np.float64)).astype(np.int64)
    rows = np.arange(clearance.shape[0], dtype=np.int64)[:, None]
    columns = np.arange(clearance.shape[1], dtype=np.int64)[None, :]
    points: list[tuple[int, int]] = []
    while len(points) < num_points:
        row, column = np.unravel_index(int(np.argmax(clearance)), clearance.shape)
        if clearance[row, column] == 0:
            break
        points.append((x_min + int(column), y_min + int(row)))
        np.minimum(clearance, (rows - row) ** 2 + (columns - column) ** 2, out=clearance)
    return np.array(points, dtype=np.float32)


def tight_box(mask_hw: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The smallest box around a mask: (x_min, y_min, x_max, y_max), float32, in pixels, last pixel included.

    Raises:
        ValueError: the mask is empty or not a boolean (height, width) array.
    """
    _check(mask_hw)
    rows = np.flatnonzero(mask_hw.any(axis=1))
    columns = np.flatnonzero(mask_hw.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32)


def make_prompt(kind: PromptKind, mask_hw: npt.NDArray[np.bool_], object_id: int, num_points: int = 1) -> Prompt:
    """Prompt a tracker for the object that a mask shows.

    Args:
        kind: `points`, `bbox` or `mask`.
        mask_hw: (height, width) at video resolution, bool, not empty.
        object_id: the tracker's number for the object.
        num_points: number of clicks, only for `points`.

    Raises:
        ValueError: as `points_n2`, or an unknown kind.
    """
    _check(mask_hw)
    if kind == "points":
        return Prompt(object_id, kind, points_n2=points_n2(mask_hw, num_points))
    if kind == "bbox":
        return Prompt(object_id, kind, box_4=tight_box(mask_hw))
    if kind == "mask":
        return Prompt(object_id, kind, mask_hw=mask_hw)
    raise ValueError(f"{kind!r} is not a kind of prompt; use points, bbox or mask")


def _check(mask_hw: npt.NDArray[np.bool_]) -> None:
    if mask_hw.ndim != 2 or mask_hw.dtype != np.bool_:
        raise ValueError(f"a mask is a boolean (height, width) array, not {mask_hw.dtype} of shape {mask_hw.shape}")
    if not mask_hw.any():
        raise ValueError("the mask is empty, so that there is nothing to prompt with")
