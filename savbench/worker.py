"""The child process that builds one arm's model once and runs the arm's objects on it.

What the benchmark itself can explain, a defect of a clip or something the model cannot do, becomes a row and the next object runs. Any
other exception ends the process, after telling the supervisor: a model in an unknown state measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, cast

from attention import RELATIVE_CHOICES
from runners import RUNNERS
from runners.base import BuildOptions, PromptKind, RunnerError
from savbench.dataset import ClipError, NothingToTrackError, open_split
from savbench.devices import Device, PlainCpu, TorchDevice, check_attention
from savbench.environment import collect_torch
from savbench.failures import status_of
from savbench.job import EventWriter, Job
from savbench.saving import save_products
from savbench.session import SessionSettings, Tracked, observe_kernels, track_object
from savbench.weights import sha256_of

if TYPE_CHECKING:
    from runners.base import VideoRunner
    from savbench.dataset import Split, SplitObject, SplitVideo
    from savbench.results import SummaryRow

PROGRESS_INTERVAL_S = 0.2


def main(argv: list[str] | None = None) -> int:
    """Run the job that comes on standard input; events go to the file descriptor `--events`."""
    parser = argparse.ArgumentParser(description="One arm of a benchmark run; started by the supervisor.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    events = EventWriter(os.fdopen(args.events, "w", encoding="utf-8"))
    job = Job.from_line(sys.stdin.readline())
    threading.Thread(target=_leave_with_supervisor, daemon=True).start()
    try:
        _Worker(job, events).run()
    except RunnerError as error:
        events.send("failed", status="error", error=str(error))
        return 1
    except BaseException as error:
        traceback.print_exc()
        events.send("failed", status=status_of(error), error=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    return 0


def _leave_with_supervisor() -> None:
    """Standard input ends when the supervisor does, however it does."""
    sys.stdin.read()
    os._exit(1)


class _Worker:
    def __init__(self, job: Job, events: EventWriter) -> None:
        self._job = job
        self._events = events
        self._split: Split = open_split(job.config.split_dir, job.split_name)
        self._video: SplitVideo | None = None
        self._about_model: dict[str, Any] = {}
        """Columns that the built model decides, the same in every row."""
        self._kernels_known = False

    @property
    def _kernel_choice(self) -> str:
        """What --attention says of the kernels: a way to compute relative positions leaves them to PyTorch."""
        attention = self._job.arm.attention
        return "auto" if attention in RELATIVE_CHOICES else attention

    def run(self) -> None:
        runner, device = self._build()
        for video_name, object_name in self._job.targets:
            self._events.send("begun", video=video_name, object=object_name)
            self._run_object(runner, device, video_name, object_name)

    def _build(self) -> tuple[VideoRunner, Device]:
        """Build the model and check that it is what was asked for."""
        job, arm = self._job, self._job.arm
        spec = RUNNERS[arm.model]
        if spec.is_learned:
            check_attention(self._kernel_choice, arm.autocast_dtype, job.config.device)
        begun = time.perf_counter()
        options = BuildOptions(
            device=job.config.device,
            imgsz=arm.imgsz,
            weights=job.weights,
            seed=job.config.seed,
            config=spec.config,
            source_dir=job.source_dir,
            num_maskmem=job.config.num_maskmem,
            move_with_flow=job.config.sam1_flow,
            relative_attention=arm.attention if arm.attention in RELATIVE_CHOICES else "auto",
        )
        runner = spec.build(options)
        build_ms = (time.perf_counter() - begun) * 1e3
        applied = runner.applied
        if applied.imgsz != arm.imgsz:
            raise RunnerError(f"{arm.model}: asked for --imgsz {arm.imgsz}, the built model works at {applied.imgsz}")
        device: Device = PlainCpu()
        environment: dict[str, Any] = {}
        if spec.is_learned:
            import torch

            device = TorchDevice(torch, applied.device)
            environment = collect_torch(torch)
            with device.autocast(arm.autocast_dtype):
                pass  # refused here, once, rather than for every object
        self._about_model = {
            "imgsz": applied.imgsz,
            "device": applied.device,
            "device_name": device.name,
            "implementation": applied.implementation,
            "postprocess": applied.postprocess,
            "notes": " | ".join(applied.notes),
            "parameters": applied.parameters if spec.is_learned else None,
            "weights": applied.weights if job.weights is None else sha256_of(job.weights),
            "weights_file": "" if job.weights is None else job.weights.name,
            "torch_version": device.torch_version,
            "build_ms": build_ms,
        }
        self._events.send("built", about_model=self._about_model, environment=environment)
        return runner, device

    def _run_object(self, runner: VideoRunner, device: Device, video_name: str, object_name: str) -> None:
        config = self._job.config
        blank = dataclasses.replace(self._job.blank_row(video_name, object_name), **self._about_model)
        settings = SessionSettings(
            prompt=cast("PromptKind", self._job.arm.prompt),
            autocast_dtype=self._job.arm.autocast_dtype,
            attention=self._kernel_choice,
            num_points=config.num_points,
            max_frames=config.max_frames,
            frame_stride=config.frame_stride,
            warmup_frames=config.warmup_frames,
            keep_all_masks=config.save_overlays,
        )
        try:
            if self._video is None or self._video.name != video_name:
                self._video = self._split.video(video_name).take(config.max_frames)
            obj = self._video.object(object_name)
            if not self._kernels_known:
                self._observe_kernels(runner, device, self._video, obj, settings)
                blank = dataclasses.replace(blank, **self._about_model)
            tracked = track_object(runner, device, self._video, obj, settings, _Progress(self._events), self._tell_phase)
            row = _fill(blank, tracked)
            if row.status == "ok":
                row.overlay = save_products(config, self._job.arm, self._video, obj, tracked)
        except NothingToTrackError as error:
            self._events.send_row(dataclasses.replace(blank, status="skipped", error=str(error)))
        except (ClipError, RunnerError) as error:
            self._events.send_row(dataclasses.replace(blank, status="error", error=str(error)))
        else:
            self._events.send_row(row, tracked.frames, tracked.spans)

    def _observe_kernels(self, runner: VideoRunner, device: Device, video: SplitVideo, obj: SplitObject, settings: SessionSettings) -> None:
        """Once per process: the same kernels serve every object of an arm."""
        kernels = observe_kernels(runner, device, video, obj, settings)
        if kernels is None:
            return
        self._kernels_known = True
        if kernels:
            self._about_model["sdpa_kernels"] = " ".join(f"{kernel}:{calls}" for kernel, calls in kernels.items())
            self._about_model["attention_calls"] = sum(kernels.values())

    def _tell_phase(self, phase: str, t_s: float) -> None:
        self._events.send("phase", phase=phase, t_s=t_s)


def _fill(blank: SummaryRow, tracked: Tracked) -> SummaryRow:
    """The measurements, put into a row that says who and where; the frames get its key."""
    measured = {f.name: getattr(tracked.row, f.name) for f in dataclasses.fields(tracked.row)}
    row = dataclasses.replace(blank, **{name: value for name, value in measured.items() if value not in (None, "")})
    for frame in tracked.frames:
        frame.arm_id, frame.video, frame.object = row.key
    return row


class _Progress:
    """Tells the supervisor how far an object is, not more often than a person can read."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_INTERVAL_S:
            self._last = now
            self._events.send("progress", done=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
