"""One object of one clip, start to end: warm-up, prompt, timed tracking, scoring.

What is timed is in results/README.md; here is where it happens. A frame's latency runs from its decoded pixels in host memory to its mask
in host memory: exactly one call of the runner. Decoding comes before it, looking for NaN after it, and the ground truth is read and scored
when the clip is over, so that nothing of the benchmark's own runs between two timed frames but reading the next one.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from runners.base import Clip, PromptKind, RunnerError
from savbench.dataset import NothingToTrackError, first_prompt, read_frame, read_mask
from savbench.latency import LatencySamples
from savbench.masks import PackedMask
from savbench.memory import RssSampler, SystemMemorySampler
from savbench.metrics import ObjectScorer, frames_to_score
from savbench.prompts import make_prompt
from savbench.results import FrameRow, SummaryRow
from savbench.warning_log import WarningLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runners.base import Frame, Masks, Prompt, VideoRunner
    from savbench.dataset import SplitObject, SplitVideo
    from savbench.devices import Device


@dataclass(frozen=True)
class SessionSettings:
    """How an object is run; the command line's settings as far as they concern one object."""

    prompt: PromptKind
    autocast_dtype: str
    attention: str
    """One of `attention.CHOICES`, or `none` for a model without attention."""
    num_points: int = 1
    max_frames: int | None = None
    frame_stride: int = 1
    warmup_frames: int = 5
    keep_all_masks: bool = False
    """Keep the mask of every frame that was tracked, for overlays; otherwise of the annotated frames alone."""


@dataclass
class Tracked:
    """What came of an object."""

    row: SummaryRow
    """The measurements; who and where is the caller's to fill in."""
    frames: list[FrameRow]
    masks: dict[int, PackedMask]
    """Predicted masks by frame of the clip, from the prompted frame on; a frame that was not fed has the mask of the last one before."""
    prompt: Prompt
    spans: list[tuple[float, float]]
    """Beginning and end of every timed frame, on the clock of `time.perf_counter`."""


PhaseName = Literal["warm-up", "timed", ""]


def track_object(
    runner: VideoRunner,
    device: Device,
    video: SplitVideo,
    obj: SplitObject,
    settings: SessionSettings,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
    on_phase: Callable[[PhaseName, float], None] = lambda phase, t_s: None,
) -> Tracked:
    """Track one object through its clip and score it.

    Where the model puts out NaN or infinite numbers, neither its masks nor its scores mean anything: the row then has status error and
    no figures.

    Args:
        video, obj: the clip, already cut to `settings.max_frames`.
        on_frame: called after every frame with the number of frames done and to do, warm-up included; not timed.
        on_phase: called when a phase begins, with its name and the time on the clock of `time.perf_counter`; "" is anything else.

    Raises:
        ClipError: the clip cannot be used. NothingToTrackError: the object appears on its last frame.
        RunnerError: the model cannot do what is asked.
    """
    feed, prompt = _prepare(video, obj, settings)
    prompt_frame, size_hw = feed.frame_at(feed.start), feed.size_hw
    if feed.to_track == 0:
        raise NothingToTrackError(
            f"{obj.folder}: first seen on frame {prompt_frame} of the {len(video.frame_paths)} that are run; nothing is left to track"
        )
    row = SummaryRow(
        prompt=settings.prompt,
        autocast_dtype=settings.autocast_dtype,
        prompt_frame=prompt_frame,
        clip_frames=len(video.frame_paths),
        video_height=size_hw[0],
        video_width=size_hw[1],
        max_frames=settings.max_frames,
        frame_stride=settings.frame_stride,
        num_points=settings.num_points if settings.prompt == "points" else None,
        frames_annotated=len(obj.annotations),
    )
    annotated = [frame for frame, _ in obj.annotations]
    wanted = range(prompt_frame, len(video.frame_paths)) if settings.keep_all_masks else [f for f in annotated if f >= prompt_frame]
    keep = {feed.position_at(frame) for frame in wanted}
    warm = min(settings.warmup_frames, 1 + feed.to_track)
    total = warm + 1 + feed.to_track
    with WarningLog() as warned:
        try:
            if warm:
                on_phase("warm-up", time.perf_counter())
                with device.warming_up(), device.attention(settings.attention), device.autocast(settings.autocast_dtype):
                    row.warmup_ms = _warm_up(runner, feed, prompt, warm, lambda done: on_frame(done, total))
            row.warmup_frames = warm
            on_phase("", time.perf_counter())
            device.reset_peaks()
            with contextlib.ExitStack() as stack:
                rss = stack.enter_context(RssSampler())
                system = stack.enter_context(SystemMemorySampler()) if device.shares_memory else None
                attention = stack.enter_context(device.attention(settings.attention))
                stack.enter_context(device.autocast(settings.autocast_dtype))
                timed = _track_timed(runner, feed, prompt, keep, lambda done: on_frame(warm + done, total))
            on_phase("timed", timed.spans[0][0])
            on_phase("", timed.spans[-1][1])
            peaks = device.peaks_mib()
        finally:
            runner.close()
    row.warnings, row.warning_lines = warned.count, " | ".join(warned.lines)
    row.attention_fallbacks = attention.fell_back
    row.attention_fallback_reasons = " | ".join(f"{count}x {reason}" for reason, count in attention.reasons.items())
    row.nonfinite_frames = timed.nonfinite
    masks = {frame: timed.masks[feed.position_at(frame)] for frame in wanted}
    tracked = Tracked(row, timed.frame_rows(feed), masks, prompt, timed.spans)
    if timed.nonfinite:
        row.status, row.error = "error", _nonfinite_message(timed.nonfinite, 1 + feed.to_track, settings.autocast_dtype)
        return tracked
    row.gpu_peak_alloc_MiB, row.gpu_peak_reserved_MiB = peaks
    row.cpu_peak_rss_MiB = rss.peak_mib
    row.unified_peak_used_MiB = None if system is None else system.peak_mib
    _put_times(row, timed)
    _score(tracked, obj, size_hw)
    return tracked


