"""Comparing masks: a clip tracked under several dtypes and choices of attention, against float32 and `auto`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from attention import refusal
from runners.base import Clip, PromptKind, RunnerError
from savbench.attention_bench.rows import AccuracyRow
from savbench.data.dataset import ClipError, open_split
from savbench.data.ground_truth import first_prompt
from savbench.data.masks import PackedMask
from savbench.data.prompts import make_prompt
from savbench.finish.metrics import score_frame
from savbench.measure.failures import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runners.base import VideoRunner
    from savbench.data.dataset import SplitObject, SplitVideo
    from savbench.measure.devices import Device

REFERENCE = ("float32", "auto")
"""dtype and choice of attention of the reference."""


@dataclass(frozen=True)
class AccuracyJob:
    """Clips to track. The first object of each video is tracked."""

    split_dir: str
    split_name: str
    limit_videos: int
    max_frames: int | None
    """Maximum number of frames of a clip."""
    prompt: str


def compare_masks(
    runner: VideoRunner, device: Device, job: AccuracyJob, arms: Sequence[tuple[str, str]], say: Callable[[str], None]
) -> Iterator[AccuracyRow]:
    """Yield a row per video and arm.

    Args:
        arms: (dtype, choice of attention); `REFERENCE` among them runs a second time, which shows how much two equal runs differ.
        say: called with a line about what runs next.

    Raises:
        RunnerError: the reference cannot run.
    """
    split = open_split(Path(job.split_dir), job.split_name)
    for name in split.videos[: job.limit_videos]:
        try:
            video = split.video(name).take(job.max_frames)
            obj = video.object(video.object_names[0])
            reference = _track(runner, device, video, obj, job.prompt, *REFERENCE)
        except ClipError as error:
            yield AccuracyRow(video=name, prompt=job.prompt, status="error", error=str(error))
            continue
        for dtype, choice in arms:
            say(f"  {name}: {dtype} {choice}")
            row = AccuracyRow(video=name, object=obj.object, prompt=job.prompt, autocast_dtype=dtype, attention=choice)
            if reason := refusal(choice, dtype, runner.applied.device.partition(":")[0]):
                row.status, row.error = "unavailable", reason
            else:
                try:
                    _compare(row, reference, _track(runner, device, video, obj, job.prompt, dtype, choice))
                except RunnerError as error:
                    row.status, row.error = "unavailable", str(error)
                except (RuntimeError, MemoryError) as error:
                    row.status, row.error = status_of(error), f"{type(error).__name__}: {error}"
            yield row


def _track(
    runner: VideoRunner, device: Device, video: SplitVideo, obj: SplitObject, prompt_kind: str, dtype: str, choice: str
) -> dict[int, PackedMask]:
    """Masks of the tracked frames, by frame of the clip."""
    size_hw = video.read_size()
    start, mask_hw = first_prompt(obj, size_hw)
    prompt = make_prompt(cast("PromptKind", prompt_kind), mask_hw, object_id=1)
    count = len(video.frames)
    masks: dict[int, PackedMask] = {}
    try:
        with video.frames.reader(size_hw) as frames, warnings.catch_warnings(), device.attention(choice), device.autocast(dtype):
            warnings.simplefilter("ignore")
            runner.open(Clip(video.name, count, *size_hw), frames.read(0))
            runner.prompt(start, frames.read(start), [prompt])
            for frame in range(start + 1, count):
                masks[frame] = PackedMask(runner.track(frame, frames.read(frame))[0])
                if not runner.inspect().finite:
                    raise RunnerError(f"NaN or infinite output on frame {frame} under {dtype}; use another --autocast_dtype")
    finally:
        runner.close()
    return masks


def _compare(row: AccuracyRow, reference: dict[int, PackedMask], masks: dict[int, PackedMask]) -> None:
    scores: dict[int, float] = {}
    identical, covered = 0, []
    for frame, mask in masks.items():
        mask_hw, reference_hw = mask.unpack(), reference[frame].unpack()
        scores[frame] = score_frame(mask_hw, reference_hw).J
        identical += bool(np.array_equal(mask_hw, reference_hw))
        covered.append(float(reference_hw.mean()))
    row.frames = len(scores)
    if not scores:
        row.status, row.error = "error", "there is no frame to track after the prompted one; raise --max_frames"
        return
    row.J_mean = float(np.mean(list(scores.values())))
    row.J_min_frame = min(scores, key=scores.__getitem__)
    row.J_min = scores[row.J_min_frame]
    row.identical_frames = identical
    row.coverage = float(np.mean(covered))
