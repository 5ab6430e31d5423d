"""Batches out of a pool: windows, augmentation, prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from nano.pool import POOL_FRAMES, POOL_SIDE, ClipPool, Frames
from runners.torch_common import IMAGENET_MEAN, IMAGENET_STD

PromptType = Literal["points", "bbox", "mask"]
PROMPT_TYPES: tuple[PromptType, ...] = ("points", "bbox", "mask")

MIN_AREA = 60
"""Visible pixels, at the pool's size, from which on an object is prompted."""
_MAX_STRIDE = 4
_EVENTFUL = 0.7
"""Of the windows in which nothing leaves or hides, so many are drawn again: what is hard is to notice that, and to find it again."""
_DISC_RADIUS = 0.12
"""Of the side: about that of the objects."""
_BOX_CORNERS = (2, 3)
"""Labels by which the prompt encoder knows the corners of a box."""
_MAX_OBJECTS = 4
"""Objects of one clip that are tracked at a time."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Batch:
    """Clips of equal length and the objects that are prompted in them."""

    images_bcss: torch.Tensor
    """(clips x frames, 3, side, side), normalised float32, frames of a clip in a row."""
    targets_tnss: torch.Tensor
    """(frames, objects, side, side), float32, 0 or 1."""
    clip_n: torch.Tensor
    """Clip of each object."""
    gap: int
    """Frames that lie unseen between the first and the second."""
    points_np2: torch.Tensor | None = None
    """Clicks or corners of a box in pixels of the input."""
    point_labels_np: torch.Tensor | None = None
    mask_n1ss: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return Batch(*(value.to(device) if isinstance(value, torch.Tensor) else value for value in vars(self).values()))


def draw_batch(pool: ClipPool, rng: Rng, *, side: int, frames: int, clips: int, prompt: PromptType, prompts_each: int = 1) -> Batch:
    """Draw windows of the pool, augmented.

    Args:
        side: of the model's input, `POOL_SIDE` or less.
        frames: of each window.
        clips: windows.
        prompt: kind of prompt of every object.
        prompts_each: how often each object is prompted, each time anew.
    """
    gap = int(np.exp(rng.uniform(0, np.log(40)))) if frames > 1 and rng.random() < 0.4 else 0
    images: list[npt.NDArray[np.float32]] = []
    targets: list[npt.NDArray[np.bool_]] = []
    clip_of: list[int] = []
    while len(images) < clips:
        number = int(rng.integers(pool.clips))
        picks = _window(rng, frames, jump=gap > 0)
        labels_of_clip = pool.labels_ntss[number]
        if frames > 1 and not _eventful(labels_of_clip[picks]) and rng.random() < _EVENTFUL:
            continue
        frames_tssc, labels_tss = _resized(pool.frames_ntssc[number][picks], labels_of_clip[picks], rng, side)
        objects = _prompted(labels_tss[0], side, rng)
        if not objects:
            continue
        for which in objects * prompts_each:
            targets.append(labels_tss == which)
            clip_of.append(len(images))
        images.append(_recoloured(frames_tssc, rng))
    return _assemble(np.concatenate(images), np.stack(targets, 1), clip_of, gap, prompt, rng)


def whole_clips(pool: ClipPool, first: int, last: int, *, side: int, prompt: PromptType) -> Batch:
    """Clips `first` to `last` - 1 of the pool as they are, all objects that the first frame shows; the same every time."""
    rng = np.random.default_rng(first)
    images: list[npt.NDArray[np.float32]] = []
    targets: list[npt.NDArray[np.bool_]] = []
    clip_of: list[int] = []
    for number in range(first, last):
        frames_tssc = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in pool.frames_ntssc[number]])
        labels_tss = np.stack([cv2.resize(label, (side, side), interpolation=cv2.INTER_NEAREST) for label in pool.labels_ntss[number]])
        for which in _visible(labels_tss[0], side):
            targets.append(labels_tss == which)
            clip_of.append(len(images))
        images.append(np.asarray(frames_tssc, np.float32))
    return _assemble(np.concatenate(images), np.stack(targets, 1), clip_of, 0, prompt, rng, exact=True)


def discs(batch: Batch) -> Batch:
    """The batch with discs around its clicks, or ellipses in its boxes, for targets on every frame.

    Raises:
        ValueError: the prompts are masks.
    """
    if batch.points_np2 is None or batch.point_labels_np is None:
        raise ValueError("discs need prompts with a place: clicks or boxes")
    side = batch.targets_tnss.shape[-1]
    centre_n2 = batch.points_np2.mean(1)
    if int(batch.point_labels_np[0, 0]) == _BOX_CORNERS[0]:
        radius_n2 = (batch.points_np2[:, 1] - batch.points_np2[:, 0]) / 2 + 1
    else:
        radius_n2 = torch.full_like(centre_n2, _DISC_RADIUS * side)
    along = torch.arange(side, dtype=torch.float32)
    x_ns, y_ns = ((along - centre_n2[:, axis, None]) / radius_n2[:, axis, None] for axis in (0, 1))
    inside_nss = (x_ns[:, None, :] ** 2 + y_ns[:, :, None] ** 2 < 1).float()
    return replace(batch, targets_tnss=inside_nss.expand_as(batch.targets_tnss))


def _window(rng: Rng, frames: int, *, jump: bool) -> list[int]:
    """Indices into a pool clip, forwards or backwards; with `jump` the first lies anywhere before the rest."""
    if frames == 1:
        return [int(rng.integers(POOL_FRAMES))]
    following = frames - 1 if jump else frames
    stride = int(rng.integers(1, min(_MAX_STRIDE, (POOL_FRAMES - 1 - jump) // max(following - 1, 1)) + 1))
    span = (following - 1) * stride
    start = int(rng.integers(int(jump), POOL_FRAMES - span))
    picks = [start + stride * t for t in range(following)]
    if jump:
        picks = [int(rng.integers(start)), *picks]
    return picks if rng.random() < 0.5 else [POOL_FRAMES - 1 - pick for pick in picks]


def _eventful(labels_tss: Frames) -> bool:
    """Whether an object of the first frame is missing later. A fourth of the pixels is enough to see it."""
    seen = [set(np.unique(label[::2, ::2]).tolist()) for label in labels_tss]
    return any(seen[0] - later for later in seen[1:])


def _resized(frames_tssc: Frames, labels_tss: Frames, rng: Rng, side: int) -> tuple[Frames, Frames]:
    """One crop, flip and size for all frames of a window."""
    crop = POOL_SIDE if rng.random() < 0.6 else int(rng.integers(int(0.6 * POOL_SIDE), POOL_SIDE))
    top, left = rng.integers(0, POOL_SIDE - crop + 1, 2)
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    way = cv2.INTER_AREA if crop > side else cv2.INTER_LINEAR
    window = (slice(top, top + crop), slice(left, left + crop))
    frames = np.stack([cv2.resize(frame[window], (side, side), interpolation=way)[:, flip] for frame in frames_tssc])
    labels = np.stack([cv2.resize(label[window], (side, side), interpolation=cv2.INTER_NEAREST)[:, flip] for label in labels_tss])
    return frames, labels


def _recoloured(frames_tssc: Frames, rng: Rng) -> npt.NDArray[np.float32]:
    """Other gains, contrast and, at times, another order of the channels, the same for all frames of a window."""
    order = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    gains = rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3)
    lift = rng.uniform(-15, 15)
    return np.asarray(np.clip(frames_tssc[..., order] * gains.astype(np.float32) + np.float32(lift), 0, 255), np.float32)


def _visible(label_ss: Frames, side: int) -> list[int]:
    counts = np.bincount(label_ss.ravel())
    return [which for which in range(1, len(counts)) if counts[which] * (POOL_SIDE / side) ** 2 >= MIN_AREA]


def _prompted(label_ss: Frames, side: int, rng: Rng) -> list[int]:
    visible = _visible(label_ss, side)
    return [visible[i] for i in rng.permutation(len(visible))[:_MAX_OBJECTS]]


def _assemble(
    frames_bssc: npt.NDArray[np.float32],
    targets_tnss: npt.NDArray[np.bool_],
    clip_of: list[int],
    gap: int,
    prompt: PromptType,
    rng: Rng,
    *,
    exact: bool = False,
) -> Batch:
    mean, std = (np.float32(255) * np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = torch.from_numpy(np.ascontiguousarray(((frames_bssc - mean) / std).transpose(0, 3, 1, 2)))
    targets = torch.from_numpy(np.ascontiguousarray(targets_tnss)).float()
    clip_n = torch.tensor(clip_of)
    if prompt == "mask":
        return Batch(images, targets, clip_n, gap, mask_n1ss=targets[0][:, None])
    first_nss = targets_tnss[0]
    if prompt == "bbox":
        corners = np.stack([_box(mask, rng, exact=exact) for mask in first_nss])
        labels = torch.tensor([_BOX_CORNERS], dtype=torch.int32).expand(len(clip_of), 2)
        return Batch(images, targets, clip_n, gap, torch.from_numpy(corners), labels)
    clicks = 1 if exact or rng.random() < 0.7 else int(rng.integers(2, 4))
    points = np.stack([_clicks(mask, clicks, rng, exact=exact) for mask in first_nss])
    return Batch(images, targets, clip_n, gap, torch.from_numpy(points), torch.ones(points.shape[:2], dtype=torch.int32))


def _box(mask_ss: npt.NDArray[np.bool_], rng: Rng, *, exact: bool) -> npt.NDArray[np.float32]:
    rows, columns = np.flatnonzero(mask_ss.any(1)), np.flatnonzero(mask_ss.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]], np.float32)
    if exact or rng.random() < 0.5:
        return corners
    return np.asarray(corners + rng.normal(0, 0.04 * (corners[1] - corners[0] + 1), (2, 2)), np.float32)


def _clicks(mask_ss: npt.NDArray[np.bool_], count: int, rng: Rng, *, exact: bool) -> npt.NDArray[np.float32]:
    """The innermost pixel, as the benchmark clicks, or any; further clicks anywhere."""
    inside = np.argwhere(mask_ss)[:, ::-1]
    places = inside[rng.integers(0, len(inside), count)].astype(np.float32)
    if exact or rng.random() < 0.6:
        depth = cv2.distanceTransform(np.pad(mask_ss, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
        places[0] = x, y
    return places
