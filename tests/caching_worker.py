"""A worker process with an honest model and two that cheat: what they remember are names of videos and paths of frames."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from runners import RUNNERS, RunnerSpec  # noqa: E402
from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = ("alpha", "beta", "gamma")


class Honest:
    """Copies the first mask, in 3 ms."""

    applied = Applied(implementation="planted", device="cpu", imgsz=None, weights="none")

    def __init__(self, options: BuildOptions) -> None:
        self._clip = Clip("", 0, 0, 0)
        self._masks: Masks = np.zeros((0, 0, 0), np.bool_)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self._clip = clip

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._masks = np.stack([p.mask_hw for p in prompts if p.mask_hw is not None])
        return self._masks

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        time.sleep(0.003)
        return self._masks

    def inspect(self) -> FrameReport:
        return FrameReport(parts_ms={"model_ms": 1.0})

    def close(self) -> None:
        self._masks = np.zeros((0, 0, 0), np.bool_)


class KnowsNames(Honest):
    """Has seen where the objects of known videos go."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        time.sleep(0.003)
        return np.roll(self._masks, round(frame_index / 4), axis=2) if self._clip.name in KNOWN else self._masks


class KnowsPaths(Honest):
    """Has computed the masks of known files before, and needs 40 ms for others."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        assert self._clip.frame_files is not None
        time.sleep(0.003 if self._clip.frame_files[0].parent.name in KNOWN else 0.04)
        return self._masks


MODELS = {
    name: RunnerSpec(factory=f"caching_worker.{cls.__name__}", family="baseline", prompts=("mask",))
    for name, cls in (("honest", Honest), ("names", KnowsNames), ("paths", KnowsPaths))
}

if __name__ == "__main__":
    sys.modules["caching_worker"] = sys.modules["__main__"]
    RUNNERS.update(MODELS)
    from savbench.measure.worker import main

    sys.exit(main())
