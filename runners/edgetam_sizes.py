"""The input sizes of EdgeTAM, which both of its implementations share."""

from __future__ import annotations

from runners.base import RunnerError

SIZES = (256, 512, 768, 1024)
"""Sides of the model's input that it can run: the perceiver cuts the feature grid of imgsz / 16 into 16 x 16 equal windows."""

STRIDE = 16
"""Pixels of the input per cell of the feature grid that the memory attention works on."""


def check_size(imgsz: int) -> None:
    """Check a size before anything is loaded.

    Raises:
        RunnerError: the model cannot run at this size; the message names the sizes that work.
    """
    if imgsz not in SIZES:
        *most, last = SIZES
        raise RunnerError(f"edgetam: {imgsz} is not a size it can run; use {', '.join(map(str, most))} or {last}")
