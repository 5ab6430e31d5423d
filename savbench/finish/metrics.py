"""Region similarity J and boundary accuracy F of masks, bit-identical to the official SA-V evaluator.

J is the intersection over union of two masks. F is the harmonic mean of boundary precision and recall (Perazzi et al., "A Benchmark
Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016). What counts as a boundary, which boundary pixels match, the
edge cases and the means follow `sav_dataset/utils/sav_benchmark.py` of facebookresearch/sam2:

- A pixel is on the boundary if it differs from its right, lower or lower right neighbour; a neighbour beyond the image is replaced by the
  nearest pixel inside. A mask that fills the image has no boundary.
- A boundary pixel matches if a boundary pixel of the other mask lies within `boundary_radius` of it, in Euclidean distance.
- Two empty masks have J = 1. Without any boundary in either mask F = 1, with a boundary in only one of them F = 0.

Scores are in 0..1 here. The official evaluator reports them times 100; J and F of an `ObjectScore` times 100 are exactly its numbers.
`ObjectMeans` carries both forms, because the mean of the multiplied scores may differ from the multiplied mean in the last bit.

For speed, the part of the image that holds both masks is cut into eight horizontal bands, and bit b of a byte stands for a pixel of band
b. A pixel's neighbours are then the same bit of neighbouring bytes, so boundaries and dilations are bitwise operations on shifted views of
byte arrays, eight pixels per byte, with shifts inside a byte only where two bands meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from savbench.finish.adaptive import score_adaptive
from savbench.plan.protocols import SAV, Protocol
from savbench.results.scores import ObjectScore

T = TypeVar("T")
Mask = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]

BOUNDARY_TOLERANCE = 0.008
"""Radius within which boundary pixels match, as a fraction of the image diagonal."""

_BANDS = 8
"""Bits per byte."""


@dataclass(frozen=True)
class FrameScore:
    """Scores of one object on one frame, each in 0..1."""

    J: float
    """Region similarity: intersection over union."""
    F: float
    """Boundary accuracy: harmonic mean of boundary precision and recall."""


def boundary_radius(height: int, width: int) -> int:
    """Largest distance in pixels at which boundary pixels match: 0.008 of the image diagonal, rounded up.

    Raises:
        ValueError: a side is below 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image needs at least one pixel, not {height}x{width}")
    return math.ceil(BOUNDARY_TOLERANCE * math.sqrt(height * height + width * width))


