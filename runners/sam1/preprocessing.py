"""Between a video frame and the square input of the model: there for pixels and prompts, back for masks.

A frame is resized so that its longer side is the input's, and the rest of the square, below or at the right, is zeros after normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

GIVEN_MASK_LOGIT = 10.0
"""Logit, up to its sign, that a given mask has as a prompt: the size SAM 2 gives to masks that it is prompted with."""


@dataclass(frozen=True)
class InputFrame:
    """Where a video's frame lies in the model's square input."""

    height: int
    """Of the video, in pixels."""
    width: int
    imgsz: int

    @property
    def resized_hw(self) -> tuple[int, int]:
        """Height and width of the frame within the input; the longer is `imgsz`, the other rounded, halves up."""
        scale = self.imgsz / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    def points(self, points_xy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(..., 2) x, y from pixels of the video to pixels of the input. Pixels are numbered from 0 and scaled by their number."""
        height, width = self.resized_hw
        return (points_xy.astype(np.float64) * (width / self.width, height / self.height)).astype(np.float32)

    def logits_of_mask(self, mask_hw: torch.Tensor) -> torch.Tensor:
        """A given mask, (height, width) bool, as the low-resolution logits of a prompt, (1, imgsz / 4, imgsz / 4) float32.

        Each is 2 coverage - 1 times `GIVEN_MASK_LOGIT`, with the part of the pixel that the mask covers.
        """
        height, width = self.resized_hw
        resized = _resize(mask_hw[None, None].float(), (height, width))
        padded = functional.pad(resized, (0, self.imgsz - width, 0, self.imgsz - height))
        coverage = _resize(padded, (self.imgsz // 4, self.imgsz // 4))
        return (2 * coverage[0] - 1) * GIVEN_MASK_LOGIT

    def enlarge(self, logits_bmhw: torch.Tensor) -> torch.Tensor:
        """Low-resolution logits (B, M, imgsz / 4, imgsz / 4) to the video's size, (B, M, height, width) float32, without the padding."""
        height, width = self.resized_hw
        square = functional.interpolate(logits_bmhw.float(), size=(self.imgsz, self.imgsz), mode="bilinear", align_corners=False)
        frame = square[..., :height, :width]
        return functional.interpolate(frame, size=(self.height, self.width), mode="bilinear", align_corners=False)


def _resize(x_bchw: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(x_bchw, size=size_hw, mode="bilinear", align_corners=False, antialias=True)
