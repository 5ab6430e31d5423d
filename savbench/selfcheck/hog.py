"""A worker whose model runs out of memory on one video, for the check that a run goes on after that; started in a worker's place."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import torch

from runners import RUNNERS
from runners.sam2 import Sam2Runner
from savbench.measure import worker
from savbench.selfcheck.laboratory import MODEL

if TYPE_CHECKING:
    from runners.base import Clip, Frame

HOG = "hog"
"""The video on which memory runs out."""
TOO_MUCH = 1 << 50
"""Bytes, more than any machine has: refused at once, so that nothing is pushed into swap."""


class HogRunner(Sam2Runner):
    """SAM 2 that asks for too much memory when it opens the video `HOG`."""

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        if clip.name == HOG:
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=self.applied.device)
        super().open(clip, first_frame_hwc)


def main() -> int:
    """Serve as a worker with the hog in place of the model."""
    RUNNERS[MODEL] = dataclasses.replace(RUNNERS[MODEL], factory=f"{HogRunner.__module__}.{HogRunner.__name__}")
    return worker.main()


if __name__ == "__main__":
    # the factory finds this module by its name, which is another one while it is run
    HogRunner.__module__ = "savbench.selfcheck.hog"
    sys.exit(main())
