"""Predicted masks: packed while a clip is tracked, compressed until they are scored, and on disk in SA-V's layout.

The official evaluator reads that layout.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

BoolMask = npt.NDArray[np.bool_]
"""(height, width), bool."""


class PackedMask:
    """A boolean mask at eight pixels a byte."""

    __slots__ = ("bits", "shape")

    def __init__(self, mask_hw: BoolMask) -> None:
        """
        Args:
            mask_hw: (height, width), bool; copied.

        Raises:
            ValueError: it is something else.
        """
        if mask_hw.dtype != np.bool_ or mask_hw.ndim != 2:
            raise ValueError(f"a mask is a boolean (height, width) array, not {mask_hw.dtype} of shape {mask_hw.shape}")
        self.shape: tuple[int, int] = (mask_hw.shape[0], mask_hw.shape[1])
        self.bits: npt.NDArray[np.uint8] = np.packbits(mask_hw)

    def unpack(self) -> BoolMask:
        """The mask, (height, width), bool, in an array of its own."""
        height, width = self.shape
        return np.unpackbits(self.bits, count=height * width).view(np.bool_).reshape(height, width)


class CompressedMask:
    """A boolean mask to keep for long or to send to another process: some kilobytes for a mask of a video in full HD."""

    __slots__ = ("data", "shape")

    def __init__(self, data: bytes, shape: tuple[int, int]) -> None:
        """
        Args:
            data: bits of the pixels, eight to a byte, compressed by zlib.
            shape: (height, width) of the mask.
        """
        self.data = data
        self.shape = shape

    @classmethod
    def of(cls, mask: BoolMask | PackedMask) -> CompressedMask:
        """Compress a mask, (height, width)."""
        bits = mask.bits if isinstance(mask, PackedMask) else np.packbits(mask)
        return cls(zlib.compress(bits.tobytes(), 1), (mask.shape[0], mask.shape[1]))

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def unpack(self) -> BoolMask:
        """The mask, (height, width), bool, in an array of its own.

        Raises:
            ValueError: the data are not a mask of this shape.
        """
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8)
        if bits.size != (height * width + 7) // 8:
            raise ValueError(f"{bits.size} bytes are not a mask of {width}x{height} pixels")
        return np.unpackbits(bits, count=height * width).view(np.bool_).reshape(height, width)


def save_object_masks(masks_dir: Path, arm: str, video: str, object_id: str, masks: Mapping[str, CompressedMask]) -> Path:
    """Write an object's masks as `{masks_dir}/{arm}/{video}/{object_id}/{frame}.png`, all of them or none.

    `{masks_dir}/{arm}` is what the official evaluator takes as its --pred_root. It asks for every annotated frame of the object, the first
    and the last and those before the prompt included, where the prediction is an empty mask. The files are PNGs of one bit a pixel,
    written into a folder beside the final one that then takes its name: a folder that is there is whole. One of an earlier run is replaced.

    Args:
        masks: by the name of the annotated frame without its suffix, for example `00004`.

    Returns:
        The object's folder.

    Raises:
        ValueError: there is no mask, or a name would leave its folder.
        OSError: a file cannot be written.
    """
    for name in (arm, video, object_id, *masks):
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a file or folder of masks")
    if not masks:
        raise ValueError(f"{video}/{object_id}: no masks to write")
    folder = masks_dir / arm / video / object_id
    # hidden, and beside the objects, where the evaluator does not look: it takes the objects' names from the ground truth
    partial = folder.with_name(f".{object_id}.partial")
    replaced = folder.with_name(f".{object_id}.replaced")
    for left_over in (partial, replaced):
        if left_over.exists():
            shutil.rmtree(left_over)
    partial.mkdir(parents=True)
    try:
        for frame, mask in masks.items():
            (partial / f"{frame}.png").write_bytes(_png(mask.unpack()))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(replaced)
    partial.rename(folder)
    if replaced.exists():
        shutil.rmtree(replaced)
    return folder


def _png(mask_hw: BoolMask) -> bytes:
    encoded, png = cv2.imencode(".png", mask_hw.view(np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    if not encoded:
        raise OSError(f"OpenCV {cv2.__version__} cannot write a PNG of {mask_hw.shape[1]}x{mask_hw.shape[0]} pixels")
    return png.tobytes()
