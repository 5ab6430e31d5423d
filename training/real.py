"""Real videos of a split in SA-V layout, on the frames that have masks, and new clips made of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.demo.motion import waves
from savbench.data.listing import FRAMES_DIR, MASKS_DIR
from training.photos import read_image

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RealVideo:
    """The annotated frames of a video."""

    frames_thwc: npt.NDArray[np.uint8]
    """(frames, height, width, 3), RGB."""
    labels_thw: npt.NDArray[np.uint8]
    """(frames, height, width): 0 for the background, k + 1 for object k."""


@functools.lru_cache(maxsize=8)
def read_video(split: Path, name: str) -> RealVideo:
    """Read a video of a split.

    Raises:
        ValueError: the video is missing, or has fewer than two frames with masks.
    """
    root = split / MASKS_DIR / name
    objects = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    masks = sorted(objects[0].glob("*.png")) if objects else []
    if len(masks) < 2:
        raise ValueError(f"{root}: has {len(masks)} masks; name a video with two or more")
    frames, labels = [], []
    for path in masks:
        frame_hwc = read_image(split / FRAMES_DIR / name / f"{path.stem}.jpg", cv2.IMREAD_COLOR)[..., ::-1]
        label_hw = np.zeros(frame_hwc.shape[:2], np.uint8)
        for number, folder in enumerate(objects, 1):
            label_hw[read_image(folder / path.name, cv2.IMREAD_GRAYSCALE) > 0] = number
        frames.append(np.ascontiguousarray(frame_hwc))
        labels.append(label_hw)
    return RealVideo(np.stack(frames), np.stack(labels))


def filmed_again(video: RealVideo, picks: Sequence[int], size: tuple[int, int], rng: np.random.Generator) -> tuple[Frames, Frames]:
    """Frames of a video through a window that drifts, zooms and turns, mirrored or not.

    Args:
        picks: which frames.
        size: height and width of the window.

    Returns:
        (picks, height, width, 3) and (picks, height, width), as in `RealVideo`.
    """
    height, width = size
    crop = rng.uniform(0.45, 1.0)
    aside_2 = rng.uniform(-0.3, 0.3, 2)
    liveliness = rng.uniform(0, 1) if rng.random() < 0.6 else 0.0
    seconds = np.arange(len(picks)) / 8
    drift_t2 = np.stack([waves(rng, seconds, 0.1 * liveliness, (0.8, 4)) for _ in range(2)], 1)
    zoom_t = 1 + waves(rng, seconds, 0.15 * liveliness, (1, 4))
    roll_t = waves(rng, seconds, 0.12 * liveliness, (1, 4))
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    # shrunk to the size at which the crop is as large as the window, so that the warp does not alias
    full = (round(width / crop), round(height / crop))
    way = cv2.INTER_AREA if full[1] < video.labels_thw.shape[1] else cv2.INTER_LINEAR
    middle = np.array([width, height]) / 2
    frames, labels = [], []
    seen = middle
    for index, pick in enumerate(picks):
        frame = cv2.resize(video.frames_thwc[pick], full, interpolation=way)
        label = cv2.resize(video.labels_thw[pick], full, interpolation=cv2.INTER_NEAREST)
        if index == 0:
            # the window stays within the video and has an object not far from its middle
            rows, columns = np.nonzero(label)
            wanted = np.array([columns.mean(), rows.mean()]) + 2 * aside_2 * middle if len(rows) else middle
            seen = np.clip(wanted, middle, np.maximum(np.array(full) - middle, middle))
        cos, sin = np.cos(roll_t[index]), np.sin(roll_t[index])
        linear = zoom_t[index] * np.array([[cos, -sin], [sin, cos]])
        matrix = np.column_stack([linear, middle + drift_t2[index] * height - linear @ seen])
        frame = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        label = cv2.warpAffine(label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        frames.append(frame[:, flip])
        labels.append(label[:, flip])
    return np.asarray(np.stack(frames), np.uint8), np.asarray(np.stack(labels), np.uint8)
