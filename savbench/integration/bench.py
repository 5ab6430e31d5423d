"""The model to check, the clips, and how they are played: call by call as a session of a run makes them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from runners.base import Clip, Prompt
from savbench.data.demo.split import make_clip
from savbench.data.prompts import make_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from runners import RunnerSpec
    from runners.base import BuildOptions, Frame, FrameReport, Masks, PromptKind, VideoRunner
    from savbench.measure.devices import Device

FRAMES = 6
SEED = 18
"""Of the clips. Both objects of the square one lie off its diagonal: transposed, they would not meet themselves."""
WIDE, SQUARE, LARGE = (180, 320), (180, 180), (360, 640)
"""(height, width) of the clips. What is kept of a frame of the large one shows in the memory of a process."""


@dataclass(frozen=True)
class Scene:
    """A generated clip of two objects that stay in sight."""

    clip: Clip
    frames_thwc: npt.NDArray[np.uint8]
    masks_nthw: npt.NDArray[np.bool_]
    """(objects, frames, height, width)."""

    @classmethod
    def draw(cls, size_hw: tuple[int, int], frames: int = FRAMES) -> Scene:
        drawn = make_clip(SEED, frames, *size_hw, roles=("stay", "stay"), distractors=0)
        # a runner that reads the files of a clip, which it may only do to prepare all frames beforehand, finds none
        return cls(Clip(f"generated {size_hw[1]}x{size_hw[0]}", frames, *size_hw), drawn.frames_thwc, drawn.masks_nthw)

    def prompt(self, number: int, kind: PromptKind, frame: int = 0) -> Prompt:
        """The prompt of an object, whose id is its number counted from 1."""
        return make_prompt(kind, self.masks_nthw[number, frame], object_id=number + 1)

    def longer(self, frames: int) -> Scene:
        """Forth and back until it has so many frames; only their order is stored."""
        turns = [*range(len(self.frames_thwc)), *range(len(self.frames_thwc) - 2, 0, -1)]
        order = [turns[index % len(turns)] for index in range(frames)]
        clip = dataclasses.replace(self.clip, num_frames=frames)
        return _Longer(clip, self.frames_thwc, self.masks_nthw, order)

    def frame(self, position: int) -> Frame:
        """A new array, as a decoder gives it."""
        return np.array(self.frames_thwc[position])


@dataclass(frozen=True)
class _Longer(Scene):
    order: Sequence[int] = ()

    def frame(self, position: int) -> Frame:
        return np.array(self.frames_thwc[self.order[position]])


@dataclass(frozen=True)
class Call:
    """One `prompt` or `track`, as seen from outside. Times in ms."""

    position: int
    masks: Masks
    """As returned, not copied."""
    at_return: Masks
    """A copy, made when they were returned."""
    report: FrameReport
    wall: float
    cpu: float
    """Of all threads of the process."""
    cpu_of_inspect: float


@dataclass
class Bench:
    """A model under check."""

    model: str
    spec: RunnerSpec
    options: BuildOptions
    runner: VideoRunner
    device: Device
    rebuild: Callable[[BuildOptions], VideoRunner]
    """Builds another one."""
    wide: Scene = field(default_factory=lambda: Scene.draw(WIDE))
    square: Scene = field(default_factory=lambda: Scene.draw(SQUARE, 2))

    @property
    def is_trained(self) -> bool:
        """Whether masks mean something: trained weights, or a model that needs none."""
        return self.options.weights is not None or not self.spec.is_learned

    @property
    def kind(self) -> PromptKind:
        """A prompt that the model takes; `mask` if it does, which tells most."""
        return self.kinds[-1]

    @property
    def kinds(self) -> list[PromptKind]:
        known: tuple[PromptKind, ...] = ("points", "bbox", "mask")
        return [kind for kind in known if kind in self.spec.prompts]

    @contextlib.contextmanager
    def contexts(self, dtype: str = "float32") -> Iterator[None]:
        """What a session calls the runner in."""
        attention, dtype = ("auto", dtype) if self.spec.is_learned else ("none", "none")
        with self.device.attention(attention), self.device.autocast(dtype):
            yield

    def play(
        self,
        scene: Scene,
        prompts: Mapping[int, Sequence[Prompt]],
        *,
        runner: VideoRunner | None = None,
        dtype: str = "float32",
        after: Callable[[Call], None] = lambda call: None,
        keep: bool = True,
    ) -> list[Call]:
        """Track a scene to its end and close the clip, also after an error.

        Args:
            prompts: by position; the first is where tracking begins.
            runner: instead of the model under check.
            after: called after every call.
            keep: keep the calls; without, none are returned.

        Raises whatever the runner raises.
        """
        runner = self.runner if runner is None else runner
        calls: list[Call] = []
        with self.contexts(dtype):
            try:
                runner.open(scene.clip, scene.frame(0))
                for position in range(min(prompts), scene.clip.num_frames):
                    call = _call(runner, position, scene.frame(position), prompts.get(position, ()))
                    after(call)
                    if keep:
                        calls.append(call)
            finally:
                runner.close()
        return calls


def _call(runner: VideoRunner, position: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Call:
    wall, cpu = time.perf_counter(), time.process_time()
    masks = runner.prompt(position, frame_hwc, prompts) if prompts else runner.track(position, frame_hwc)
    returned, used = time.perf_counter(), time.process_time()
    at_return = np.array(masks)
    before = time.process_time()
    report = runner.inspect()
    inspected = time.process_time()
    return Call(position, masks, at_return, report, (returned - wall) * 1e3, (used - cpu) * 1e3, (inspected - before) * 1e3)


def overlap(a_hw: npt.NDArray[np.bool_], b_hw: npt.NDArray[np.bool_]) -> float:
    """J of two masks; 0 if their sizes differ."""
    if a_hw.shape != b_hw.shape:
        return 0.0
    union = int((a_hw | b_hw).sum())
    return float((a_hw & b_hw).sum() / union) if union else 1.0
