"""State of one tracked object: the prompt for the next frame."""

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
"""Estimated IoU at which a lost object counts as found: the threshold SAM's authors use to keep a mask when segmenting everything (Kirillov
et al. 2023, appendix B)."""


@dataclass(frozen=True)
class ModelPrompt:
    """A prompt for the model. Coordinates are pixels of the video, as in `runners.base.Prompt`."""

    points_n2: npt.NDArray[np.float32] | None = None
    """Positive clicks."""
    box_4: npt.NDArray[np.float32] | None = None
    logits_1hw: torch.Tensor | None = None
    """Low-resolution mask logits, (1, imgsz / 4, imgsz / 4)."""

    @property
    def is_ambiguous(self) -> bool:
        """Whether the prompt is a single click, which may mean the object or a part of it: the best of three masks is used."""
        return self.box_4 is None and self.logits_1hw is None and self.points_n2 is not None and len(self.points_n2) == 1

    @property
    def form(self) -> tuple[int, bool, bool]:
        """Prompts of the same form can be given to the model together."""
        return 0 if self.points_n2 is None else len(self.points_n2), self.box_4 is None, self.logits_1hw is None


def prompt_of_mask(mask_hw: BoolMask, logits_1hw: torch.Tensor) -> ModelPrompt:
    """The tight box, innermost pixel and logits of a nonempty mask."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    x_min, y_min, x_max, y_max = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    # Positions beyond the frame also count as outside the object.
    inside = np.pad(mask_hw[y_min : y_max + 1, x_min : x_max + 1], 1).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return ModelPrompt(
        points_n2=np.array([[x_min + int(column) - 1, y_min + int(row) - 1]], np.float32),
        box_4=np.array([x_min, y_min, x_max, y_max], np.float32),
        logits_1hw=logits_1hw,
    )


class TrackedObject:
    """One object: its last known mask, or the user's prompt until there is one.

    An object is lost when its mask is empty. It keeps the prompt from its last mask, so that it can be found there again, and its mask is
    reported empty until the model returns one with an estimated IoU of at least `FOUND_IOU`.
    """

    def __init__(self, prompt: ModelPrompt) -> None:
        self.is_lost = False
        self._prompt: ModelPrompt | None = prompt
        self._seen: tuple[BoolMask, torch.Tensor] | None = None

    def next_prompt(self) -> ModelPrompt:
        if self._prompt is None:
            assert self._seen is not None  # one of the two is always set
            self._prompt = prompt_of_mask(*self._seen)
        return self._prompt

    def see(self, mask_hw: BoolMask, logits_1hw: torch.Tensor, iou: float) -> BoolMask:
        """Take the model's answer to `next_prompt`, and return the mask to report.

        Args:
            mask_hw: (height, width) at video resolution.
            logits_1hw: the mask's logits at the model's low resolution.
            iou: the model's estimated IoU.
        """
        # Written so that a NaN estimate does not count as found.
        if not mask_hw.any() or (self.is_lost and not iou >= FOUND_IOU):
            self.is_lost = True
            return np.zeros_like(mask_hw)
        self.is_lost = False
        self._seen, self._prompt = (mask_hw, logits_1hw), None
        return mask_hw

    def move(self, mask_hw: BoolMask, logits_1hw: torch.Tensor) -> None:
        """Replace the last known mask by the moved one, unless that is empty (moved out of the frame)."""
        if mask_hw.any():
            self._seen, self._prompt = (mask_hw, logits_1hw), None

    @property
    def seen(self) -> tuple[BoolMask, torch.Tensor] | None:
        """The last known mask and its logits; None before the first."""
        return self._seen
