"""Passes of a model over a generated clip, timed call by call."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from runners import RUNNERS
from runners.base import BuildOptions, Clip, Frame, FrameReport, PromptKind
from savbench.data.demo.motion import Role
from savbench.data.demo.split import make_clip
from savbench.data.prompts import make_prompt

if TYPE_CHECKING:
    from runners.base import Prompt, VideoRunner

HEIGHT, WIDTH = 480, 848
STAYS: Role = "stay"


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds: on a CPU the time that this process computed, which other programs on the machine leave as it is; else of the wall."""
    return time.process_time if device.type == "cpu" else time.perf_counter


@contextlib.contextmanager
def of_device(device: torch.device) -> Iterator[str]:
    """What is measured on this device, in words; on a CPU with one thread, since waiting for others would count as computing."""
    if device.type != "cpu":
        yield f"torch {torch.__version__} on {torch.cuda.get_device_name(device)}"
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield f"torch {torch.__version__}, CPU time of one thread"
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Call:
    """A call of a runner's `track`."""

    ms: float
    """On the device's `clock`."""
    wall_ms: float
    """On the wall's, which the runner's own report goes by."""
    report: FrameReport


class GeneratedClip:
    """Frames in memory with objects that are there from the first one to the last."""

    def __init__(self, frames: int, objects: int, device: torch.device) -> None:
        made = make_clip(0, frames, HEIGHT, WIDTH, roles=[STAYS] * objects)
        self.clip = Clip("generated", frames, HEIGHT, WIDTH)
        self._frames_thwc = made.frames_thwc
        self._masks_nhw = made.masks_nthw[:, 0]
        self._now = clock(device)

    def frames(self) -> list[Frame]:
        """All frames, (height, width, 3) uint8."""
        return list(self._frames_thwc)

    def prompts(self, kinds: Sequence[PromptKind], objects: int) -> list[Prompt]:
        """Every kind of prompt for each of the first objects, with ids of their own."""
        pairs = [(kind, mask_hw) for mask_hw in self._masks_nhw[:objects] for kind in kinds]
        return [make_prompt(kind, mask_hw, object_id=number, num_points=1) for number, (kind, mask_hw) in enumerate(pairs, start=1)]

    def track(self, runner: VideoRunner, prompts: Sequence[Prompt]) -> list[Call]:
        """Track the clip in one session. Returns a call for every frame after the prompted one."""
        calls = []
        try:
            runner.open(self.clip, self._frames_thwc[0])
            runner.prompt(0, self._frames_thwc[0], prompts)
            for index in range(1, self.clip.num_frames):
                begun, wall = self._now(), time.perf_counter()
                runner.track(index, self._frames_thwc[index])
                done, wall_done = self._now(), time.perf_counter()
                calls.append(Call((done - begun) * 1e3, (wall_done - wall) * 1e3, runner.inspect()))
        finally:
            runner.close()
        return calls


def build(model: str, imgsz: int | None, device: torch.device, *, stages: bool = False) -> VideoRunner:
    """A model with random weights: neither its time nor its memory depends on them."""
    return RUNNERS[model].build(replace(options_of(model, imgsz, device), stages=stages))


def options_of(model: str, imgsz: int | None, device: torch.device) -> BuildOptions:
    """A model with random weights, at a size or at its own."""
    spec = RUNNERS[model]
    return BuildOptions(device=str(device), imgsz=imgsz or spec.imgsz, config=spec.config)
