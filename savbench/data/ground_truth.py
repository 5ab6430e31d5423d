"""Checking an object's ground truth, and finding its first mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.data.annotation import LabelInPicture, MaskFile
from savbench.data.frames import ClipError
from savbench.data.png import read_values
from savbench.data.video import NothingToTrackError

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.data.png import BoolMask
    from savbench.data.video import SplitObject


def check_values(obj: SplitObject, size_hw: tuple[int, int], checked: set[Path]) -> None:
    """Check that all masks of an object can be read and, if each has a file of its own, mark it with the same value on a background of 0.

    One file alone does not show this: a mask with palette indices 1 and 2, or with 2 where other masks have 1, belongs to another object or
        to several, but read as "above 0" it would be scored without an error.

    Args:
        obj: the object, already cut by `SplitVideo.take` if clips are cut.
        checked: pictures of several objects that were read before, and are not read again; those read here are added.

    Raises:
        ClipError: a mask is unusable, marks the object with another value than earlier masks, or no mask has a 0.
    """
    marked: tuple[int, Path] | None = None
    has_background = False
    for _, annotation in obj.annotations:
        if not isinstance(annotation, MaskFile):
            has_background = True
            if not (isinstance(annotation, LabelInPicture) and annotation.path in checked):
                annotation.read(size_hw)
            if isinstance(annotation, LabelInPicture):
                checked.add(annotation.path)
            continue
        path = annotation.path
        values_hw = read_values(path, size_hw)
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
            f"{obj.where}: no pixel of its {len(obj.annotations)} masks has the background value 0; write them as 255 on 0, or "
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
    for index, annotation in obj.annotations:
        mask_hw = annotation.read(size_hw)
        if mask_hw.any():
            return index, mask_hw
    message = f"{obj.where}: all its {len(obj.annotations)} masks are empty, so there is nothing to prompt with"
    if obj.left_out:
        raise NothingToTrackError(f"{message}; --max_frames left out {obj.left_out} more; raise it")
    raise ClipError(f"{message}; remove the object's folder or extract the annotations again")