def observe_kernels(
    runner: VideoRunner, device: Device, video: SplitVideo, obj: SplitObject, settings: SessionSettings
) -> Mapping[str, int] | None:
    """Which attention kernels serve a tracked frame, and how many calls each: tracks to the second frame after the prompt, untimed.

    None where there is no frame after the prompt. Raises as `track_object`.
    """
    feed, prompt = _prepare(video, obj, settings)
    if feed.to_track == 0:
        return None
    last = feed.start + min(2, feed.to_track)
    try:
        with device.attention(settings.attention), device.autocast(settings.autocast_dtype):
            runner.open(feed.clip, feed.read(0))
            runner.prompt(feed.start, feed.read(feed.start), [prompt])
            for position in range(feed.start + 1, last):
                runner.track(position, feed.read(position))
            frame_hwc = feed.read(last)
            return device.observe(lambda: runner.track(last, frame_hwc))
    finally:
        runner.close()


def _prepare(video: SplitVideo, obj: SplitObject, settings: SessionSettings) -> tuple[_Feed, Prompt]:
    """The frames to feed and the prompt, from the object's first non-empty mask. Raises ClipError as `track_object`."""
    size_hw = video.read_size()
    prompt_frame, prompt_mask_hw = first_prompt(obj, size_hw)
    prompt = make_prompt(settings.prompt, prompt_mask_hw, object_id=1, num_points=settings.num_points)
    return _Feed(video, prompt_frame, settings.frame_stride, size_hw), prompt


class _Feed:
    """The frames that a runner is fed, by their position among them.

    With a stride they are the frames in step with the prompted one, so that it is among them whatever its number.
    """

    def __init__(self, video: SplitVideo, prompt_frame: int, stride: int, size_hw: tuple[int, int]) -> None:
        self._paths = video.frame_paths
        self.size_hw = size_hw
        self._frames = range(prompt_frame % stride, len(video.frame_paths), stride)
        self.start = prompt_frame // stride
        """Position of the prompted frame."""
        self.clip = Clip(video.name, len(self._frames), *size_hw)

    @property
    def to_track(self) -> int:
        """Number of frames after the prompted one."""
        return len(self._frames) - 1 - self.start

    def read(self, position: int) -> Frame:
        return read_frame(self._paths[self._frames[position]], self.size_hw)

    def frame_at(self, position: int) -> int:
        """Frame of the clip at this position."""
        return self._frames[position]

    def position_at(self, frame: int) -> int:
        """Position of the last frame fed up to this frame of the clip."""
        return (frame - self._frames.start) // self._frames.step


@dataclass
class _Timed:
    init_ms: float
    first_frame_ms: float
    masks: dict[int, PackedMask] = field(default_factory=dict)
    """By position."""
    positions: list[int] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    parts_ms: list[dict[str, float]] = field(default_factory=list)
    nonfinite: int = 0

    @property
    def latency_ms(self) -> list[float]:
        return [(end - begin) * 1e3 for begin, end in self.spans]

    def frame_rows(self, feed: _Feed) -> list[FrameRow]:
        timed = zip(self.positions, self.latency_ms, self.decode_ms, self.parts_ms, strict=True)
        return [
            FrameRow(
                frame=feed.frame_at(position),
                latency_ms=latency,
                decode_ms=decode,
                preprocess_ms=parts.get("preprocess_ms"),
                model_ms=parts.get("model_ms"),
                output_ms=parts.get("output_ms"),
            )
            for position, latency, decode, parts in timed
        ]


