"""Predicted masks: packed while a clip is tracked, compressed until they are scored, saved for official evaluators and servers."""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from savbench.data.png import BoolMask, Labels, read_mask, read_picture

if TYPE_CHECKING:
    from savbench.data.video import SplitObject


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

    @property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The pixels, eight per byte."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8)

    def unpack(self) -> BoolMask:
        """The mask, (height, width), bool, as a new array.

        Raises:
            ValueError: the data are not a mask of this shape.
        """
        height, width = self.shape
        bits = self.bits
        if bits.size != (height * width + 7) // 8:
            raise ValueError(f"{bits.size} bytes are not a mask of {width}x{height} pixels")
        return np.unpackbits(bits, count=height * width).view(np.bool_).reshape(height, width)


def in_one_picture(masks_of: Sequence[Mapping[int, CompressedMask]]) -> list[dict[int, CompressedMask]]:
    """Masks of several objects by frame without what they share: the first object that has a pixel keeps it.

    Args:
        masks_of: by frame of the clip, for each object in the order of their labels.
    """
    taken: dict[int, npt.NDArray[np.uint8]] = {}
    apart: list[dict[int, CompressedMask]] = []
    for masks in masks_of:
        apart.append({})
        for frame, mask in masks.items():
            bits = mask.bits
            if frame in taken:
                own = bits & ~taken[frame]
                taken[frame] = taken[frame] | bits
                mask = mask if np.array_equal(own, bits) else CompressedMask(zlib.compress(own.tobytes(), 1), mask.shape)
            else:
                taken[frame] = bits
            apart[-1][frame] = mask
    return apart


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
    _check_names(arm, video, object_id, *masks)
    if not masks:
        raise ValueError(f"{video}/{object_id}: no masks to write")
    folder = masks_dir / arm / video / object_id
    _write_whole(folder, ((frame, _png(mask.unpack())) for frame, mask in masks.items()))
    return folder


def save_pictures(masks_dir: Path, arm: str, video: str, pictures: Iterable[tuple[str, Labels]]) -> Path:
    """Write pictures of all objects of a video as `{masks_dir}/{arm}/{video}/{frame}.png`, all of them or none.

    `{masks_dir}/{arm}` is --results_path of the official DAVIS tool, and what the servers of MOSE, YouTube-VOS and LVOS take. The files are
    palette PNGs in DAVIS's colours. A folder of an earlier run is replaced.

    Args:
        pictures: (name of the frame without suffix, label per pixel).

    Returns:
        The video's folder.

    Raises:
        ValueError: a name would lead out of its folder.
        OSError: a file cannot be written.
    """
    _check_names(arm, video)
    folder = masks_dir / arm / video
    _write_whole(folder, ((frame, palette_png(picture)) for frame, picture in pictures))
    return folder


def read_saved(folder: Path, obj: SplitObject, frame: str, size_hw: tuple[int, int], *, in_pictures: bool) -> BoolMask:
    """A prediction as `save_object_masks` or `save_pictures` wrote it, (height, width), bool.

    Args:
        folder: of the arm.
        frame: name of the frame without suffix.

    Raises:
        ClipError: it is missing, damaged or of another size.
    """
    if in_pictures:
        return np.asarray(read_picture(saved_mask(folder / obj.video, frame), size_hw) == int(obj.object))
    return read_mask(saved_mask(folder / obj.video / obj.object, frame), size_hw)


def _check_names(*names: str) -> None:
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"{name!r} cannot be the name of a file or folder of masks; rename it")


def _write_whole(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a folder of PNGs, by name without suffix, in place of any that is there, or nothing."""
    # hidden folders beside it: evaluators ignore them, as they take names from the ground truth
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    for left_over in (partial, replaced):
        if left_over.exists():
            shutil.rmtree(left_over)
    partial.mkdir(parents=True)
    try:
        for name, png in files:
            _check_names(name)
            saved_mask(partial, name).write_bytes(png)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(replaced)
    partial.rename(folder)
    if replaced.exists():
        shutil.rmtree(replaced)


def palette_png(picture_hw: Labels) -> bytes:
    """A picture of labels as a PNG in DAVIS's colours."""
    image = Image.fromarray(picture_hw)
    image.putpalette(_palette())
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()


@cache
def _palette() -> list[int]:
    """DAVIS's colours, which are those of PASCAL VOC: of a label's bits the lowest is the highest of red, the next of green, then of blue,
    and so on downwards."""
    return [sum(((label >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for label in range(256) for channel in range(3)]


def _png(mask_hw: BoolMask) -> bytes:
    encoded, png = cv2.imencode(".png", mask_hw.view(np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])
    if not encoded:
        raise OSError(f"OpenCV {cv2.__version__} cannot write a PNG of {mask_hw.shape[1]}x{mask_hw.shape[0]} pixels")
    return png.tobytes()
