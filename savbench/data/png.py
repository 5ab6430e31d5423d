"""Decoding PNGs of masks: one object in a file, as SA-V has them, or all objects of a frame in one picture, as DAVIS has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from savbench.data.frames import IMAGE_ERRORS, ClipError, unreadable

if TYPE_CHECKING:
    from pathlib import Path

BoolMask = npt.NDArray[np.bool_]
"""Mask of one object, (height, width), bool."""
Labels = npt.NDArray[np.uint8]
"""Picture of all objects, (height, width), uint8: the object's label per pixel."""

BACKGROUND, VOID = 0, 255
"""Labels of a picture that are no object. Void marks pixels that the annotators left undecided; as in the official DAVIS tool, it counts as
background when semi-supervised results are scored."""

# Only the needed decoder: Pillow chooses by content, and some of its decoders start external programs.
_MASK_FORMATS = ("PNG",)
_BLURRED = 8
"""A mask with this many distinct values counts as smoothed; masks of several objects rarely have as many."""
_MOST_LABELS = 64
"""A picture with more distinct values counts as smoothed; no published video of these benchmarks has as many objects."""


def read_mask(path: Path, size_hw: tuple[int, int] | None = None) -> BoolMask:
    """Decode a mask: (height, width), bool, True where the stored value is above 0.

    Accepts single-channel PNGs of any depth and palette PNGs (by index) with at most two distinct values: the official evaluator refuses
        more, because a file holds one object. `savbench.data.ground_truth.check_values` checks that the masks of an object agree in their
        value.

    Args:
        size_hw: size of the video's frames; None accepts any.

    Raises:
        ClipError: the file is missing, unreadable, truncated, of another size, in colour, or has more than two values.
    """
    values_hw = read_values(path, size_hw)
    if values_hw.dtype == np.bool_:
        # Pillow returns 1-bit images as bools whose True is the byte 255; code that counts bits in masks needs 1
        return np.asarray(values_hw.view(np.uint8) > 0)
    return np.asarray(values_hw > 0)


def read_values(path: Path, size_hw: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Stored values of one object's mask, (height, width), at most two distinct ones. Raises ClipError as `read_mask` does."""
    values_hw = _decode(path, size_hw)
    low, high = values_hw.min(), values_hw.max()
    if values_hw.dtype != np.bool_ and np.any((values_hw != low) & (values_hw != high)):
        number = len(np.unique(values_hw))
        if number >= _BLURRED:
            raise ClipError(_smoothed(path, number, low, high, "the mask as 255 where the object is and 0 elsewhere"))
        raise ClipError(
            f"{path}: more than two values in the mask (between {low} and {high}); SA-V has one object per file, "
            "split masks of several objects into one folder per object"
        )
    return values_hw


def read_picture(path: Path, size_hw: tuple[int, int] | None = None) -> Labels:
    """Decode a picture of all objects: (height, width), uint8, the stored value or palette index per pixel.

    Args:
        size_hw: size of the video's frames; None accepts any.

    Raises:
        ClipError: the file is missing, unreadable, truncated, of another size, in colour, or has too many or too large values.
    """
    values_hw = _decode(path, size_hw)
    if values_hw.dtype == np.bool_:
        return np.asarray(values_hw.view(np.uint8) > 0).astype(np.uint8)
    if values_hw.dtype != np.uint8 and (values_hw.min() < 0 or values_hw.max() > VOID):
        raise ClipError(f"{path}: values between {values_hw.min()} and {values_hw.max()}; labels of objects are 0 to {VOID}")
    return values_hw.astype(np.uint8, copy=False)


def read_labels(path: Path) -> tuple[int, ...]:
    """Labels of the objects in a picture, in ascending order.

    A grey picture of 0 and 255 alone is a mask of one object, as DAVIS 2016 has them; its label is 255. In all others 255 is void.

    Raises:
        ClipError: the file is unreadable, in colour, or has so many values that its edges were smoothed.
    """
    try:
        with Image.open(path, formats=_MASK_FORMATS) as image:
            counts = image.getcolors(_MOST_LABELS) if image.mode in ("P", "L", "1") else None
            mode = image.mode
    except IMAGE_ERRORS as error:
        raise ClipError(unreadable("mask", path, error)) from error
    if counts is None:
        values_hw = read_picture(path)
        number = len(np.unique(values_hw))
        if number > _MOST_LABELS:
            raise ClipError(_smoothed(path, number, values_hw.min(), values_hw.max(), "the label of each object, 0 elsewhere"))
        values = {int(value) for value in np.unique(values_hw)}
    else:
        values = {int(value) for _, value in counts if isinstance(value, (int, float))}
    if mode == "1":
        return tuple(sorted({1} if values - {BACKGROUND} else ()))
    if mode != "P" and VOID in values and values <= {BACKGROUND, VOID}:
        return (VOID,)
    return tuple(sorted(values - {BACKGROUND, VOID}))


def _decode(path: Path, size_hw: tuple[int, int] | None) -> npt.NDArray[Any]:
    """(height, width). Raises ClipError as `read_mask` does, whatever the values."""
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
    return values_hw


def _smoothed(path: Path, number: int, low: Any, high: Any, what: str) -> str:
    return (
        f"{path}: {number} different values between {low} and {high}, as in masks with smoothed edges; write {what}, "
        "without smoothing or resizing it"
    )
