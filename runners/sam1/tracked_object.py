"""What the tracker carries of one object from frame to frame: the prompt for the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

BoolMask = npt.NDArray[np.bool_]

FOUND_IOU = 0.88
"""Estimated IoU from which on a lost object counts as found: what SAM's authors keep a mask from when they segment everything (Kirillov et
al. 2023, appendix B)."""


@dataclass(frozen=True)
class ModelPrompt:
    """What the model is asked with. Coordinates are pixels of the video, as in `runners.base.Prompt`."""

    points_n2: npt.NDArray[np.float32] | None = None
    """Positive clicks."""
    box_4: npt.NDArray[np.float32] | None = None
    logits_1hw: torch.Tensor | None = None
    """Low-resolution mask logits, (1, imgsz / 4, imgsz / 4)."""

    @property
    def is_ambiguous(self) -> bool:
        """One click alone may mean the object or a part of it: the best of three masks is taken then."""
        return self.box_4 is None and self.logits_1hw is None and self.points_n2 is not None and len(self.points_n2) == 1

    @property
    def form(self) -> tuple[int, bool, bool]:
        """Prompts of the same form can be given to the model together."""
        return 0 if self.points_n2 is None else len(self.points_n2), self.box_4 is None, self.logits_1hw is None


def prompt_of_mask(mask_hw: BoolMask, logits_1hw: torch.Tensor) -> ModelPrompt:
    """The tight box, the innermost pixel and the logits of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    x_min, y_min, x_max, y_max = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    # Beyond the frame is outside of the object too.
    inside = np.pad(mask_hw[y_min : y_max + 1, x_min : x_max + 1], 1).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return ModelPrompt(
        points_n2=np.array([[x_min + int(column) - 1, y_min + int(row) - 1]], np.float32),
        box_4=np.array([x_min, y_min, x_max, y_max], np.float32),
        logits_1hw=logits_1hw,
    )


class TrackedObject:
    """One object: its last known mask, or what the user said of it until there is one.

    An object whose mask comes out empty is lost. Its prompt stays what it was when it was last seen, so that it can be found there again,
    and its mask is reported empty until the model gives one that it estimates at `FOUND_IOU` or better.
    """

    def __init__(self, prompt: ModelPrompt) -> None:
        self.is_lost = False
        self._prompt: ModelPrompt | None = prompt
        self._seen: tuple[BoolMask, torch.Tensor] | None = None

    def next_prompt(self) -> ModelPrompt:
        if self._prompt is None:
            assert self._seen is not None  # one of the two is always there
            self._prompt = prompt_of_mask(*self._seen)
        return self._prompt

    def see(self, mask_hw: BoolMask, logits_1hw: torch.Tensor, iou: float) -> BoolMask:
        """Take the model's answer to `next_prompt`, and return the mask to report.

        Args:
            mask_hw: (height, width) at video resolution.
            logits_1hw: the same at the model's low resolution.
            iou: the model's estimate.
        """
        # Written so that an estimate that is NaN finds nothing.
        if not mask_hw.any() or (self.is_lost and not iou >= FOUND_IOU):
            self.is_lost = True
            return np.zeros_like(mask_hw)
        self.is_lost = False
        self._seen, self._prompt = (mask_hw, logits_1hw), None
        return mask_hw

    def move(self, mask_hw: BoolMask, logits_1hw: torch.Tensor) -> None:
        """Put the last known mask elsewhere; one that was moved out of the frame stays where it was."""
        if mask_hw.any():
            self._seen, self._prompt = (mask_hw, logits_1hw), None

    @property
    def seen(self) -> tuple[BoolMask, torch.Tensor] | None:
        """The last known mask and its logits; None before the first."""
        return self._seen
