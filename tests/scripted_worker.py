"""A worker process with one more model, `scripted`, that does what the name of the clip says. For tests of the process model."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from runners import RUNNERS, RunnerSpec  # noqa: E402
from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC = RunnerSpec(factory="scripted_worker.ScriptedRunner", family="baseline", prompts=("mask",))
FAULT_FRAME = 3
"""Frame on which a scripted fault happens; later than the warm-up."""


class ScriptedRunner:
    """Copies the prompted mask, and on `FAULT_FRAME` of a clip does what the first word of the clip's name says."""

    applied = Applied(implementation="scripted", device="cpu", imgsz=None, weights="none")

    def __init__(self, options: BuildOptions) -> None:
        fault = os.environ.get("SCRIPTED_BUILD_FAULT")
        if fault == "runner_error":
            raise RunnerError("this model cannot be built; do something else")
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault is not None and fault.startswith("kill_once="):
            mark = Path(fault.partition("=")[2])
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        self._opened = 0
        self._kept: list[bytearray] = []
        self._clip = Clip("", 0, 0, 0)
        self._masks: Masks = np.zeros((0, 0, 0), np.bool_)
        self._finite = True

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self._clip = clip
        self._opened += 1
        if clip.name.startswith("wear") and self._opened > 4:
            raise ZeroDivisionError("worn out")

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._masks = np.stack([p.mask_hw for p in prompts if p.mask_hw is not None])
        return self._masks

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._finite = True
        if self._clip.name.startswith("eat") and frame_index >= FAULT_FRAME:
            self._keep(64)
        if self._clip.name.startswith("grow"):
            self._keep(2)
        if frame_index == FAULT_FRAME:
            self._do(self._clip.name.split("_")[0])
        elif self._clip.name.startswith("slow"):
            time.sleep(0.05)
        return self._masks

    def _keep(self, mib: int) -> None:
        """Take memory and touch every page of it."""
        self._kept.append(bytearray(b"1") * (mib << 20))

    def _do(self, fault: str) -> None:
        if fault == "raise":
            raise ZeroDivisionError("a fault of the model\nwith a second line")
        if fault == "refuse":
            raise RunnerError("the model cannot do this; do something else")
        if fault == "oom":
            raise MemoryError("cannot allocate")
        if fault == "limit":
            resource.setrlimit(resource.RLIMIT_AS, (int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + (100 << 20),) * 2)
            for _ in range(100):
                self._keep(16)
        if fault == "nvmap":
            raise RuntimeError("NvMapMemAllocInternalTagged: 1075072515 error 12")
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "leave":
            os._exit(0)
        if fault == "hang":
            time.sleep(3600)
        if fault == "nan":
            self._finite = False
        if fault == "transpose":
            self._masks = self._masks.transpose(0, 2, 1)
        if fault == "tell":
            warnings.warn(Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip(), stacklevel=1)
        if fault == "warn":
            warnings.warn("first line\nsecond line", stacklevel=1)
            warnings.warn("first line\nother second line", stacklevel=1)

    def inspect(self) -> FrameReport:
        return FrameReport(parts_ms={"model_ms": 1.0}, finite=self._finite)

    def close(self) -> None:
        self._masks = np.zeros((0, 0, 0), np.bool_)
        self._kept.clear()


if __name__ == "__main__":
    sys.modules["scripted_worker"] = sys.modules["__main__"]
    RUNNERS.update(scripted=SPEC, other=SPEC)
    from savbench.measure.worker import main

    sys.exit(main())