def score_frame(prediction_hw: Mask, truth_hw: Mask) -> FrameScore:
    """J and F of one predicted mask against the ground truth.

    Args:
        prediction_hw: (height, width), bool, of any memory layout.
        truth_hw: the same shape, bool.

    Raises:
        ValueError: a mask is not a two-dimensional bool array of at least one pixel, or the two differ in shape.
    """
    _require_masks(prediction_hw, truth_hw)
    rows = _rows_around(prediction_hw, truth_hw)
    if rows is None:
        return FrameScore(J=1.0, F=1.0)
    radius = boundary_radius(*truth_hw.shape)
    height = rows.stop - rows.start
    # a band is at least as high as the radius, so that what a dilation reads beyond a band lies in the next one
    band = max(-(-height // _BANDS), radius)

    masks = np.empty((2, band + 1, truth_hw.shape[1]), np.uint8)
    _pack(prediction_hw[rows], masks[0, :band])
    _pack(truth_hw[rows], masks[1, :band])
    np.right_shift(masks[:, 0], 1, out=masks[:, band])
    in_prediction, in_truth = _count(masks[0, :band]), _count(masks[1, :band])
    in_one_alone = int(cv2.norm(masks[0, :band], masks[1, :band], cv2.NORM_HAMMING))
    union = (in_prediction + in_truth + in_one_alone) // 2
    J = (union - in_one_alone) / union

    boundaries = _boundaries(masks, height)
    on_prediction, on_truth = _count(boundaries[0]), _count(boundaries[1])
    if on_prediction == 0 or on_truth == 0:
        return FrameScore(J=J, F=float(on_prediction == on_truth))
    boundaries = boundaries[:, :, _columns_with_ones(boundaries)]
    near_prediction, near_truth = _dilate(boundaries, radius)
    precision = _count(boundaries[0] & near_truth) / on_prediction
    recall = _count(boundaries[1] & near_prediction) / on_truth
    if precision + recall == 0:
        return FrameScore(J=J, F=0.0)
    # in the official evaluator's order of operations: others round differently
    return FrameScore(J=J, F=2 * precision * recall / (precision + recall))


class ObjectScorer:
    """Scores one object over the frames of a clip, fed in order.

    Under SA-V's protocol, frames before the object first appears, in the truth or in the prediction, are not scored; every later frame is,
    even if the object has left both. Only frames that are fed count as an appearance; `frames_to_score` lists the frames that the official
    evaluators feed. Under the others every frame that is fed is scored.
    """

    def __init__(self, protocol: Protocol = SAV) -> None:
        self._protocol = protocol
        self._in_truth = False
        self._in_prediction = False
        self._J: list[float] = []
        self._F: list[float] = []

    def feed_frame(self, prediction_hw: Mask, truth_hw: Mask) -> FrameScore | None:
        """Add one frame. Returns its score; None for a frame that is not scored.

        Args:
            prediction_hw: (height, width), bool.
            truth_hw: the same shape, bool.

        Raises:
            ValueError: as `score_frame`; the frame is then not added.
        """
        _require_masks(prediction_hw, truth_hw)
        self._in_truth = self._in_truth or bool(truth_hw.any())
        self._in_prediction = self._in_prediction or bool(prediction_hw.any())
        if self._protocol.from_appearance and not (self._in_truth or self._in_prediction):
            return None
        score = FrameScore(*score_adaptive(prediction_hw, truth_hw)) if self._protocol.is_adaptive else score_frame(prediction_hw, truth_hw)
        self._J.append(score.J)
        self._F.append(score.F)
        return score

    def conclude(self) -> ObjectScore | None:
        """Means over the frames fed so far. None if there are none, or under SA-V's protocol if the object is in no truth mask fed, because
        the official evaluator leaves it out."""
        if not self._J or (self._protocol.from_appearance and not self._in_truth):
            return None
        # numpy's mean adds pairwise, as the official evaluator does
        J, F = float(np.mean(self._J)), float(np.mean(self._F))
        return ObjectScore(J=J, F=F, JandF=(J + F) / 2, frames_scored=len(self._J))


def frames_to_score(annotated: Sequence[T]) -> Sequence[T]:
    """The annotated frames that every protocol scores: all but the first, which carries the prompt, and the last.

    Args:
        annotated: one item per frame with an annotation, in order.
    """
    return annotated[1:-1]


def _require_masks(prediction_hw: Mask, truth_hw: Mask) -> None:
    for name, mask in (("prediction", prediction_hw), ("truth", truth_hw)):
        if mask.dtype != np.bool_:
            raise ValueError(f"the {name} is {mask.dtype}, not bool; compare it with a threshold first, for example `mask > 0`")
        if mask.ndim != 2 or mask.size == 0:
            raise ValueError(f"the {name} has shape {mask.shape}; a mask is (height, width) with at least one pixel")
    if prediction_hw.shape != truth_hw.shape:
        raise ValueError(
            f"the prediction is {prediction_hw.shape} and the truth {truth_hw.shape}; resize the prediction to the size of the video first"
        )


def _rows_around(prediction_hw: Mask, truth_hw: Mask) -> slice | None:
    """The rows that hold both objects plus one row on either side within the image; None if both masks are empty.

    These rows hold every boundary of the image: there is none beyond them, and the last of them is either the image's last or empty.
    """
    rows = np.flatnonzero(prediction_hw.any(axis=1) | truth_hw.any(axis=1))
    if rows.size == 0:
        return None
    return slice(max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, truth_hw.shape[0]))


def _pack(mask_hw: Mask, plane: _Bytes) -> None:
    """Pack a mask into a contiguous plane, (band, width): pixel (y, x) becomes bit y // band of byte (y % band, x).

    Three halvings: the lower half of the rest moves 4, 2, then 1 bits up and joins the upper half. A multiplication replaces each left
    shift, because NumPy vectorises it for bytes.
    """
    pixels = np.ascontiguousarray(mask_hw).view(np.uint8).reshape(-1)
    upper, lower = pixels[: 4 * plane.size], pixels[4 * plane.size :]
    halves = np.empty(4 * plane.size, np.uint8)
    np.multiply(lower, 16, out=halves[: lower.size])
    halves[lower.size :] = 0
    halves[: upper.size] |= upper
    quarters = halves[2 * plane.size :] * np.uint8(4)
    quarters |= halves[: 2 * plane.size]
    flat = plane.reshape(-1)
    np.multiply(quarters[plane.size :], 2, out=flat)
    flat |= quarters[: plane.size]


def _boundaries(masks: _Bytes, height: int) -> _Bytes:
    """Boundaries, (planes, band, width), of packed masks of this height, (planes, band + 1, width)."""
    planes, band, width = masks.shape[0], masks.shape[1] - 1, masks.shape[2]
    changes_below = masks[:, :-1] ^ masks[:, 1:]
    # beyond the last row and column nothing changes: the neighbour there is the pixel itself, or an empty row
    changes_below[:, (height - 1) % band] &= 0xFF ^ (1 << (height - 1) // band)
    boundaries = np.empty_like(changes_below)
    flat_masks, flat_below, flat = (array.reshape(planes, -1) for array in (masks, changes_below, boundaries))
    np.bitwise_xor(flat_masks[:, : flat.shape[1]], flat_masks[:, 1 : flat.shape[1] + 1], out=flat)
    # the lower right neighbour differs only if the right or the lower one does, or the right one from the one below it
    flat[:, :-1] |= flat_below[:, 1:]
    boundaries[:, :, width - 1] = 0
    boundaries |= changes_below
    return boundaries


@lru_cache(maxsize=64)
def _disk_rows(radius: int) -> tuple[tuple[int, int, int], ...]:
    """Rows of a disk (the pixels within `radius` of its centre) by half width: (half width, nearest, farthest row), narrow to wide."""
    rows: dict[int, list[int]] = {}
    for row in range(radius, -1, -1):
        rows.setdefault(math.isqrt(radius * radius - row * row), []).append(row)
    return tuple((half_width, min(same), max(same)) for half_width, same in rows.items())


def _columns_with_ones(planes: _Bytes) -> slice:
    """The columns of (planes, band, width) from the first to the last that has a one in any plane; there must be one."""
    columns = np.flatnonzero(np.bitwise_or.reduce(planes, axis=(0, 1)))
    return slice(int(columns[0]), int(columns[-1]) + 1)


def _dilate(boundaries: _Bytes, radius: int) -> _Bytes:
    """Dilate packed boundaries, (planes, band, width), by a disk and crop to the image. The radius must not exceed the band."""
    planes, band, width = boundaries.shape
    # `radius` zeros end each row, so that a dilation of the flattened plane does not run from one row into the next
    pitch = width + radius
    padded = np.empty((planes, radius + band + radius, pitch), np.uint8)
    padded[:, :, width:] = 0
    padded[:, radius : radius + band, :width] = boundaries
    # the rows above and below a band belong to the adjoining bands
    np.multiply(padded[:, band : radius + band], 2, out=padded[:, :radius])
    np.right_shift(padded[:, radius : 2 * radius], 1, out=padded[:, radius + band :])

    (_, *wider) = _disk_rows(radius)
    runs, length = padded.reshape(planes, -1), 1
    size = band * pitch
    # the top and bottom rows of the disk are one pixel wide
    near: _Bytes = np.bitwise_or(runs[:, :size], runs[:, 2 * radius * pitch :])
    for half_width, nearest, farthest in wider:
        runs = _or_of_run(runs, length, 2 * half_width + 1, 1)
        length = 2 * half_width + 1
        blocks = _or_of_run(runs, 1, farthest - nearest + 1, pitch)
        for first_row in {-farthest, nearest}:
            start = (radius + first_row) * pitch - half_width
            near |= blocks[:, start : start + size]
    return near.reshape(planes, band, pitch)[:, :, :width]


def _or_of_run(planes: _Bytes, length: int, wanted: int, step: int) -> _Bytes:
    """Lengthen runs: each byte is the OR of `length` bytes, `step` apart and starting at itself; make it the OR of `wanted` bytes."""
    while length < wanted:
        more = min(length, wanted - length)
        planes = planes[:, : -more * step] | planes[:, more * step :]
        length += more
    return planes


def _count(plane: _Bytes) -> int:
    """Number of ones among the bits."""
    return int(cv2.norm(plane, cv2.NORM_HAMMING))
