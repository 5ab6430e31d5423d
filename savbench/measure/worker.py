"""The child process that builds one arm's model once and runs the arm's objects on it.

What the benchmark itself can explain, a defect of a clip or something the model cannot do, becomes a row and the next object runs. Any
other exception ends the process, after telling the supervisor: a model in an unknown state measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import itertools
import math
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, cast

from attention import RELATIVE_CHOICES
from runners import RUNNERS
from runners.base import BuildOptions, PromptKind, RunnerError
from savbench.arguments.declared import made_from
from savbench.data.dataset import ClipError, NothingToTrackError, open_split
from savbench.data.feed import PromptMaker, sessions_of
from savbench.measure.devices import Device, PlainCpu, TorchDevice, check_attention
from savbench.measure.failures import status_of
from savbench.measure.memory_budget import MemoryBudgetError, MemoryMeter
from savbench.measure.session import SessionSettings, Tracked, observe_kernels, track_together
from savbench.measure.streaming_session import Pace, stream_object
from savbench.plan.extent import Extent
from savbench.plan.job import Job
from savbench.plan.settings import GPU_PREFETCH
from savbench.results.delivery import EventWriter, ModelFacts, blank_row
from savbench.results.environment import collect_torch
from savbench.results.spool import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runners.base import VideoRunner
    from savbench.data.dataset import Split, SplitVideo
    from savbench.data.feed import Track
    from savbench.measure.streaming_session import Streamed
    from savbench.results.rows import SummaryRow

PROGRESS_INTERVAL_S = 0.2


def main(argv: list[str] | None = None) -> int:
    """Run the job that comes on standard input; events go to the file descriptor `--events`."""
    parser = argparse.ArgumentParser(description="One arm of a benchmark run; started by the supervisor.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    job = Job.from_line(sys.stdin.readline())
    events = EventWriter(os.fdopen(args.events, "w", encoding="utf-8"), job.spool)
    threading.Thread(target=_leave_with_supervisor, daemon=True).start()
    try:
        _Worker(job, events).run()
    except RunnerError as error:
        events.send("failed", status="error", error=str(error))
        return 1
    except SpoolError as error:
        events.send("unwritten", path=error.filename, errno=error.errno)
        return 1
    except MemoryBudgetError as error:
        events.send("refused", error=str(error), columns=error.columns)
    except BaseException as error:
        traceback.print_exc()
        events.send("failed", status=status_of(error), error=f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error
    return 0


def _leave_with_supervisor() -> None:
    """Standard input ends when the supervisor does, however it does."""
    try:
        sys.stdin.read()
    finally:
        os._exit(1)


class _Worker:
    def __init__(self, job: Job, events: EventWriter) -> None:
        self._job = job
        self._events = events
        self._split: Split = open_split(job.config.split_dir, job.split_name)
        self._video: SplitVideo | None = None
        self._prompt_maker: PromptMaker | None = None
        self._facts: ModelFacts
        """Known when the model is built."""
        self._kernels_known = False
        self._pace = Pace.of(job.config, job.arm)
        self._meter: MemoryMeter | None = None
        if job.config.memory_budget is not None and job.extent is not None:
            self._meter = MemoryMeter(job.config.memory_budget, job.extent)
        self._went_well: set[tuple[str, str]] = set()
        """Targets that have a row with figures."""

    @property
    def _kernel_choice(self) -> str:
        """What --attention says of the kernels: a way to compute relative positions leaves them to PyTorch."""
        attention = self._job.arm.attention
        return "auto" if attention in RELATIVE_CHOICES else attention

    def _prefetch(self, device: str) -> int:
        """Frames to decode ahead of a model on this device."""
        if self._job.config.prefetch is not None:
            return self._job.config.prefetch
        return 0 if device == "cpu" else GPU_PREFETCH

    def run(self) -> None:
        runner, device = self._build()
        targets = self._job.targets
        while targets:
            for video_name, object_names in self._together(targets):
                self._events.send("begun", targets=[(video_name, name) for name in object_names])
                self._run_objects(runner, device, video_name, object_names)
                self._events.send("done", targets=len(object_names))
            targets = tuple(target for target in targets if self._job.repeats and target in self._went_well)

    def _together(self, targets: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
        """The objects to run, by video: one at a time, or with --joint_objects all of a video."""
        for video_name, of_video in itertools.groupby(targets, key=lambda target: target[0]):
            names = [name for _, name in of_video]
            yield from [(video_name, names)] if self._job.config.joint_objects else ((video_name, [name]) for name in names)

    def _build(self) -> tuple[VideoRunner, Device]:
        """Build the model and check that it is what was asked for."""
        job, arm = self._job, self._job.arm
        spec = RUNNERS[arm.model]
        if spec.is_learned:
            check_attention(self._kernel_choice, arm.autocast_dtype, job.config.device)
        begun = time.perf_counter()
        options = made_from(
            BuildOptions,
            job.config,
            imgsz=arm.imgsz,
            weights=job.weights,
            config=spec.config,
            source_dir=job.source_dir,
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
        self._facts = ModelFacts(
            imgsz=applied.imgsz,
            device=applied.device,
            device_name=device.name,
            prefetch=self._prefetch(applied.device),
            implementation=applied.implementation,
            postprocess=applied.postprocess,
            notes=" | ".join(applied.notes),
            parameters=applied.parameters if spec.is_learned else None,
            weights=applied.weights,
            weights_file="" if job.weights is None else job.weights.name,
            torch_version=device.torch_version,
            build_ms=build_ms,
        )
        self._events.send("built", facts=vars(self._facts), environment=environment)
        if self._meter is not None:
            self._meter.built(device)
        return runner, device

    def _run_objects(self, runner: VideoRunner, device: Device, video_name: str, object_names: Sequence[str]) -> None:
        """Run objects of one video under all arms of the job. Every one of them gets its row, unless this process ends."""
        config, job = self._job.config, self._job
        tracks: list[Track] = []
        row_of: dict[int, SummaryRow] = {}
        for name in object_names:
            for arm in job.arms:
                blank = dataclasses.replace(blank_row(job, arm, video_name, name), **vars(self._facts))
                try:
                    track = self._prompts(video_name).track(self._opened(video_name).object(name), cast("PromptKind", arm.prompt))
                except NothingToTrackError as error:
                    self._events.send_row(dataclasses.replace(blank, status="skipped", error=str(error)))
                except (ClipError, RunnerError) as error:
                    self._events.send_row(dataclasses.replace(blank, status="error", error=str(error)))
                else:
                    tracks.append(track)
                    row_of[id(track)] = blank
        for session in sessions_of(tracks, config.frame_stride, takes_late_objects=runner.applied.takes_late_objects):
            share = len({track.obj.object for track in session}) / job.objects_in_arm
            settings = made_from(
                SessionSettings,
                config,
                autocast_dtype=job.arm.autocast_dtype,
                attention=self._kernel_choice,
                prefetch=self._facts.prefetch,
                min_frames=math.ceil(config.min_frames * share),
                min_time_s=config.min_time_s * share,
                keep_all_masks=config.save_overlays,
            )
            video = self._opened(video_name)
            try:
                if not self._kernels_known:
                    self._observe_kernels(runner, device, video, session[0], settings)
                progress = _Progress(self._events, self._begun_meter(video, session))
                all_tracked = track_together(runner, device, video, session, settings, progress, self._tell_phase)
                streams = [self._stream(runner, device, video, *pair, settings) for pair in zip(session, all_tracked, strict=True)]
            except (ClipError, RunnerError) as error:
                for track in session:
                    self._events.send_row(dataclasses.replace(row_of[id(track)], status="error", error=str(error)))
            else:
                does_not_fit = None if self._meter is None else self._meter.end(all_tracked[0].row)
                about = {**vars(self._facts), **({} if self._meter is None else self._meter.columns)}
                for track, tracked, streamed in zip(session, all_tracked, streams, strict=True):
                    row = _fill(dataclasses.replace(row_of[id(track)], **about), tracked)
                    streaming = [] if streamed is None else streamed.rows(row.key)
                    known = {} if streamed is None else streamed.known
                    self._events.send_row(row, tracked.frames, tracked.spans, tracked.masks, streaming, known)
                    if row.status == "ok":
                        self._went_well.add((row.video, row.object))
                if does_not_fit is not None:
                    raise does_not_fit

    def _stream(
        self, runner: VideoRunner, device: Device, video: SplitVideo, track: Track, tracked: Tracked, settings: SessionSettings
    ) -> Streamed | None:
        """The object once more at the camera's pace, where that is asked for; its figures go into the row of the offline pass.

        Raises:
            ClipError, RunnerError: as `stream_object`.
        """
        if self._pace is None or tracked.row.status != "ok":
            return None
        streamed = stream_object(runner, device, video, track, settings, self._pace, _Progress(self._events))
        tracked.row = streamed.completed(tracked.row, self._facts.device_name)
        return streamed if tracked.row.status == "ok" else None

    def _begun_meter(self, video: SplitVideo, session: Sequence[Track]) -> MemoryMeter | None:
        """The meter of the forecast, told of a session that begins."""
        if self._meter is not None:
            height, width = video.read_size()
            fed = -(-(len(video.frames) - session[0].prompt_frame) // self._job.config.frame_stride)
            self._meter.begin(Extent(fed, height * width, len(session)))
        return self._meter

    def _opened(self, video_name: str) -> SplitVideo:
        """The clip, cut to --max_frames; the last one is kept. Raises ClipError."""
        if self._video is None or self._video.name != video_name:
            self._video = self._split.video(video_name).take(self._job.config.max_frames)
            self._prompt_maker = PromptMaker(self._video, self._job.config.num_points, self._job.config.frame_stride)
        return self._video

    def _prompts(self, video_name: str) -> PromptMaker:
        self._opened(video_name)
        assert self._prompt_maker is not None  # comes with the clip
        return self._prompt_maker

    def _observe_kernels(self, runner: VideoRunner, device: Device, video: SplitVideo, track: Track, settings: SessionSettings) -> None:
        """Once per process: the same kernels serve every object of an arm."""
        kernels = observe_kernels(runner, device, video, track, settings)
        self._kernels_known = True
        if kernels:
            named = " ".join(f"{kernel}:{calls}" for kernel, calls in kernels.items())
            self._facts = dataclasses.replace(self._facts, sdpa_kernels=named, attention_calls=sum(kernels.values()))

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

    def __init__(self, events: EventWriter, meter: MemoryMeter | None = None) -> None:
        self._events = events
        self._meter = meter
        self._last = 0.0

    def __call__(self, done: int, total: int, frame: int) -> None:
        if self._meter is not None:
            self._meter.frame(done, total)
        now = time.monotonic()
        if now - self._last >= PROGRESS_INTERVAL_S:
            self._last = now
            self._events.send("progress", done=done, total=total, frame=frame)


if __name__ == "__main__":
    sys.exit(main())
