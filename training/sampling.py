"""Batches out of a pool: windows, augmentation, prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from runners.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from training.pool import POOL_FRAMES, POOL_SIDE, ClipPool, Frames

PromptType = Literal["points", "bbox", "mask"]
PROMPT_TYPES: tuple[PromptType, ...] = ("points", "bbox", "mask")

MIN_AREA = 60
"""Visible pixels, at the pool's size, from which on an object is prompted."""
_MAX_STRIDE = 4
_EVENTFUL = 0.7
"""Of the windows in which nothing leaves or hides, so many are drawn again: what is hard is to notice that, and to find it again."""
_RETURNS = 0.5
"""Share of the windows in which an object goes out of sight and comes back."""
_SHORTEST_RETURN = 4
"""Frames of the shortest window that has room for that."""
_TRIES = 6
_CUTAWAY = 0.2
"""Share of the windows that are interrupted by frames of another clip."""
_ZOOMS = 0.3
"""Share of the windows that zoom, towards an object or away: what drives at the camera grows several times."""
_MOST_ZOOM = 2.5
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


def draw_batch(
    pools: Sequence[ClipPool],
    rng: Rng,
    *,
    side: int,
    frames: int,
    clips: int,
    prompt: PromptType,
    prompts_each: int = 1,
    shares: Sequence[float] = (),
) -> Batch:
    """Draw windows of the pools, augmented.

    Args:
        side: of the model's input, `POOL_SIDE` or less.
        frames: of each window.
        clips: windows.
        prompt: kind of prompt of every object.
        prompts_each: how often each object is prompted, each time anew.
        shares: how often each pool is drawn from, relative to the others; not needed for one.
    """
    gap = int(np.exp(rng.uniform(0, np.log(40)))) if frames > 1 and rng.random() < 0.4 else 0
    images: list[npt.NDArray[np.float32]] = []
    targets: list[npt.NDArray[np.bool_]] = []
    clip_of: list[int] = []
    while len(images) < clips:
        pool = pools[0] if len(pools) == 1 else pools[int(rng.choice(len(pools), p=np.divide(shares, sum(shares))))]
        number = int(rng.integers(pool.clips))
        picks = _picks(pool.labels_ntss[number], rng, frames, jump=gap > 0)
        if not picks:
            continue
        frames_tssc, labels_tss = _resized(pool.frames_ntssc[number][picks], pool.labels_ntss[number][picks], rng, side)
        objects = _prompted(labels_tss[0], side, rng)
        if not objects:
            continue
        if frames >= _SHORTEST_RETURN and rng.random() < _CUTAWAY:
            _cut_away(frames_tssc, labels_tss, pool, rng)
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


def _picks(labels_tss: Frames, rng: Rng, frames: int, *, jump: bool) -> list[int]:
    """Indices into a pool clip, in either direction of time; empty where the clip lacks what was asked of it.

    What a tracker of few steps does not learn by itself is to find an object again: once it is out of sight, saying so for good is right
    most of the time. So half of the windows show objects that are gone for a while and come back, on any frames in their order.
    """
    if frames >= _SHORTEST_RETURN and rng.random() < _RETURNS:
        areas_tk = np.stack([np.bincount(label[::2, ::2].ravel(), minlength=256)[1:] for label in labels_tss])
        areas_tk = 4 * areas_tk[:, areas_tk.any(0)]
        for _ in range(_TRIES):
            picks = sorted(rng.choice(POOL_FRAMES, frames, replace=False).tolist(), reverse=bool(rng.random() < 0.5))
            if _returns(areas_tk[picks]):
                return picks
        return []
    picks = _window(rng, frames, jump=jump)
    eventful = frames == 1 or _eventful(labels_tss[picks])
    return picks if eventful or rng.random() >= _EVENTFUL else []


def _returns(areas_tk: npt.NDArray[np.int64]) -> bool:
    """Whether an object that can be prompted on the first frame is out of sight later, and in sight after that."""
    gone_tk = np.logical_or.accumulate(areas_tk == 0)
    return bool(((areas_tk[0] >= MIN_AREA) & (gone_tk & (areas_tk >= MIN_AREA)).any(0)).any())


def _eventful(labels_tss: Frames) -> bool:
    """Whether an object of the first frame is missing later. A fourth of the pixels is enough to see it."""
    seen = [set(np.unique(label[::2, ::2]).tolist()) for label in labels_tss]
    return any(seen[0] - later for later in seen[1:])


def _cut_away(frames_tssc: Frames, labels_tss: Frames, pool: ClipPool, rng: Rng) -> None:
    """Put frames of another clip, without any object, between the first and the last. Works in place."""
    length = int(rng.integers(1, len(frames_tssc) - 1))
    start = int(rng.integers(1, len(frames_tssc) - length))
    number, first = int(rng.integers(pool.clips)), int(rng.integers(POOL_FRAMES - length + 1))
    frames, _ = _resized(pool.frames_ntssc[number][first : first + length], pool.labels_ntss[number][:length], rng, frames_tssc.shape[1])
    frames_tssc[start : start + length] = frames
    labels_tss[start : start + length] = 0


def _resized(frames_tssc: Frames, labels_tss: Frames, rng: Rng, side: int) -> tuple[Frames, Frames]:
    """A crop of every frame at one size, all mirrored or none: the same crop throughout, or one that zooms in or out."""
    count = len(frames_tssc)
    if count > 1 and rng.random() < _ZOOMS:
        crop_t, corner_t2 = _zoom(labels_tss, rng)
    else:
        crop = POOL_SIDE if rng.random() < 0.6 else int(rng.integers(int(0.6 * POOL_SIDE), POOL_SIDE))
        crop_t, corner_t2 = np.full(count, crop), np.tile(rng.integers(0, POOL_SIDE - crop + 1, 2), (count, 1))
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    frames, labels = [], []
    for frame, label, crop, (top, left) in zip(frames_tssc, labels_tss, crop_t, corner_t2, strict=True):
        window = (slice(top, top + crop), slice(left, left + crop))
        way = cv2.INTER_AREA if crop > side else cv2.INTER_LINEAR
        frames.append(cv2.resize(frame[window], (side, side), interpolation=way)[:, flip])
        labels.append(cv2.resize(label[window], (side, side), interpolation=cv2.INTER_NEAREST)[:, flip])
    return np.stack(frames), np.stack(labels)


def _zoom(labels_tss: Frames, rng: Rng) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sides and upper left corners of crops between two sizes, that follow an object of the first frame where there is one."""
    count = len(labels_tss)
    from_, to = np.exp(rng.uniform(0, math.log(_MOST_ZOOM), 2))
    crop_t = np.rint(POOL_SIDE / (from_ * (to / from_) ** np.linspace(0, 1, count))).astype(np.int64)
    centre = rng.uniform(0.3, 0.7, 2) * POOL_SIDE
    shown = np.setdiff1d(np.unique(labels_tss[0]), 0)
    followed = int(rng.choice(shown)) if len(shown) else -1
    corners = []
    for label, crop in zip(labels_tss, crop_t, strict=True):
        places = np.argwhere(label[::4, ::4] == followed) * 4
        centre = 0.3 * centre + 0.7 * places.mean(0) if len(places) else centre
        corners.append(np.clip(np.rint(centre - crop / 2), 0, POOL_SIDE - crop))
    return crop_t, np.stack(corners).astype(np.int64)


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
