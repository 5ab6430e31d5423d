"""Frames of a split for a runtime that must measure ranges of activations before it runs in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import RunnerError
from runners.exported import CALIBRATION_FRAMES
from savbench.data.frames import ClipError

if TYPE_CHECKING:
    from runners.base import Frame
    from savbench.data.dataset import Split


def calibration_frames(split: Split, count: int = CALIBRATION_FRAMES) -> list[Frame]:
    """Frames spread evenly over a split: over its videos, and over each video where it has fewer than `count`.

    Raises:
        RunnerError: a video cannot be used, or a frame cannot be read.
    """
    try:
        return _spread(split, count)
    except ClipError as error:
        raise RunnerError(f"int8 is calibrated on frames of the split, and one cannot be used: {error}") from error


def _spread(split: Split, count: int) -> list[Frame]:
    total = len(split.videos)
    names = [split.videos[number * total // count] for number in range(count)] if total >= count else split.videos
    share = -(-count // len(names))
    found: list[Frame] = []
    for name in names:
        frames = split.video(name).frames
        reader = frames.reader()
        found += [reader.read(len(frames) * number // share) for number in range(share)]
    return found[:count]
