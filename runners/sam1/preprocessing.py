"""Converts pixels and prompts from a video frame to the model's square input, and masks back.

A frame is resized so that its longer side equals the input's; the rest of the square, below or at the right, is zero after normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

GIVEN_MASK_LOGIT = 10.0
"""Absolute logit of a given mask used as a prompt: the value SAM 2 uses for prompt masks."""


@dataclass(frozen=True)
class InputFrame:
    """Placement of a video's frame in the model's square input."""

    height: int
    """Size of the video, in pixels."""
    width: int
    imgsz: int

    @property
    def resized_hw(self) -> tuple[int, int]:
        """Height and width of the frame within the input; the longer is `imgsz`, the other is rounded, halves up."""
        scale = self.imgsz / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    def points(self, points_xy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Convert (..., 2) x, y from video pixels to input pixels. Pixels are numbered from 0; the scale is the ratio of pixel counts."""
        height, width = self.resized_hw
        return (points_xy.astype(np.float64) * (width / self.width, height / self.height)).astype(np.float32)

    def logits_of_mask(self, mask_hw: torch.Tensor) -> torch.Tensor:
        """Convert a mask, (height, width) bool, to low-resolution prompt logits, (1, imgsz / 4, imgsz / 4) float32.

        Each is (2 coverage - 1) * `GIVEN_MASK_LOGIT`, where coverage is the fraction of the pixel inside the mask.
        """
        height, width = self.resized_hw
        resized = _resize(mask_hw[None, None].float(), (height, width))
        padded = functional.pad(resized, (0, self.imgsz - width, 0, self.imgsz - height))
        coverage = _resize(padded, (self.imgsz // 4, self.imgsz // 4))
        return (2 * coverage[0] - 1) * GIVEN_MASK_LOGIT

    def enlarge(self, logits_bmhw: torch.Tensor) -> torch.Tensor:
        """Enlarge logits (B, M, imgsz / 4, imgsz / 4) to the video's size, (B, M, height, width) float32, without the padding."""
        height, width = self.resized_hw
        square = functional.interpolate(logits_bmhw.float(), size=(self.imgsz, self.imgsz), mode="bilinear", align_corners=False)
        frame = square[..., :height, :width]
        return functional.interpolate(frame, size=(self.height, self.width), mode="bilinear", align_corners=False)


def _resize(x_bchw: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(x_bchw, size=size_hw, mode="bilinear", align_corners=False, antialias=True)
