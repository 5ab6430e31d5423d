"""The worker process: builds one arm's model once and runs the arm's objects on it.

A failure that the benchmark can explain, such as a defective clip or an unsupported request, becomes a row, and the next object runs. The
worker reports any other exception to the supervisor and ends, because a model in an unknown state gives no valid measurements.
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
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from attention import RELATIVE_CHOICES
from runners import RUNNERS
from runners.base import BuildOptions, PromptKind, RunnerError
from savbench.arguments.declared import made_from
from savbench.arguments.keyframe import every_of
from savbench.data.dataset import ClipError, NothingToTrackError
from savbench.data.feed import PromptMaker, sessions_of
from savbench.measure.calibration import calibration_frames
from savbench.measure.devices import Device, PlainCpu, TorchDevice, check_attention
from savbench.measure.failures import status_of
from savbench.measure.memory_budget import MemoryBudgetError, MemoryMeter
from savbench.measure.parent import end_with_parent
from savbench.measure.session import SessionSettings, observe_kernels, track_together
from savbench.measure.streaming_session import StreamingSettings, stream_object
from savbench.plan.extent import Extent
from savbench.plan.job import Job
from savbench.plan.settings_data import GPU_PREFETCH
from savbench.plan.split import split_of
from savbench.results.delivery import EventWriter, ModelFacts, blank_row
from savbench.results.environment import collect_torch
from savbench.results.spool import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runners.base import Frame, RuntimeReport, VideoRunner
    from savbench.data.dataset import Split, SplitVideo
    from savbench.data.feed import Track
    from savbench.measure.streaming_session import Streamed
    from savbench.results.rows import SummaryRow

PROGRESS_INTERVAL_S = 0.2


def main(argv: list[str] | None = None) -> int:
    """Run the job on the first line of standard input; write events to the file descriptor `--events`."""
    parser = argparse.ArgumentParser(description="One arm of a benchmark run; started by the supervisor.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    end_with_parent()
    job = Job.from_line(sys.stdin.readline())
    events = EventWriter(os.fdopen(args.events, "w", encoding="utf-8"), job.spool)
    permits = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(permits,), daemon=True).start()
    try:
        _Worker(job, events, permits).run()
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


def _listen(permits: threading.Semaphore) -> None:
    """Release the worker once per line of standard input. The input ends when the supervisor ends, however that happens; then exit."""
    try:
        for _ in sys.stdin:
            permits.release()
    finally:
        os._exit(1)


class _Worker:
    def __init__(self, job: Job, events: EventWriter, permits: threading.Semaphore) -> None:
        self._job = job
        self._events = events
        self._permits = permits
        self._split: Split = split_of(job.config, job.split_name)
        self._video: SplitVideo | None = None
        self._prompt_maker: PromptMaker | None = None
        self._streaming = StreamingSettings.of(job.config, job.arm)
        self._meter: MemoryMeter | None = None
        if job.config.memory_budget is not None and job.extent is not None:
            self._meter = MemoryMeter(job.config.memory_budget, job.extent)
        self._went_well: set[tuple[str, str]] = set()
        """Targets whose row has figures."""

    def run(self) -> None:
        """Build the model and run the targets."""
        model = _build(self._job, lambda text: self._events.send("said", text=text), partial(calibration_frames, self._split))
        self._events.send("built", facts=vars(model.facts), environment=model.environment)
        if self._meter is not None:
            self._meter.built(model.device)
        targets = self._job.targets
        while targets:
            for video_name, object_names in self._together(targets):
                self._events.send("begun", targets=[(video_name, name) for name in object_names])
                self._run_objects(model, video_name, object_names)
                self._events.send("done", targets=len(object_names))
                if self._job.waits:
                    self._permits.acquire()
            targets = tuple(target for target in targets if self._job.repeats and target in self._went_well)

    def _together(self, targets: Sequence[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
        """The objects to run together, by video: one at a time, or with --joint_objects all objects of a video."""
        for video_name, of_video in itertools.groupby(targets, key=lambda target: target[0]):
            names = [name for _, name in of_video]
            yield from [(video_name, names)] if self._job.config.joint_objects else ((video_name, [name]) for name in names)

    def _run_objects(self, model: _Model, video_name: str, object_names: Sequence[str]) -> None:
        """Run objects of one video under all arms of the job. Each gets its row, unless this process ends."""
        tracks: list[Track] = []
        blank_of: dict[int, SummaryRow] = {}
        """By the identity of the track."""
        for name in object_names:
            for arm in self._job.arms:
                blank = blank_row(self._job, arm, video_name, name)
                try:
                    track = self._prompts(video_name).track(self._opened(video_name).object(name), cast("PromptKind", arm.prompt))
                except NothingToTrackError as error:
                    self._send_failed(model, blank, "skipped", error)
                except (ClipError, RunnerError) as error:
                    self._send_failed(model, blank, "error", error)
                else:
                    tracks.append(track)
                    blank_of[id(track)] = blank
        takes_late_objects = model.runner.applied.takes_late_objects
        for session in sessions_of(tracks, self._job.config.frame_stride, takes_late_objects=takes_late_objects):
            self._run_session(model, session, [blank_of[id(track)] for track in session])

    def _run_session(self, model: _Model, session: Sequence[Track], blanks: Sequence[SummaryRow]) -> None:
        """
        Args:
            session: tracks of one video.
            blanks: their rows, with only the identifying columns.

        Raises:
            MemoryBudgetError: the largest session will not fit; the rows of this session were sent.
        """
        video = self._opened(session[0].obj.video)
        objects = len({track.obj.object for track in session})
        settings = _session_settings(self._job, model.facts, objects, in_pictures=self._split.layout.in_pictures)
        try:
            if self._meter is not None:
                self._meter.begin(_extent(video, session, settings))
            progress = _Progress(self._events, self._meter)
            measured = track_together(model.runner, model.device, video, session, settings, progress, self._send_phase)
            if not model.kernels_known:
                model.observe_kernels(video, session[0], settings)
            rows = [one.row(blank) for one, blank in zip(measured, blanks, strict=True)]
            streamed = [self._stream(model, video, track, row, settings) for track, row in zip(session, rows, strict=True)]
        except (ClipError, RunnerError) as error:
            for blank in blanks:
                self._send_failed(model, blank, "error", error)
            return
        refusal = None if self._meter is None else self._meter.end(rows[0])
        for one, (row, stream) in zip(measured, streamed, strict=True):
            streaming, known = ([], {}) if stream is None else (stream.rows(row.key), stream.known)
            self._events.send_row(self._with_facts(model, row), one.frame_rows(row.key), one.spans, one.masks, streaming, known)
            if row.status == "ok":
                self._went_well.add((row.video, row.object))
        if refusal is not None:
            raise refusal

    def _stream(
        self, model: _Model, video: SplitVideo, track: Track, row: SummaryRow, settings: SessionSettings
    ) -> tuple[SummaryRow, Streamed | None]:
        """With --realtime, track the object again at the camera's rate. Returns its completed row and the stream, None if there is none.

        Raises:
            ClipError, RunnerError: as `stream_object`.
        """
        if self._streaming is None or row.status != "ok":
            return row, None
        stream = stream_object(model.runner, model.device, video, track, settings, self._streaming, _Progress(self._events))
        completed = stream.completed(row, model.facts.device_name)
        return completed, stream if completed.status == "ok" else None

    def _with_facts(self, model: _Model, row: SummaryRow) -> SummaryRow:
        forecast: dict[str, Any] = {} if self._meter is None else dict(self._meter.columns)
        return dataclasses.replace(row, **vars(model.facts), **forecast)

    def _send_failed(self, model: _Model, blank: SummaryRow, status: str, error: Exception) -> None:
        self._events.send_row(dataclasses.replace(blank, **vars(model.facts), status=status, error=str(error)))

    def _send_phase(self, phase: str, t_s: float) -> None:
        self._events.send("phase", phase=phase, t_s=t_s)

    def _opened(self, video_name: str) -> SplitVideo:
        """The clip, cut to --max_frames; the last clip opened is cached. Raises ClipError."""
        if self._video is None or self._video.name != video_name:
            self._video = self._split.video(video_name).take(self._job.config.max_frames)
            self._prompt_maker = PromptMaker(self._video, self._job.config.num_points, self._job.config.frame_stride)
        return self._video

    def _prompts(self, video_name: str) -> PromptMaker:
        self._opened(video_name)
        assert self._prompt_maker is not None  # `_opened` sets it
        return self._prompt_maker


@dataclasses.dataclass
class _Model:
    """A built model with its facts."""

    runner: VideoRunner
    device: Device
    facts: ModelFacts
    environment: dict[str, Any]
    """Facts about torch for environment.json; empty if the model does not use torch."""
    kernels_known: bool = False

    def observe_kernels(self, video: SplitVideo, track: Track, settings: SessionSettings) -> None:
        """Record the kernels once per process, because they serve every object of an arm. Raises as `observe_kernels`."""
        named, calls = observe_kernels(self.runner, self.device, video, track, settings)
        self.kernels_known = True
        self.facts = dataclasses.replace(self.facts, sdpa_kernels=named, attention_calls=calls)


def _build(job: Job, say: Callable[[str], None], calibration: Callable[[], Sequence[Frame]]) -> _Model:
    """Build the model of a job and check that it is the one requested.

    Args:
        say: told what takes long.
        calibration: gives frames of the split.

    Raises:
        RunnerError: it is not the one requested, or cannot be built.
    """
    arm, spec = job.arm, RUNNERS[job.arm.model]
    if spec.is_learned:
        check_attention(kernel_choice(arm.attention), arm.autocast_dtype, job.config.device)
    begun = time.perf_counter()
    runner = spec.build(dataclasses.replace(build_options(job), say=say, calibration=calibration))
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
            pass  # refuse an unsupported dtype here, once, rather than for every object
    facts = ModelFacts(
        imgsz=applied.imgsz,
        device=applied.device,
        device_name=device.name,
        prefetch=_prefetch(job, applied.device),
        implementation=applied.implementation,
        hole_filling=applied.hole_filling,
        notes=" | ".join((*applied.notes, *device.notes(arm.autocast_dtype))),
        parameters=applied.parameters if spec.is_learned else None,
        licence=spec.licence,
        weights=applied.weights,
        weights_file="" if job.weights is None else job.weights.name,
        torch_version=device.torch_version,
        build_ms=build_ms,
        **_runtime_facts(applied.runtime),
    )
    return _Model(runner, device, facts, environment)


def _runtime_facts(runtime: RuntimeReport | None) -> dict[str, Any]:
    """Columns of the row."""
    if runtime is None:
        return {}
    return {
        "runtime_version": runtime.version,
        "runtime_placement": runtime.placement,
        "runtime_difference": runtime.difference,
        "runtime_export_s": runtime.export_s,
        "runtime_load_s": runtime.load_s,
        "runtime_MiB": runtime.size_mib,
    }


def build_options(job: Job) -> BuildOptions:
    """What the model of a job is built from."""
    arm = job.arm
    return made_from(
        BuildOptions,
        job.config,
        imgsz=arm.imgsz,
        runtime=arm.runtime,
        autocast_dtype=arm.autocast_dtype,
        weights=job.weights,
        config=RUNNERS[arm.model].config,
        source_dir=job.source_dir,
        move_with_flow=job.config.sam1_flow,
        relative_attention=arm.attention if arm.attention in RELATIVE_CHOICES else "auto",
        keyframe=arm.keyframe,
    )


def _session_settings(job: Job, facts: ModelFacts, objects: int, *, in_pictures: bool) -> SessionSettings:
    """
    Args:
        objects: number of objects in the session, which times their share of --min_time and --min_frames.
        in_pictures: whether --save_masks writes a picture for every frame.
    """
    config, share = job.config, objects / job.objects_in_arm
    return made_from(
        SessionSettings,
        config,
        autocast_dtype=job.arm.autocast_dtype,
        attention=kernel_choice(job.arm.attention),
        keyframe_every=every_of(job.arm.keyframe),
        prefetch=facts.prefetch,
        min_frames=math.ceil(config.min_frames * share),
        min_time_s=config.min_time_s * share,
        keep_all_masks=config.save_overlays is not None or config.agreement is not None or (config.save_masks and in_pictures),
    )


def kernel_choice(attention: str) -> str:
    """The choice of kernels in --attention; a choice of relative positions leaves the kernels to PyTorch."""
    return "auto" if attention in RELATIVE_CHOICES else attention


def _prefetch(job: Job, device: str) -> int:
    """Number of frames to decode ahead on this device."""
    if job.config.prefetch is not None:
        return job.config.prefetch
    return 0 if device == "cpu" else GPU_PREFETCH


def _extent(video: SplitVideo, session: Sequence[Track], settings: SessionSettings) -> Extent:
    """Extent of a session, for the memory forecast."""
    height, width = video.read_size()
    fed = -(-(len(video.frames) - session[0].prompt_frame) // settings.frame_stride)
    return Extent(fed, height * width, len(session))


class _Progress:
    """Reports an object's progress to the supervisor, no more often than a person can read."""

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
