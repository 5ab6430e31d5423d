"""Real objects cut out of annotated videos, pasted as further objects over the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.demo.motion import waves
from training.photos import Image, recoloured

_MARGIN = 3
_SOFTNESS = 0.7
"""Of the alpha's edge in pixels: masks are hard, edges in photographs are not."""
_MIN_PIXELS = 200

Paths = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cutout:
    """One object of a video on the frames that show it."""

    patches: tuple[Image, ...]
    """(side, side, 4) each, RGB and alpha, the object's bounding box in the middle; all of one side."""


def cut_out(frames_tssc: Image, masks_tss: npt.NDArray[np.bool_], side: int) -> Cutout | None:
    """Cut an object out of its video.

    Args:
        frames_tssc: (frames, height, width, 3), RGB, uint8.
        masks_tss: (frames, height, width).
        side: of the patches; the object's largest extent fills it but for a margin.

    Returns:
        The object, or None where no frame shows enough of it.
    """
    boxes = [box_of(mask) for mask in masks_tss]
    seen = [(frame, mask, box) for frame, mask, box in zip(frames_tssc, masks_tss, boxes, strict=True) if box and mask.sum() >= _MIN_PIXELS]
    if not seen:
        return None
    extent = max(max(bottom - top, right - left) for _, _, (top, bottom, left, right) in seen)
    scale = (side - 2 * _MARGIN) / extent
    patches = []
    for frame, mask, (top, bottom, left, right) in seen:
        middle = np.array([(left + right - 1) / 2, (top + bottom - 1) / 2])
        # shrunk first, so that a large object does not alias
        small = min(1.0, scale)
        size = (round(frame.shape[1] * small), round(frame.shape[0] * small))
        colour = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        rest = scale / small
        matrix = np.array([[rest, 0, 0], [0, rest, 0]], np.float64)
        matrix[:, 2] = (side - 1) / 2 - rest * small * middle
        patch = np.empty((side, side, 4), np.uint8)
        patch[..., :3] = cv2.warpAffine(colour, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        warped = cv2.warpAffine(alpha, matrix, (side, side))
        patch[..., 3] = np.rint(255 * cv2.GaussianBlur(warped, (0, 0), _SOFTNESS))
        patches.append(patch)
    return Cutout(tuple(patches))


def paste(frames_thwc: Image, labels_thw: Image, cutout: Cutout, label: int, rng: np.random.Generator) -> None:
    """Let the cut-out move through a clip as object `label`, over everything or behind what is annotated. Works in place.

    It runs through its own frames back and forth, moves on a line with waves, turns, grows, and may enter or leave.
    """
    count, height, width = labels_thw.shape
    unit = min(height, width)
    seconds = np.arange(count) / 8
    start, end = (rng.uniform(-0.15, 1.15, 2) * (width, height) for _ in range(2))
    end = start + (end - start) * rng.uniform(0, 1)
    along = np.linspace(0, 1, count)[:, None]
    centres_t2 = start + (end - start) * along + np.stack([waves(rng, seconds, 0.1 * unit, (0.7, 3)) for _ in range(2)], 1)
    side = cutout.patches[0].shape[0]
    scales_t = rng.uniform(0.2, 1.0) * unit / side * (1 + waves(rng, seconds, 0.2, (1, 4)))
    angles_t = rng.uniform(-0.3, 0.3) + waves(rng, seconds, 0.25, (1, 4))
    behind = rng.random() < 0.4
    mirrored = rng.random() < 0.5
    colours = int(rng.integers(2**31))
    order = back_and_forth(len(cutout.patches), int(rng.integers(2 * len(cutout.patches))), count)
    for t in range(count):
        patch = cutout.patches[order[t]]
        # the same colours on every frame
        colour = recoloured(patch[..., :3], np.random.default_rng(colours))
        scale, cos, sin = scales_t[t], np.cos(angles_t[t]), np.sin(angles_t[t])
        linear = scale * np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
        matrix = np.column_stack([linear, centres_t2[t] - linear @ np.full(2, (side - 1) / 2)])
        warped = cv2.warpAffine(np.dstack([colour, patch[..., 3]]), matrix, (width, height), flags=cv2.INTER_LINEAR)
        share = warped[..., 3].astype(np.float32) / 255
        if behind:
            share *= cv2.GaussianBlur((labels_thw[t] == 0).astype(np.float32), (0, 0), _SOFTNESS)
        frame = frames_thwc[t].astype(np.float32)
        frames_thwc[t] = np.rint(frame + (warped[..., :3] - frame) * share[..., None])
        labels_thw[t][share > 0.5] = label


def back_and_forth(frames: int, first: int, count: int) -> Sequence[int]:
    """Indices of `count` frames of a video of `frames`, run to its end and back, beginning with the one that is `first` on that way."""
    there_and_back = [*range(frames), *range(frames - 2, 0, -1)]
    return [there_and_back[(first + t) % len(there_and_back)] for t in range(count)]


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """First row, row after the last, first column and column after the last; None where nothing is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
