"""One session from start to end: warm-up, prompts and timed tracking of objects of one clip together, usually of one object.

results/README.md defines what is timed; this module times it. A frame's latency runs from its decoded pixels in host memory to its masks in
host memory: exactly one call of the runner. Decoding comes before it, the check for NaN after it. A separate process scores masks
(`savbench.finish.finisher`), so between two timed frames the benchmark only waits for the next frame, which a thread decodes ahead
(`savbench.data.frames`).

A session of several tracks encodes a frame once for all. The latency of one track is then the call less the other tracks' own time, as the
runner reports it: what the track would have taken alone. Its row says what was shared.
"""

from __future__ import annotations

import contextlib
import gc
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from runners.base import RunnerError
from savbench.board.background import BackgroundLoad
from savbench.data.feed import Feed
from savbench.data.masks import PackedMask
from savbench.measure.measured import Measured, Peaks, SessionFacts, TimedFrame
from savbench.measure.memory import RssSampler, SystemMemorySampler, process_peak_rss_mib
from savbench.measure.warning_log import WarningLog
from savbench.measure.witness import Witness, is_first_use

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runners.base import CompileReport, Frame, FrameReport, Masks, VideoRunner
    from savbench.data.dataset import SplitVideo
    from savbench.data.feed import Track
    from savbench.measure.devices import Device


@dataclass(frozen=True)
class SessionSettings:
    """The command line's settings that concern a session."""

    autocast_dtype: str
    attention: str
    """One of `attention.CHOICES`, or `none` for a model without attention."""
    num_points: int = 1
    max_frames: int | None = None
    frame_stride: int = 1
    prefetch: int = 0
    """Number of frames decoded ahead of the tracker."""
    warmup_frames: int = 5
    keyframe_every: int = 1
    """With keyframes, K: warming up and observing go on for K times as many frames, so that the model sees as many as without."""
    min_frames: int = 0
    """Fewest timed frames: the clip is tracked again until they are reached; further passes are not scored."""
    min_time_s: float = 0.0
    """Least total time of the timed frames, reached in the same way."""
    keep_all_masks: bool = False
    """Keep the mask of every tracked frame, for overlays; otherwise only of annotated frames."""


PhaseName = Literal["warm-up", "timed", ""]

COMPILE_FRAMES = 24
"""Frames of a warm-up round of a compiled model. A frame reads up to 16 object pointers and 7 memories of earlier frames; once these are
full, tensor sizes and thus the compiled code no longer change."""
CUDA_GRAPHS = "cuda_graphs"
"""Listed among a row's kernels for calls inside recorded CUDA graphs, which cannot be observed when the graphs are replayed."""
COMPILE_ROUNDS = 4
"""Most warm-up rounds of a compiled model; a row's recompilations show if they were not enough."""


