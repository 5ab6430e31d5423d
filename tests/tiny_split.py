"""A small SA-V-shaped split with contents that are known by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class TinySplit:
    """A split on disk, with the means to spoil it.

    Video `alpha`: 13 frames of 24x32, masks on frames 0, 4, 8, 12; object 000 is an 8x8 square that moves right by a pixel a frame, from
    rows 4..11 and columns 2..9; object 001 is a 6x5 rectangle (rows 15..20, columns 20..24) that is absent on frame 0.
    Video `beta`: 5 frames of 24x32, masks on frames 0, 4, the same object 000 alone.
    """

    root: Path

    def frames_dir(self, video: str) -> Path:
        return self.root / "JPEGImages_24fps" / video

    def masks_dir(self, video: str, object_name: str = "") -> Path:
        return self.root / "Annotations_6fps" / video / object_name

    def frame(self, video: str, index: int) -> Path:
        return self.frames_dir(video) / f"{index:05d}.jpg"

    def mask(self, video: str, object_name: str, index: int) -> Path:
        return self.masks_dir(video, object_name) / f"{index:05d}.png"

    def write_video(self, name: str, num_frames: int, objects: Mapping[str, Sequence[npt.NDArray[np.bool_]]]) -> None:
        """Write noise frames, and the masks of each object on every fourth frame."""
        rng = np.random.default_rng(sum(name.encode()))
        height, width = next(iter(objects.values()))[0].shape
        self.frames_dir(name).mkdir(parents=True)
        for index in range(num_frames):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.frame(name, index), quality=95)
        for object_name, masks in objects.items():
            self.masks_dir(name, object_name).mkdir(parents=True)
            for number, mask_hw in enumerate(masks):
                Image.fromarray(mask_hw.astype(np.uint8) * 255).save(self.mask(name, object_name, 4 * number))


def rectangle(top: int, left: int, height: int, width: int, shape: tuple[int, int] = (24, 32)) -> npt.NDArray[np.bool_]:
    """A mask with one filled rectangle."""
    mask_hw = np.zeros(shape, np.bool_)
    mask_hw[top : top + height, left : left + width] = True
    return mask_hw
