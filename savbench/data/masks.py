"""Predicted masks: packed while a clip is tracked, compressed until they are scored, saved in SA-V's layout.

The official evaluator reads this layout.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.png import BoolMask


class PackedMask:
    """A boolean mask with eight pixels per byte."""

    __slots__ = ("bits", "shape")

    def __init__(self, mask_hw: BoolMask) -> None:
        """
        Args:
            mask_hw: (height, width), bool; copied.

        Raises:
            ValueError: another dtype or number of dimensions.
        """
        if mask_hw.dtype != np.bool_ or mask_hw.ndim != 2:
            raise ValueError(f"a mask must be a boolean (height, width) array, not {mask_hw.dtype} of shape {mask_hw.shape}")
        self.shape: tuple[int, int] = (mask_hw.shape[0], mask_hw.shape[1])
        self.bits: npt.NDArray[np.uint8] = np.packbits(mask_hw)

    def unpack(self) -> BoolMask:
        """The mask, (height, width), bool, as a new array."""
        height, width = self.shape
        return np.unpackbits(self.bits, count=height * width).view(np.bool_).reshape(height, width)


class CompressedMask:
    """A boolean mask for storage or another process: a few kilobytes for a mask in full HD."""

    __slots__ = ("data", "shape")

    def __init__(self, data: bytes, shape: tuple[int, int]) -> None:
        """
        Args:
            data: pixels as bits, eight per byte, compressed with zlib.
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
        """The mask, (height, width), bool, as a new array.

        Raises:
            ValueError: the data are not a mask of this shape.
        """
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8)
        if bits.size != (height * width + 7) // 8:
            raise ValueError(f"{bits.size} bytes are not a mask of {width}x{height} pixels")
        return np.unpackbits(bits, count=height * width).view(np.bool_).reshape(height, width)


def saved_mask(folder: Path, frame: str) -> Path:
    """The file of a predicted mask, by the name of the annotated frame without its suffix, which may be `.PNG` there."""
    return folder / f"{frame}.png"


def save_object_masks(masks_dir: Path, arm: str, video: str, object_id: str, masks: Mapping[str, CompressedMask]) -> Path:
    """Write an object's masks as `{masks_dir}/{arm}/{video}/{object_id}/{frame}.png`, all of them or none.

    `{masks_dir}/{arm}` is --pred_root of the official evaluator. It expects every annotated frame of the object, including the first, the
    last
        and frames before the prompt, whose prediction is an empty mask. The files are PNGs with one bit per pixel. They are written to a
        temporary folder that is then renamed, so an existing folder is complete. A folder of an earlier run is replaced.

    Args:
        masks: by name of the annotated frame without suffix, for example `00004`.

    Returns:
        The object's folder.

    Raises:
        ValueError: there is no mask, or a name would lead out of its folder.
        OSError: a file cannot be written.
    """
    for name in (arm, video, object_id, *masks):
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a file or folder of masks; rename it")
    if not masks:
        raise ValueError(f"{video}/{object_id}: no masks to write")
    folder = masks_dir / arm / video / object_id
    # hidden folders beside the objects: the evaluator ignores them, as it takes object names from the ground truth
    partial = folder.with_name(f".{object_id}.partial")
    replaced = folder.with_name(f".{object_id}.replaced")
    for left_over in (partial, replaced):
        if left_over.exists():
            shutil.rmtree(left_over)
    partial.mkdir(parents=True)
    try:
        for frame, mask in masks.items():
            saved_mask(partial, frame).write_bytes(_png(mask.unpack()))
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
