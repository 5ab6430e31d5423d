"""Moves low-resolution mask logits along the optical flow between two frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from runners.base import Frame
    from runners.sam1.preprocessing import InputFrame

SMALLEST_SIDE = 16
"""DIS may return NaN on images smaller than its patches."""


class Motion:
    """Dense optical flow (DIS, Kroeger et al. 2016) from each frame back to the previous one, at the resolution of the logits."""

    def __init__(self) -> None:
        # OpenCV's type stubs require an initial flow; the function does not
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._grey_hw: npt.NDArray[np.uint8] | None = None
        self._from_xy: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None

    def feed(self, frame_hwc: Frame, where: InputFrame) -> None:
        """Take the next frame."""
        before_hw, side = self._grey_hw, max(where.imgsz // 4, SMALLEST_SIDE)
        height, width = (max(1, round(length * side / where.imgsz)) for length in where.resized_hw)
        small_hw = cv2.cvtColor(cv2.resize(frame_hwc, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        bordered_hw = cv2.copyMakeBorder(small_hw, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
        self._grey_hw, self._from_xy = np.asarray(bordered_hw, np.uint8), None
        if before_hw is not None:
            flow_hw2 = self._dis.calc(self._grey_hw, before_hw, None)
            places = np.arange(side, dtype=np.float32)
            self._from_xy = flow_hw2[..., 0] + places, flow_hw2[..., 1] + places[:, None]

    def move(self, logits_1hw: torch.Tensor) -> torch.Tensor:
        """Move logits of the previous frame, (1, h, w), to the frame fed last; unchanged if there is no previous frame."""
        if self._from_xy is None or logits_1hw.shape[-1] < SMALLEST_SIDE:
            return logits_1hw
        before_hw = logits_1hw[0].float().cpu().numpy()
        moved_hw = cv2.remap(before_hw, *self._from_xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(np.asarray(moved_hw)).to(logits_1hw)[None]
