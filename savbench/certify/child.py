"""The process that runs torch float32 and an arm side by side; started by `savbench.certify.cli`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from runners import RUNNERS
from runners.base import RunnerError
from runners.exported import TORCH
from savbench.certify.findings import ObjectFindings
from savbench.data.dataset import ClipError, NothingToTrackError
from savbench.data.feed import Feed, PromptMaker
from savbench.data.masks import CompressedMask, PackedMask
from savbench.finish.scoring import TruthMasks, score_object
from savbench.measure.calibration import calibration_frames
from savbench.measure.worker import build_options, kernel_choice
from savbench.plan.job import Job
from savbench.plan.protocols import protocol_named
from savbench.plan.split import split_of
from savbench.selfcheck.children import send, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runners.base import Frame, Masks, PromptKind
    from savbench.certify.forcing import Side
    from savbench.data.dataset import SplitVideo
    from savbench.data.feed import Track
    from savbench.plan.protocols import Protocol
    from savbench.selfcheck.outcome import Outcome


@dataclass(frozen=True)
class Compared:
    """An object that both models have tracked."""

    found: ObjectFindings
    track: Track
    feed: Feed
    masks: tuple[dict[int, PackedMask], dict[int, PackedMask]]
    """Free-running masks of both, by frame of the clip."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare as the job on standard input says; findings go to the file descriptor `--events`."""
    return serve(argv, _check)


def _check(line: str, _: Path, events: IO[str]) -> tuple[str, Iterator[Outcome]]:
    job = Job.from_line(line)
    return job.arm.label, _certify(job, events)


def _certify(job: Job, events: IO[str]) -> Iterator[Outcome]:
    """Send what is found of every object; a crash is the only outcome."""
    split = split_of(job.config, job.split_name)
    try:
        reference, candidate = build(reference_of(job)), build(job, partial(calibration_frames, split))
    except RunnerError as error:
        send(events, refused=str(error))
        return
    protocol = protocol_named(job.config.protocol, split.layout.protocol)
    for video_name, name in job.targets:
        where = f"{video_name}/{name}"
        try:
            video = split.video(video_name).take(job.config.max_frames)
            compared = certify_object(reference, candidate, video, name, job, lambda done, of: send(events, done=done, of=of))
            send(events, found=with_scores(compared, video, protocol).to_json())
        except NothingToTrackError as error:
            send(events, skipped=f"{where}: {error}")
        except (ClipError, RunnerError) as error:
            send(events, failed=f"{where}: {error}")
    yield from ()


def reference_of(job: Job) -> Job:
    """The job under torch in float32 as upstream computes, with everything else as in the arm."""
    config = dataclasses.replace(job.config, compile="off", compile_mode=None, runtime=(TORCH,))
    arm = dataclasses.replace(job.arm, autocast_dtype="float32", attention="auto", compile="off", runtime=TORCH)
    return dataclasses.replace(job, config=config, arm=arm)


def build(job: Job, calibration: Callable[[], Sequence[Frame]] | None = None) -> Side:
    """Build the model of a job, with the contexts in which a run would call it.

    Args:
        calibration: gives frames to measure ranges on, for int8.

    Raises:
        RunnerError: it cannot be built, or has no stages to compare.
    """
    import torch

    from savbench.certify.forcing import Side
    from savbench.measure.devices import TorchDevice

    runner: Any = RUNNERS[job.arm.model].build(dataclasses.replace(build_options(job), calibration=calibration))
    device = TorchDevice(torch, runner.applied.device)

    @contextlib.contextmanager
    def contexts() -> Iterator[None]:
        with device.attention(kernel_choice(job.arm.attention)), device.autocast(job.arm.autocast_dtype):
            yield

    side = Side(runner, contexts)
    side.stages()
    return side


def certify_object(
    reference: Side, candidate: Side, video: SplitVideo, name: str, job: Job, on_frame: Callable[[int, int], None] = lambda done, of: None
) -> Compared:
    """Track an object twice: teacher-forced, then free-running.

    Args:
        video: the clip, already cut.
        on_frame: called after every frame with the number of frames done and in total.

    Raises:
        ClipError, NothingToTrackError, RunnerError: the object cannot be tracked, or the stages cannot be compared.
    """
    from savbench.certify.forcing import FreeRunning, Recorder, mask_iou, teacher_forced

    config = job.config
    track = PromptMaker(video, config.num_points, config.frame_stride).track(video.object(name), cast("PromptKind", job.arm.prompt))
    feed = Feed(video, [track], config.frame_stride)
    positions = range(feed.start, feed.start + 1 + feed.to_track)
    recorder, ious = Recorder(), list[float]()
    masks: tuple[dict[int, PackedMask], dict[int, PackedMask]] = {}, {}

    def call(runner: Any, position: int, frame_hwc: Frame) -> Masks:
        if position == feed.start:
            return cast("Masks", runner.prompt(position, frame_hwc, [track.prompt]))
        return cast("Masks", runner.track(position, frame_hwc))

    try:
        with teacher_forced(reference, candidate, recorder):
            reference.runner.open(feed.clip, feed.read(0))
            for done, position in enumerate(positions, 1):
                recorder.frame = feed.frame_at(position)
                call(reference.runner, position, feed.read(position))
                on_frame(done, 2 * len(positions))
        reference.runner.close()
        free, first_hwc = FreeRunning(reference, candidate, recorder), feed.read(0)
        for side in (reference, candidate):
            with side.contexts():
                side.runner.open(feed.clip, first_hwc)
        for done, position in enumerate(positions, 1):
            recorder.frame, frame_hwc = feed.frame_at(position), feed.read(position)
            both = free.run(partial(call, position=position, frame_hwc=frame_hwc))
            ious += [mask_iou(*both)] if position > feed.start else []
            for of_side, masks_nhw in zip(masks, both, strict=True):
                of_side[recorder.frame] = PackedMask(masks_nhw[0])
            on_frame(len(positions) + done, 2 * len(positions))
    finally:
        reference.runner.close()
        candidate.runner.close()
    return Compared(ObjectFindings(video.name, name, tuple(recorder.errors), tuple(ious)), track, feed, masks)


def with_scores(compared: Compared, video: SplitVideo, protocol: Protocol) -> ObjectFindings:
    """The findings with J&F of both models, where the split has ground truth."""
    scores = []
    for of_side in compared.masks:
        frames = {frame: compared.feed.frame_at(compared.feed.position_at(frame)) for frame, _ in compared.track.obj.annotations}
        masks = {frame: CompressedMask.of(of_side[fed]) for frame, fed in frames.items() if fed in of_side}
        scored = score_object(
            video, compared.found.object, masks, compared.feed.size_hw, TruthMasks(), compared.track.prompt_frame, protocol
        )
        scores.append(None if scored.score is None else scored.score.JandF)
    return dataclasses.replace(compared.found, reference_JandF=scores[0], candidate_JandF=scores[1])


if __name__ == "__main__":
    sys.exit(main())
