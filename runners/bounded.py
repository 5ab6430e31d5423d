"""Frames for SAM 2-style predictors without keeping a clip in memory.

Upstream's loaders decode every frame of a clip before the first is tracked and keep it, 12.6 MB each at 1024 pixels. The predictors only
ever index the frame they are about to encode, so one slot that holds the current frame serves them, and the benchmark can time a frame
from its decoded pixels on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import RunnerError

if TYPE_CHECKING:
    import torch


class FrameSlot:
    """Stands in for the tensor of all frames, (frames, 3, imgsz, imgsz), that a predictor's state holds under `images`.

    Its length is the true number of frames, which predictors read: clips under 16 frames use fewer object pointers.
    """

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._index: int | None = None
        self._image_chw: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._num_frames

    def put(self, index: int, image_chw: torch.Tensor) -> None:
        self._index, self._image_chw = index, image_chw

    def __getitem__(self, index: int) -> torch.Tensor:
        if index != self._index or self._image_chw is None:
            raise RunnerError(
                f"the predictor asked for frame {index} while frame {self._index} is at hand; frames must be fed without a gap"
            )
        return self._image_chw
