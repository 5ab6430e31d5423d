"""A runner that does everything right, and one for each planted fault."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Sequence

import numpy as np

from runners import RunnerSpec
from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from savbench.integration.bench import Bench
from savbench.measure.devices import PlainCpu

SPEC = RunnerSpec(factory="planted.Sound", family="baseline")
PARTS_MS = {"preprocess_ms": 0.0, "model_ms": 0.0, "output_ms": 0.0}


class Sound:
    """Returns the box around every prompt on every frame; a click stands for a box of 41 pixels."""

    applied = Applied(implementation="planted 1.0", device="cpu", imgsz=None, weights="none")

    def __init__(self, options: BuildOptions) -> None:
        self._clip: Clip | None = None
        self._boxes: list[Masks] = []
        self._report = FrameReport(PARTS_MS)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.close()
        self._clip = clip

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        if self._clip is None:
            raise RunnerError("planted: open a clip first")
        for prompt in prompts:
            mask_hw = np.zeros((self._clip.height, self._clip.width), np.bool_)
            x_min, y_min, x_max, y_max = self.box(prompt)
            mask_hw[max(0, y_min) : y_max + 1, max(0, x_min) : x_max + 1] = True
            self._boxes.append(mask_hw)
        return self.track(frame_index, frame_hwc)

    def box(self, prompt: Prompt) -> tuple[int, int, int, int]:
        if prompt.mask_hw is not None:
            rows, columns = np.nonzero(prompt.mask_hw)
            return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
        if prompt.box_4 is not None:
            x_min, y_min, x_max, y_max = map(int, prompt.box_4)
            return x_min, y_min, x_max, y_max
        assert prompt.points_n2 is not None
        x, y = map(int, prompt.points_n2[0])
        return x - 20, y - 20, x + 20, y + 20

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        if not self._boxes:
            raise RunnerError("planted: prompt an object first")
        begun = time.perf_counter()
        masks = self.masks(frame_hwc)
        self._report = FrameReport({**PARTS_MS, "model_ms": (time.perf_counter() - begun) * 1e3})
        return masks

    def masks(self, frame_hwc: Frame) -> Masks:
        return np.stack(self._boxes)

    def inspect(self) -> FrameReport:
        return self._report

    def close(self) -> None:
        self._clip = None
        self._boxes = []


class TransposedOnSquares(Sound):
    """As found in code that guesses the order of axes by the size."""

    def masks(self, frame_hwc: Frame) -> Masks:
        masks = super().masks(frame_hwc)
        return masks.transpose(0, 2, 1).copy() if frame_hwc.shape[0] == frame_hwc.shape[1] else masks


class Transposed(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        return super().masks(frame_hwc).transpose(0, 2, 1).copy()


class WithChannel(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        return super().masks(frame_hwc)[:, None]


class InBytes(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        return super().masks(frame_hwc).astype(np.uint8)


class KeepsFrames(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        # pages of its own: what is freed in a process of many tests would be used again, and no growth be seen
        block = mmap.mmap(-1, frame_hwc.nbytes * 4)
        block.write(frame_hwc.astype(np.float32).tobytes())
        self.__dict__.setdefault("kept", []).append(block)
        return super().masks(frame_hwc)


class ByChance(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        return super().masks(frame_hwc) | (np.random.default_rng().random(frame_hwc.shape[:2]) > 0.999)


class Unseeded(Sound):
    def __init__(self, options: BuildOptions) -> None:
        super().__init__(options)
        self._row = int(np.random.default_rng().integers(1, 1 << 30))

    def masks(self, frame_hwc: Frame) -> Masks:
        masks = super().masks(frame_hwc)
        masks[:, :, self._row % masks.shape[2]] = True
        return masks


class Remembers(Sound):
    """What was prompted in one clip shows in the next."""

    _before = 0

    def close(self) -> None:
        if self._clip is not None:
            self._before = self._clip.height + self._clip.width
        super().close()

    def masks(self, frame_hwc: Frame) -> Masks:
        masks = super().masks(frame_hwc)
        masks[:, 0, : self._before % 97] = True
        return masks


class Deferred(Sound):
    """Returns at once; a thread goes on."""

    def masks(self, frame_hwc: Frame) -> Masks:
        threading.Thread(target=_burn, args=(0.03,)).start()
        return super().masks(frame_hwc)


class FilledLater(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        masks = super().masks(frame_hwc)
        late = np.zeros_like(masks)
        threading.Timer(0.01, lambda: np.copyto(late, masks)).start()
        return late


class OneBuffer(Sound):
    """Every call returns the same memory."""

    def masks(self, frame_hwc: Frame) -> Masks:
        masks = super().masks(frame_hwc)
        if getattr(self, "buffer", masks[:0]).shape != masks.shape:
            self.buffer = masks
        self.buffer[:] = np.roll(masks, int(frame_hwc[0, 0, 0]) % 7 + len(self.__dict__.setdefault("calls", [])), axis=2)
        self.calls: list[int] = [*self.__dict__["calls"], 0]
        return self.buffer

    def close(self) -> None:
        self.__dict__.pop("calls", None)
        super().close()


class WorksInInspect(Sound):
    def inspect(self) -> FrameReport:
        _burn(0.01)
        return super().inspect()


class IgnoresPrompts(Sound):
    def box(self, prompt: Prompt) -> tuple[int, int, int, int]:
        return 20, 20, 60, 60


class RowsForColumns(Sound):
    def box(self, prompt: Prompt) -> tuple[int, int, int, int]:
        x_min, y_min, x_max, y_max = super().box(prompt)
        return y_min, x_min, y_max, x_max


class RefusesLate(Sound):
    """And `applied` says that it does not."""

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        if self._boxes:
            raise RunnerError("planted: no new objects now")
        return super().prompt(frame_index, frame_hwc, prompts)


class LateFirst(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        return super().masks(frame_hwc)[::-1].copy()


class WantsFiles(Sound):
    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        super().open(clip, first_frame_hwc)
        assert clip.frame_files is not None


class TracksNothing(Sound):
    """Before a prompt."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        return super().track(frame_index, frame_hwc) if self._boxes else np.zeros((0, *frame_hwc.shape[:2]), np.bool_)


class WritesIntoFrames(Sound):
    def masks(self, frame_hwc: Frame) -> Masks:
        frame_hwc //= 2
        return super().masks(frame_hwc)


class OtherParts(Sound):
    def inspect(self) -> FrameReport:
        return FrameReport({"encoder_ms": 1.0})


class HalfOfTheParts(Sound):
    """The call takes longer than the runner says."""

    def masks(self, frame_hwc: Frame) -> Masks:
        time.sleep(0.02)
        return super().masks(frame_hwc)

    def inspect(self) -> FrameReport:
        return FrameReport(PARTS_MS)


class SaysCuda(Sound):
    applied = Applied(implementation="", device="cpu", imgsz=512, weights="random")


def bench_of(runner_class: type[Sound]) -> Bench:
    options = BuildOptions()
    return Bench("planted", SPEC, options, runner_class(options), PlainCpu(), runner_class)


def _burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