def track_together(
    runner: VideoRunner,
    device: Device,
    video: SplitVideo,
    tracks: Sequence[Track],
    settings: SessionSettings,
    on_frame: Callable[[int, int, int], None] = lambda done, total, frame: None,
    on_phase: Callable[[PhaseName, float], None] = lambda phase, t_s: None,
) -> list[Measured]:
    """Run one session.

    If the model outputs NaN or infinite numbers, its masks and scores are meaningless: the rows then have status error and no figures.

    Args:
        video: the clip, already cut to `settings.max_frames`.
        tracks: of one session, in its order; see `savbench.data.feed.sessions_of`.
        on_frame: called after every frame, untimed, with the number of frames done and in total, warm-up included, and the frame of the
            clip.
        on_phase: called when a phase begins, with its name and the time in seconds of `time.perf_counter`; "" means any other phase.
            `timed` begins with the first timed frame of a pass and ends with its last.

    Returns:
        One for each track, in the order given.

    Raises:
        ClipError: the clip cannot be used.
        RunnerError: the model cannot run this clip or these prompts.
    """
    feed = Feed(video, tracks, settings.frame_stride)
    plan = _Plan(feed, tracks, len(video.frames), settings.keep_all_masks)
    warm = min(_seen_by_model(settings.warmup_frames, settings), 1 + feed.to_track)
    passes = _Passes([{} for _ in tracks])
    with WarningLog() as warned:
        try:
            count = _FrameCount(on_frame, feed, warm)
            warmup_ms = None
            device.release_memory()
            if warm:
                on_phase("warm-up", time.perf_counter())
                with device.warming_up(), device.attention(settings.attention), device.autocast(settings.autocast_dtype):
                    warmup_ms = _warm_up(runner, plan, warm, count, settings)
            on_phase("", time.perf_counter())
            _freeze_garbage()
            device.reset_peaks()
            with contextlib.ExitStack() as stack:
                rss = stack.enter_context(RssSampler())
                machine = stack.enter_context(SystemMemorySampler()) if device.shares_memory else None
                background = stack.enter_context(BackgroundLoad())
                attention = stack.enter_context(device.attention(settings.attention))
                stack.enter_context(device.autocast(settings.autocast_dtype))
                witness = stack.enter_context(Witness(device))
                while not passes.are_enough(settings):
                    _track_timed(runner, plan, passes, count, settings, on_phase, witness)
            gpu_peaks = device.peaks_mib()
        finally:
            runner.close()
    fed = passes.count * (1 + feed.to_track)
    session = SessionFacts(
        clip_frames=len(video.frames),
        frames_from=video.frames.format,
        size_hw=feed.size_hw,
        tracks=len(tracks),
        shared=_shared_in_words(tracks, passes.frames),
        warmup_frames=warm,
        warmup_ms=warmup_ms,
        init_ms=passes.init_ms,
        first_frame_ms=passes.first_frame_ms,
        passes=passes.count,
        peaks=Peaks(*gpu_peaks, rss.peak_mib, process_peak_rss_mib(), None if machine is None else machine.peak_mib),
        background_cpus=background.cpus,
        warnings=warned.count,
        warning_lines=" | ".join(warned.lines),
        attention_fallbacks=attention.fell_back,
        attention_fallback_reasons=" | ".join(f"{count}x {reason}" for reason, count in attention.reasons.items()),
        resize=passes.resize,
        compiled=passes.compiled,
        timed_compilations=passes.compilations,
        nonfinite_frames=passes.nonfinite,
        error=nonfinite_message(passes.nonfinite, fed, settings.autocast_dtype) if passes.nonfinite else "",
    )
    return [_measured(plan, number, session, passes, settings) for number in range(len(tracks))]


