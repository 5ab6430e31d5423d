"""Masks of the ground truth, and what they say of an object as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from savbench.data.dataset import NothingToTrackError
from savbench.data.frames import IMAGE_ERRORS, ClipError, unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.data.dataset import SplitObject

BoolMask = npt.NDArray[np.bool_]
"""Mask of one object, (height, width), bool."""

# Only the decoder that such files need: Pillow picks by content, and some of its others start outside programs.
_MASK_FORMATS = ("PNG",)
_BLURRED = 8
"""Distinct values from which on a mask is taken for one whose edges were smoothed: several objects rarely come to as many."""


def read_mask(path: Path, size_hw: tuple[int, int] | None = None) -> BoolMask:
    """Decode a mask: (height, width), bool, True where the stored value is above 0.

    Single-channel PNGs of any depth and palette PNGs (by index) are taken, with at most two distinct values: the official evaluator
    refuses more, because a file holds one object. Whether the masks of an object agree in their value is for `check_values`.

    Args:
        size_hw: size of the video's frames; None accepts any.

    Raises:
        ClipError: missing, unreadable, truncated, of another size, in colour, or with more than two values.
    """
    values_hw = _read_values(path, size_hw)
    if values_hw.dtype == np.bool_:
        # Pillow gives 1-bit images as bools whose byte for True is 255; what counts bits in masks relies on 1
        return np.asarray(values_hw.view(np.uint8) > 0)
    return np.asarray(values_hw > 0)


def check_values(obj: SplitObject, size_hw: tuple[int, int]) -> None:
    """Make sure that all masks of an object mark it with one value beside 0.

    A file alone cannot tell: a mask with the indices 1 and 2 of a palette, or with 2 where others have 1, is that of another object, or of
    several, and read as "above 0" it would be scored all the same.

    Args:
        obj: the object, already reduced by `SplitVideo.take` where that applies.

    Raises:
        ClipError: a mask is unusable, marks its object with another value than the masks before, or none of them has a 0.
    """
    marked: tuple[int, Path] | None = None
    has_background = False
    for _, path in obj.annotations:
        values_hw = _read_values(path, size_hw)
        low, high = int(values_hw.min()), int(values_hw.max())
        has_background |= low == 0
        if high == 0 or values_hw.dtype == np.bool_:  # 1-bit files have one value to mark with, whatever the others use
            continue
        if 0 < low < high:
            raise ClipError(
                f"{path}: has the values {low} and {high} and no 0, the value of the background; SA-V has one object per file, write the "
                "object's mask as 255 on 0"
            )
        if marked is not None and marked[0] != high:
            raise ClipError(
                f"{path}: marks its object with the value {high}, {marked[1].name} with {marked[0]}; SA-V has one object per folder, so "
                "these are masks of several: split them into a folder for each, with 255 on 0"
            )
        marked = marked or (high, path)
    if not has_background:
        raise ClipError(
            f"{obj.folder}: no pixel of its {len(obj.annotations)} masks is 0, the value of the background; write them as 255 on 0, or "
            "remove the folder if the object is nowhere to be told from its background"
        )


def first_prompt(obj: SplitObject, size_hw: tuple[int, int]) -> tuple[int, BoolMask]:
    """Find where an object is first seen: (frame index, mask) of its first non-empty annotation.

    Masks are decoded in order until one marks a pixel, usually the first.

    Args:
        obj: the object, already reduced by `SplitVideo.take` where that applies.
        size_hw: (height, width) of the video.

    Raises:
        ClipError: a mask on the way is unusable, or none marks any pixel.
        NothingToTrackError: none marks any pixel before the cut that `SplitVideo.take` made.
    """
    for index, path in obj.annotations:
        mask_hw = read_mask(path, size_hw)
        if mask_hw.any():
            return index, mask_hw
    message = f"{obj.folder}: none of its {len(obj.annotations)} masks marks any pixel, so that there is nothing to prompt with"
    if obj.left_out:
        raise NothingToTrackError(f"{message}; {obj.left_out} more were left out by --max_frames, raise it")
    raise ClipError(f"{message}; remove the object's folder or extract the annotations again")


def _read_values(path: Path, size_hw: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Stored values, (height, width), at most two distinct ones. Raises as `read_mask`."""
    try:
        with Image.open(path, formats=_MASK_FORMATS) as image:
            if size_hw is not None and (image.height, image.width) != size_hw:
                raise ClipError(
                    f"{path}: the mask is {image.width}x{image.height}, the video {size_hw[1]}x{size_hw[0]}; "
                    "masks have the size of the frames, extract the annotations again"
                )
            values_hw = np.array(image)
    except IMAGE_ERRORS as error:
        raise ClipError(unreadable("mask", path, error)) from error
    if values_hw.ndim != 2:
        raise ClipError(f"{path}: a colour image with {values_hw.shape[2]} channels; a mask has one channel (or a palette)")
    low, high = values_hw.min(), values_hw.max()
    if values_hw.dtype != np.bool_ and np.any((values_hw != low) & (values_hw != high)):
        number = len(np.unique(values_hw))
        if number >= _BLURRED:
            raise ClipError(
                f"{path}: {number} different values between {low} and {high}, as smoothed edges leave them; write the mask as 255 where "
                "the object is and 0 elsewhere, without smoothing or resizing it"
            )
        raise ClipError(
            f"{path}: more than two values in the mask (between {low} and {high}); SA-V has one object per file, "
            "split masks of several objects into one folder per object"
        )
    return values_hw
