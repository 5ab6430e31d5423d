"""Real videos of a split in SA-V layout, on the frames that have masks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.dataset import FRAMES_DIR, MASKS_DIR
from training.photos import read_image


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
