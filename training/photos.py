"""Photographs that textures of natural scenes are cut from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

_LONGER_SIDE = 1400
_SUFFIXES = (".jpg", ".jpeg", ".png")


def photo_files(folder: Path) -> list[Path]:
    """Images of a folder in the order of their names.

    Raises:
        ValueError: there is none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    if not files:
        raise ValueError(f"{folder}: has no photograph; put JPEG or PNG files there, see training/README.md")
    return files


def digest_of(files: Sequence[Path]) -> str:
    """One sha256 for the contents of all files: what is cut from them depends on nothing else."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_photos(files: Sequence[Path]) -> list[Image]:
    """The photographs, (height, width, 3), RGB, uint8, none larger than `_LONGER_SIDE`.

    Raises:
        ValueError: a file that is no image.
    """
    return [_shrunk(read_image(path, cv2.IMREAD_COLOR)[..., ::-1]) for path in files]


def read_image(path: Path, flags: int) -> Image:
    """An image as OpenCV reads it.

    Raises:
        ValueError: the file is missing or no image.
    """
    image = cv2.imread(os.fspath(path), flags)
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image; replace the file or remove it")
    return np.asarray(image, np.uint8)


def cut(photo: Image, rng: np.random.Generator, size: tuple[int, int], share: tuple[float, float]) -> Image:
    """A crop of random place, size and mirroring in other colours, resized.

    Args:
        size: height and width of the result, (height, width, 3).
        share: of the photograph's shorter side that the crop's longer side takes, from and to.
    """
    height, width = size
    full_height, full_width = photo.shape[:2]
    longer = rng.uniform(*share) * min(full_height, full_width)
    crop_height, crop_width = (max(4, round(longer * side / max(height, width))) for side in (height, width))
    top, left = int(rng.integers(full_height - crop_height + 1)), int(rng.integers(full_width - crop_width + 1))
    crop = photo[top : top + crop_height, left : left + crop_width]
    way = cv2.INTER_AREA if crop_height > height else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (width, height), interpolation=way)[:, :: -1 if rng.random() < 0.5 else 1]
    return recoloured(np.asarray(resized, np.uint8), rng)


def recoloured(image: Image, rng: np.random.Generator) -> Image:
    """The image with other gains, contrast, saturation and, at times, another order of the channels."""
    colour = image.astype(np.float32)
    if rng.random() < 0.25:
        colour = colour[..., rng.permutation(3)]
    grey = colour.mean(-1, keepdims=True)
    colour = grey + (colour - grey) * np.float32(rng.uniform(0.3, 1.5))
    middle = np.float32(colour.mean())
    colour = middle + (colour - middle) * np.float32(rng.uniform(0.6, 1.4)) + np.float32(rng.uniform(-45, 45))
    return np.asarray(np.clip(colour * rng.uniform(0.85, 1.15, 3).astype(np.float32), 0, 255), np.uint8)


def _shrunk(image: Image) -> Image:
    scale = _LONGER_SIDE / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (round(scale * image.shape[1]), round(scale * image.shape[0]))
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA), np.uint8)
