"""The model and the clip that every check measures with: `sam2_nano` as a run builds it, tracked by a run's own session."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import BuildOptions, CompileScope, PromptKind
from savbench.data.dataset import SplitVideo
from savbench.data.feed import Feed, PromptMaker, Track
from savbench.data.frames import JpegFrames
from savbench.finish.metrics import score_frame
from savbench.measure.devices import TorchDevice
from savbench.measure.session import SessionSettings, observe_kernels, track_together
from savbench.selfcheck.recorded import CLIP, LARGE, OBJECTS, PROMPTS, Recorded, write_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runners.base import VideoRunner
    from savbench.measure.measured import Measured
    from savbench.selfcheck.recorded import Masks

MODEL = "sam2_nano"
WARMUP_FRAMES = 3


@dataclass(frozen=True)
class Tracked:
    """One object, tracked to the end of the clip."""

    measured: Measured
    masks_thw: Masks
    """(frames, height, width), from the prompted frame on."""

    @property
    def latencies_ms(self) -> list[float]:
        return [frame.call_ms for frame in self.measured.timed]


def build(device: str, *, stages: bool = False, compile_scope: CompileScope = "off") -> VideoRunner:
    """`sam2_nano` with its weights. Raises RunnerError."""
    spec = RUNNERS[MODEL]
    assert spec.checkpoint is not None  # it comes with the benchmark
    return spec.build(
        BuildOptions(
            device=device,
            imgsz=spec.imgsz,
            weights=SHIPPED_WEIGHTS / spec.checkpoint,
            config=spec.config,
            stages=stages,
            compile=compile_scope,
        )
    )


class Laboratory:
    """A built model on a device, and the recorded clip on disk."""

    def __init__(self, device: str, folder: Path, recorded: Recorded, *, compile_scope: CompileScope = "off") -> None:
        """
        Args:
            device: as on the command line.
            folder: where the clip is written; not there, or empty.

        Raises:
            RunnerError: the model cannot run there.
        """
        self.recorded = recorded
        self.runner = build(device, compile_scope=compile_scope)
        self.device = TorchDevice(torch, self.runner.applied.device)
        self.torch_device = torch.device(self.runner.applied.device)
        split = write_split(recorded, folder / "split", {CLIP: 1, LARGE: 3})
        self.video, self.large = split.video(CLIP), split.video(LARGE)

    @property
    def is_gpu(self) -> bool:
        return str(self.torch_device.type) == "cuda"

    def synchronize(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize(self.torch_device)

    def settings(self, dtype: str = "float32", attention: str = "auto") -> SessionSettings:
        return SessionSettings(autocast_dtype=dtype, attention=attention, warmup_frames=WARMUP_FRAMES, keep_all_masks=True)

    def track(
        self,
        number: int = 0,
        *,
        dtype: str = "float32",
        attention: str = "auto",
        video: SplitVideo | None = None,
        frames: int | None = None,
        runner: VideoRunner | None = None,
        on_frame: Callable[[int, int, int], None] = lambda done, total, frame: None,
    ) -> Tracked:
        """Run a session of one object.

        Args:
            number: of the object.
            video: the clip unless given, one of this laboratory's.
            frames: cut the clip after so many.
            runner: stands before the model.
            on_frame: as in `track_together`.

        Raises:
            RunnerError: as in `track_together`.
        """
        of = (self.video if video is None else video).take(frames)
        settings, track = self.settings(dtype, attention), self._prompted(of, number)
        [measured] = track_together(runner or self.runner, self.device, of, [track], settings, on_frame)
        masks_thw = np.array([mask.unpack() for _, mask in sorted(measured.masks.items())])
        return Tracked(measured, masks_thw)

    def kernels(self, dtype: str = "float32", attention: str = "auto") -> str:
        """Attention kernels of a tracked frame, as a row names them. Raises RunnerError."""
        return observe_kernels(self.runner, self.device, self.video, self._prompted(self.video, 0), self.settings(dtype, attention))[0]

    def longer(self, frames: int) -> SplitVideo:
        """The clip forth and back until it has so many frames."""
        files = self.video.frames.files
        assert files is not None  # it was written as JPEGs
        there_and_back = [*files, *files[-2:0:-1]]
        repeated = tuple(there_and_back[index % len(there_and_back)] for index in range(frames))
        return dataclasses.replace(self.video, frames=JpegFrames(repeated))

    def call_ms(self, runner: VideoRunner, frames: int, dtype: str = "float32") -> list[float]:
        """Milliseconds of tracked frames in a plain loop, without the samplers of a session. The first two are left out."""
        track = self._prompted(self.video, 0)
        feed = Feed(self.video, [track], 1)
        fed = [feed.read(position) for position in range(min(frames + 3, len(self.video.frames)))]
        spent_ms = []
        with self.device.attention("auto"), self.device.autocast(dtype):
            try:
                runner.open(feed.clip, fed[0])
                runner.prompt(0, fed[0], [track.prompt])
                for position in range(1, len(fed)):
                    begun = time.perf_counter()
                    runner.track(position, fed[position])
                    spent_ms.append((time.perf_counter() - begun) * 1e3)
            finally:
                runner.close()
        return spent_ms[2:]

    def _prompted(self, video: SplitVideo, number: int) -> Track:
        return PromptMaker(video, 1, 1).track(video.object(OBJECTS[number]), cast("PromptKind", PROMPTS[number]))


def mean_j(masks_thw: Masks, others_thw: Masks) -> float:
    """Mean J over the frames of a clip.

    Raises:
        ValueError: the clips differ in length or size.
    """
    return float(np.mean([score_frame(a, b).J for a, b in zip(masks_thw, others_thw, strict=True)]))