def _warm_up(runner: VideoRunner, feed: _Feed, prompt: Prompt, frames: int, on_frame: Callable[[int], None]) -> float:
    """Run the first frames as the timed run will, and forget them. Returns the milliseconds inside the runner."""
    first, prompted = feed.read(0), feed.read(feed.start)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    runner.prompt(feed.start, prompted, [prompt])
    spent = time.perf_counter() - begun
    on_frame(1)
    for done in range(1, frames):
        frame_hwc = feed.read(feed.start + done)
        begun = time.perf_counter()
        runner.track(feed.start + done, frame_hwc)
        spent += time.perf_counter() - begun
        on_frame(done + 1)
    runner.close()
    return spent * 1e3


def _track_timed(runner: VideoRunner, feed: _Feed, prompt: Prompt, keep: set[int], on_frame: Callable[[int], None]) -> _Timed:
    first, prompted = feed.read(0), feed.read(feed.start)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    opened = time.perf_counter()
    masks_nhw = runner.prompt(feed.start, prompted, [prompt])
    done = time.perf_counter()
    timed = _Timed(init_ms=(opened - begun) * 1e3, first_frame_ms=(done - opened) * 1e3)
    timed.nonfinite += not runner.inspect().finite
    if feed.start in keep:
        timed.masks[feed.start] = _pack(masks_nhw, feed.clip)
    on_frame(1)
    for position in range(feed.start + 1, feed.clip.num_frames):
        begun = time.perf_counter()
        frame_hwc = feed.read(position)
        decoded = time.perf_counter()
        masks_nhw = runner.track(position, frame_hwc)
        done = time.perf_counter()
        report = runner.inspect()
        timed.positions.append(position)
        timed.decode_ms.append((decoded - begun) * 1e3)
        timed.spans.append((decoded, done))
        timed.parts_ms.append(dict(report.parts_ms))
        timed.nonfinite += not report.finite
        if position in keep:
            timed.masks[position] = _pack(masks_nhw, feed.clip)
        on_frame(1 + position - feed.start)
    return timed


def _pack(masks_nhw: Masks, clip: Clip) -> PackedMask:
    expected = (1, clip.height, clip.width)
    if masks_nhw.dtype != np.bool_ or masks_nhw.shape != expected:
        raise RunnerError(
            f"the runner returned {masks_nhw.dtype} masks of shape {masks_nhw.shape}, not bool {expected}; report this as a bug"
        )
    return PackedMask(masks_nhw[0])


def _nonfinite_message(frames: int, total: int, dtype: str) -> str:
    remedy = "use --autocast_dtype bfloat16 or float32" if dtype == "float16" else "check the weights, and the model under float32"
    return f"NaN or infinite output on {frames} of {total} frames under {dtype}; {remedy}"


def _put_times(row: SummaryRow, timed: _Timed) -> None:
    latency = LatencySamples(timed.latency_ms)
    row.frames = latency.count
    row.fps, row.latency_ms = latency.fps, latency.mean
    row.latency_min_ms, row.latency_max_ms = latency.min, latency.max
    row.latency_p50_ms, row.latency_p90_ms = latency.p50, latency.p90
    row.latency_p95_ms, row.latency_p99_ms = latency.p95, latency.p99
    row.decode_ms = LatencySamples(timed.decode_ms).mean
    for part in ("preprocess_ms", "model_ms", "output_ms"):
        setattr(row, part, LatencySamples([parts[part] for parts in timed.parts_ms if part in parts]).mean)
    row.init_ms, row.first_frame_ms = timed.init_ms, timed.first_frame_ms
    row.setup_ms = timed.init_ms + timed.first_frame_ms


def _score(tracked: Tracked, obj: SplitObject, size_hw: tuple[int, int]) -> None:
    """Score the annotated frames as the official evaluator does; before the prompt the prediction is empty."""
    begun = time.perf_counter()
    scorer = ObjectScorer()
    row_of_frame = {row.frame: row for row in tracked.frames}
    for frame, path in frames_to_score(obj.annotations):
        prediction_hw = tracked.masks[frame].unpack() if frame in tracked.masks else np.zeros(size_hw, np.bool_)
        score = scorer.feed_frame(prediction_hw, read_mask(path, size_hw))
        if score is not None and frame in row_of_frame:
            row_of_frame[frame].J, row_of_frame[frame].F = score.J, score.F
    concluded = scorer.conclude()
    row = tracked.row
    row.frames_scored = 0
    if concluded is not None:
        row.J, row.F, row.JandF, row.frames_scored = concluded.J, concluded.F, concluded.JandF, concluded.frames_scored
    row.score_ms = (time.perf_counter() - begun) * 1e3