def observe_kernels(
    runner: VideoRunner, device: Device, video: SplitVideo, track: Track, settings: SessionSettings
) -> tuple[str, int | None]:
    """Attention kernels that serve a tracked frame and the number of calls: `sdpa_kernels` and `attention_calls` of a row.

    Tracks to the second frame after the prompt that the model sees, untimed. Call it after the session has run: compilation traces the same
    operators, and they would be counted.

    Raises as `track_together`.
    """
    feed = Feed(video, [track], settings.frame_stride)
    # of a clip without a second key frame, a frame between is observed
    key_frames = min(2, feed.to_track // settings.keyframe_every)
    last = feed.start + (settings.keyframe_every * key_frames or feed.to_track)
    try:
        with device.attention(settings.attention), device.autocast(settings.autocast_dtype):
            runner.open(feed.clip, feed.read(0))
            runner.prompt(feed.start, feed.read(feed.start), [track.prompt])
            for position in range(feed.start + 1, last):
                runner.track(position, feed.read(position))
            frame_hwc = feed.read(last)
            kernels = device.observe(lambda: runner.track(last, frame_hwc))
            compiled = runner.inspect().compiled
    finally:
        runner.close()
    named = [f"{kernel}:{calls}" for kernel, calls in kernels.items()]
    if compiled is not None and compiled.replays_graphs:
        return " ".join([*named, CUDA_GRAPHS]), None
    return " ".join(named), sum(kernels.values()) or None


class _Plan:
    """Which track is prompted at which position of a session, and which masks are kept. Tracks are numbered in the order of prompts."""

    def __init__(self, feed: Feed, tracks: Sequence[Track], clip_frames: int, keep_all: bool) -> None:
        self.feed = feed
        self.tracks = tracks
        self.starts = [feed.position_at(track.prompt_frame) for track in tracks]
        self.wanted: list[list[int]] = []
        """Frames of the clip whose masks are kept, by track."""
        for track in tracks:
            frames = range(track.prompt_frame, clip_frames) if keep_all else (frame for frame, _ in track.obj.annotations)
            self.wanted.append([frame for frame in frames if frame >= track.prompt_frame])
        self._keep = [{feed.position_at(frame) for frame in frames} for frames in self.wanted]

    def run_frame(self, runner: VideoRunner, position: int, frame_hwc: Frame) -> Masks:
        """Prompt the tracks due on this frame, or track if there are none. A track's object id is its number, counted from 1."""
        due = [number for number, start in enumerate(self.starts) if start == position]
        if due:
            return runner.prompt(position, frame_hwc, [replace(self.tracks[number].prompt, object_id=number + 1) for number in due])
        return runner.track(position, frame_hwc)

    def known_at(self, position: int) -> int:
        """Number of tracks prompted at or before this position."""
        return sum(start <= position for start in self.starts)

    def is_timed(self, position: int) -> bool:
        """Whether the frame is timed; a frame on which a track is prompted is not."""
        return position not in self.starts

    def keep_masks(self, kept: list[dict[int, PackedMask]], position: int, masks_nhw: Masks) -> None:
        """Store the wanted masks of this position in `kept`, which has one dict by position per track."""
        clip = self.feed.clip
        expected = (self.known_at(position), clip.height, clip.width)
        if masks_nhw.dtype != np.bool_ or masks_nhw.shape != expected:
            raise RunnerError(
                f"the runner returned {masks_nhw.dtype} masks of shape {masks_nhw.shape}, not bool {expected}; report this as a bug"
            )
        for number, mask_hw in enumerate(masks_nhw):
            if position in self._keep[number]:
                kept[number][position] = PackedMask(mask_hw)


@dataclass
class _Passes:
    """Results of the timed passes over a clip."""

    masks: list[dict[int, PackedMask]]
    """Per track, by position; of the first pass."""
    frames: list[TimedFrame] = field(default_factory=list)
    init_ms: float = 0.0
    first_frame_ms: float = 0.0
    count: int = 0
    nonfinite: int = 0
    compiled: CompileReport | None = None
    """As of the last frame."""
    resize: str = ""
    """As of the last frame."""
    compilations: int = 0
    """Graphs compiled after the prompt of a pass."""

    def are_enough(self, settings: SessionSettings) -> bool:
        seconds = sum(frame.call_ms for frame in self.frames) / 1e3
        return self.count > 0 and len(self.frames) >= settings.min_frames and seconds >= settings.min_time_s


class _FrameCount:
    """Counts a session's frames for `on_frame`; each further pass adds to the total."""

    def __init__(self, on_frame: Callable[[int, int, int], None], feed: Feed, warm: int) -> None:
        self._on_frame = on_frame
        self._feed = feed
        self._of_a_pass = 1 + feed.to_track
        self._done = 0
        self._total = warm + self._of_a_pass

    def add(self, position: int) -> None:
        self._done += 1
        if self._done > self._total:
            self._total += self._of_a_pass
        self._on_frame(self._done, self._total, self._feed.frame_at(position))


def _seen_by_model(frames: int, settings: SessionSettings) -> int:
    """How many frames to feed so that the model sees this many, the prompted one included."""
    return frames and 1 + (frames - 1) * settings.keyframe_every


def _warm_up(runner: VideoRunner, plan: _Plan, frames: int, count: _FrameCount, settings: SessionSettings) -> float:
    """Run the first frames as the timed passes will, and discard the results. Returns the milliseconds inside the runner.

    A compiled model then runs longer rounds until one compiles nothing.
    """
    spent_ms, graphs = _warm_round(runner, plan, frames, count, settings.keyframe_every)
    rounds, longer = 0, min(_seen_by_model(COMPILE_FRAMES, settings), 1 + plan.feed.to_track)
    while graphs is not None and rounds < COMPILE_ROUNDS:
        before = graphs
        more_ms, graphs = _warm_round(runner, plan, longer, count, settings.keyframe_every)
        spent_ms += more_ms
        rounds += 1
        if graphs == before:
            break
    return spent_ms


def _warm_round(runner: VideoRunner, plan: _Plan, frames: int, count: _FrameCount, every: int) -> tuple[float, int | None]:
    """Returns the milliseconds inside the runner and the number of graphs compiled so far; None if the model is not compiled."""
    feed = plan.feed
    first = feed.read(0)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    spent = time.perf_counter() - begun
    for position in range(feed.start, feed.start + frames):
        frame_hwc = feed.read(position)
        begun = time.perf_counter()
        masks_nhw = plan.run_frame(runner, position, frame_hwc)
        spent += time.perf_counter() - begun
        if (position - feed.start) % every == 0:
            is_first_use(runner, (position - feed.start) // every, len(masks_nhw), runner.applied.memory_frames)
        count.add(position)
    compiled = runner.inspect().compiled
    runner.close()
    return spent * 1e3, None if compiled is None else compiled.graphs


def _track_timed(
    runner: VideoRunner,
    plan: _Plan,
    passes: _Passes,
    count: _FrameCount,
    settings: SessionSettings,
    on_phase: Callable[[PhaseName, float], None],
    witness: Witness,
) -> None:
    """Make one pass over the clip; the first pass provides the masks and the prompt's times."""
    feed, repeat, timed_before = plan.feed, passes.count, len(passes.frames)
    first, prompted = feed.read(0), feed.read(feed.start)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    opened = time.perf_counter()
    masks_nhw = plan.run_frame(runner, feed.start, prompted)
    done = time.perf_counter()
    begun_report = runner.inspect()
    graphs = _graphs(begun_report)
    passes.nonfinite += not begun_report.finite
    if repeat == 0:
        passes.init_ms, passes.first_frame_ms = (opened - begun) * 1e3, (done - opened) * 1e3
        plan.keep_masks(passes.masks, feed.start, masks_nhw)
    count.add(feed.start)
    with feed.read_ahead(feed.start + 1, settings.prefetch) as frames:
        for position, frame in enumerate(frames, feed.start + 1):
            if len(passes.frames) == timed_before and plan.is_timed(position):
                # report it before the frame, not after the pass: power readings are written within a second
                on_phase("timed", time.perf_counter())
            witness.begin()
            begun = time.perf_counter()
            masks_nhw = plan.run_frame(runner, position, frame.frame_hwc)
            done = time.perf_counter()
            report = runner.inspect()
            compilations, graphs = _graphs(report) - graphs, _graphs(report)
            memories = (position - feed.start) // settings.keyframe_every
            is_first = report.kind != "between" and is_first_use(runner, memories, len(masks_nhw), runner.applied.memory_frames)
            witnessed = witness.end(compilations=compilations, is_first_of_size=is_first)
            passes.nonfinite += not report.finite
            if plan.is_timed(position):
                in_clip = feed.frame_at(position)
                passes.frames.append(
                    TimedFrame(position, in_clip, repeat, (begun, done), frame.decode_ms, frame.wait_ms, report, witnessed)
                )
            if repeat == 0:
                plan.keep_masks(passes.masks, position, masks_nhw)
            count.add(position)
    on_phase("", done)
    passes.compiled, passes.resize = report.compiled, report.resize
    if begun_report.compiled is not None and report.compiled is not None:
        passes.compilations += report.compiled.graphs - begun_report.compiled.graphs
    passes.count += 1
    runner.close()


def _graphs(report: FrameReport) -> int:
    return 0 if report.compiled is None else report.compiled.graphs


def _freeze_garbage() -> None:
    """Once per process, exempt the objects that exist now from garbage collection.

    A full collection looks at every object of torch and the model, which takes 100 ms and more, and may come in the middle of a timed
    frame. Call it between clips, so that nothing of a clip is kept alive.
    """
    if gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()


def nonfinite_message(frames: int, total: int, dtype: str) -> str:
    remedy = "use --autocast_dtype bfloat16 or float32" if dtype == "float16" else "check the weights, and the model under float32"
    return f"NaN or infinite output on {frames} of {total} frames under {dtype}; {remedy}"


def _measured(plan: _Plan, number: int, session: SessionFacts, passes: _Passes, settings: SessionSettings) -> Measured:
    """The measurements of one track, whose frames are those after its prompt."""
    track = plan.tracks[number]
    return Measured(
        session=session,
        track=number,
        prompt_frame=track.prompt_frame,
        num_points=settings.num_points if track.prompt.kind == "points" else None,
        frames_annotated=len(track.obj.annotations),
        timed=[frame for frame in passes.frames if frame.position > plan.starts[number]],
        masks={frame: passes.masks[number][plan.feed.position_at(frame)] for frame in plan.wanted[number]},
    )


def _shared_in_words(tracks: Sequence[Track], frames: Sequence[TimedFrame]) -> str:
    if len(tracks) == 1:
        return ""
    objects = len({track.obj.object for track in tracks})
    prompts = len({track.prompt.kind for track in tracks})
    counted = [f"{number} {what}" for number, what in ((objects, "objects"), (prompts, "prompts")) if number > 1]
    is_batch = not any(frame.report.objects_ms for frame in frames)
    how = "as one batch, whose time is everyone's" if is_batch else "the image encoder once for all"
    return f"{' x '.join(counted)} in one session, {how}"
