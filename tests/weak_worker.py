"""A worker process with models that have a known weakness: `blind` loses small objects, `unlucky` those of clips whose name says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import scripted_worker  # noqa: E402

from runners import RUNNERS, RunnerSpec  # noqa: E402

if TYPE_CHECKING:
    from runners.base import Frame, Masks

SPECS = {
    "scripted": scripted_worker.SPEC,
    "blind": RunnerSpec(factory="weak_worker.BlindToSmall", family="baseline", prompts=("mask",)),
    "unlucky": RunnerSpec(factory="weak_worker.Unlucky", family="baseline", prompts=("mask",)),
}
SMALL = 0.1
"""Root of the share of the image under which an object is lost."""


class BlindToSmall(scripted_worker.ScriptedRunner):
    """Loses an object at once if it was small when prompted."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        masks = super().track(frame_index, frame_hwc)
        return np.stack([mask_hw & (mask_hw.mean() >= SMALL**2) for mask_hw in masks])


class Unlucky(scripted_worker.ScriptedRunner):
    """Loses the object of a clip whose name ends in `lost`."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        masks = super().track(frame_index, frame_hwc)
        return masks & (not self._clip.name.endswith("lost"))


if __name__ == "__main__":
    sys.modules["weak_worker"] = sys.modules["__main__"]
    RUNNERS.update(SPECS)
    from savbench.measure.worker import main

    sys.exit(main())
