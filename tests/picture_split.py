"""Small data sets with all objects of a frame in one picture, with contents that are known by heart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tiny_split import rectangle

Labels = npt.NDArray[np.uint8]
SHAPE = (24, 32)


def labels(*objects: tuple[int, npt.NDArray[np.bool_]]) -> Labels:
    """A picture of (label, mask); later ones lie on top."""
    picture = np.zeros(SHAPE, np.uint8)
    for label, mask_hw in objects:
        picture[mask_hw] = label
    return picture


def two_squares(frame: int) -> Labels:
    """Object 1, an 8x8 square that moves right by a pixel a frame from column 2; object 2, 6x5 and at rest; void in the corner."""
    return labels((1, rectangle(4, 2 + frame, 8, 8)), (2, rectangle(15, 20, 6, 5)), (255, rectangle(0, 0, 2, 2)))


def save_picture(path: Path, picture: Labels) -> None:
    """As a palette PNG, as the data sets have them."""
    image = Image.fromarray(picture, "P")
    image.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_frames(folder: Path, numbers: Sequence[int], digits: int = 5) -> None:
    """Noise, a JPEG per number."""
    rng = np.random.default_rng(sum(folder.name.encode()))
    folder.mkdir(parents=True)
    for number in numbers:
        pixels = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:0{digits}d}.jpg", quality=95)


def write_davis(
    root: Path, videos: Mapping[str, Sequence[Labels]], *, resolution: str = "480p", lists: Mapping[str, Sequence[str]]
) -> Path:
    """Every video with a picture for each frame, and lists of videos by name, `2017/val`."""
    for name, pictures in videos.items():
        write_frames(root / "JPEGImages" / resolution / name, range(len(pictures)))
        for number, picture in enumerate(pictures):
            save_picture(root / "Annotations" / resolution / name / f"{number:05d}.png", picture)
    for name, listed in lists.items():
        path = root / "ImageSets" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{video}\n" for video in listed))
    return root


def write_meta(root: Path, videos: Mapping[str, Any], name: str = "meta.json") -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps({"videos": videos}))
