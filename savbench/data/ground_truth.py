"""Reading and checking ground-truth masks, and finding an object's first mask."""

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

# Only the needed decoder: Pillow chooses by content, and some of its decoders start external programs.
_MASK_FORMATS = ("PNG",)
_BLURRED = 8
"""A mask with this many distinct values counts as smoothed; masks of several objects rarely have as many."""


def read_mask(path: Path, size_hw: tuple[int, int] | None = None) -> BoolMask:
    """Decode a mask: (height, width), bool, True where the stored value is above 0.

    Accepts single-channel PNGs of any depth and palette PNGs (by index) with at most two distinct values: the official evaluator refuses
        more, because a file holds one object. `check_values` checks that the masks of an object agree in their value.

    Args:
        size_hw: size of the video's frames; None accepts any.

    Raises:
        ClipError: the file is missing, unreadable, truncated, of another size, in colour, or has more than two values.
    """
    values_hw = _read_values(path, size_hw)
    if values_hw.dtype == np.bool_:
        # Pillow returns 1-bit images as bools whose True is the byte 255; code that counts bits in masks needs 1
        return np.asarray(values_hw.view(np.uint8) > 0)
    return np.asarray(values_hw > 0)


def check_values(obj: SplitObject, size_hw: tuple[int, int]) -> None:
    """Check that all masks of an object mark it with the same value, on a background of 0.

    One file alone does not show this: a mask with palette indices 1 and 2, or with 2 where other masks have 1, belongs to another object or
        to several, but read as "above 0" it would be scored without an error.

    Args:
        obj: the object, already cut by `SplitVideo.take` if clips are cut.

    Raises:
        ClipError: a mask is unusable, marks the object with another value than earlier masks, or no mask has a 0.
    """
    marked: tuple[int, Path] | None = None
    has_background = False
    for _, path in obj.annotations:
        values_hw = _read_values(path, size_hw)
        low, high = int(values_hw.min()), int(values_hw.max())
        has_background |= low == 0
        if high == 0 or values_hw.dtype == np.bool_:  # 1-bit files have only one value for the object
            continue
        if 0 < low < high:
            raise ClipError(
                f"{path}: has the values {low} and {high} but no background value 0; SA-V has one object per file, write the "
                "object's mask as 255 on 0"
            )
        if marked is not None and marked[0] != high:
            raise ClipError(
                f"{path}: marks its object with the value {high}, {marked[1].name} with {marked[0]}; SA-V has one object per folder, so "
                "these are masks of several objects: give each object its own folder, with 255 on 0"
            )
        marked = marked or (high, path)
    if not has_background:
        raise ClipError(
            f"{obj.folder}: no pixel of its {len(obj.annotations)} masks has the background value 0; write them as 255 on 0, or "
            "remove the folder if the object fills every frame"
        )


def first_prompt(obj: SplitObject, size_hw: tuple[int, int]) -> tuple[int, BoolMask]:
    """Find where an object is first visible: (frame index, mask) of its first non-empty annotation.

    Decodes masks in order until one is not empty, usually the first.

    Args:
        obj: the object, already cut by `SplitVideo.take` if clips are cut.
        size_hw: (height, width) of the video.

    Raises:
        ClipError: a decoded mask is unusable, or all masks are empty.
        NothingToTrackError: all masks that `SplitVideo.take` kept are empty.
    """
    for index, path in obj.annotations:
        mask_hw = read_mask(path, size_hw)
        if mask_hw.any():
            return index, mask_hw
    message = f"{obj.folder}: all its {len(obj.annotations)} masks are empty, so there is nothing to prompt with"
    if obj.left_out:
        raise NothingToTrackError(f"{message}; --max_frames left out {obj.left_out} more; raise it")
    raise ClipError(f"{message}; remove the object's folder or extract the annotations again")


def _read_values(path: Path, size_hw: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Stored values, (height, width), at most two distinct ones. Raises ClipError as `read_mask` does."""
    try:
        with Image.open(path, formats=_MASK_FORMATS) as image:
            if size_hw is not None and (image.height, image.width) != size_hw:
                raise ClipError(
                    f"{path}: the mask is {image.width}x{image.height} but the video {size_hw[1]}x{size_hw[0]}; "
                    "masks must have the size of the frames; extract the annotations again"
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
                f"{path}: {number} different values between {low} and {high}, as in masks with smoothed edges; write the mask as 255 where "
                "the object is and 0 elsewhere, without smoothing or resizing it"
            )
        raise ClipError(
            f"{path}: more than two values in the mask (between {low} and {high}); SA-V has one object per file, "
            "split masks of several objects into one folder per object"
        )
    return values_hw
