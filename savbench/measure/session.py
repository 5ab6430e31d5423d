"""One session: objects of one clip tracked together, usually one, start to end: warm-up, prompts, timed tracking.

What is timed is in results/README.md; here is where it happens. A frame's latency runs from its decoded pixels in host memory to its masks
in host memory: exactly one call of the runner. Decoding comes before it, looking for NaN after it. Masks are scored elsewhere, by a process
of its own (`savbench.finish.finisher`), so that nothing of the benchmark's own runs between two timed frames but waiting for the
next one, which a thread decodes ahead (`savbench.data.frames`).

A session of several tracks encodes a frame once for all. The latency of one of them is then that of the call without what the others took
by themselves, as the runner reports it: what it would have waited for alone. Its row says what was shared.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from runners.base import PARTS, STAGES, RunnerError
from savbench.board.background import BackgroundLoad
from savbench.data.feed import Feed
from savbench.data.masks import PackedMask
from savbench.measure.memory import RssSampler, SystemMemorySampler, process_peak_rss_mib
from savbench.measure.warning_log import WarningLog
from savbench.results.latency import LatencySamples
from savbench.results.rows import FrameRow, SummaryRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runners.base import CompileReport, Frame, FrameReport, Masks, VideoRunner
    from savbench.data.dataset import SplitVideo
    from savbench.data.feed import Track
    from savbench.measure.devices import Device


@dataclass(frozen=True)
class SessionSettings:
    """How a session is run; the command line's settings as far as they concern one."""

    autocast_dtype: str
    attention: str
    """One of `attention.CHOICES`, or `none` for a model without attention."""
    num_points: int = 1
    max_frames: int | None = None
    frame_stride: int = 1
    prefetch: int = 0
    """Frames that are decoded ahead of the tracker."""
    warmup_frames: int = 5
    min_frames: int = 0
    """The clip is tracked again until so many frames have been timed; further passes are not scored."""
    min_time_s: float = 0.0
    """And until the timed frames have taken so long."""
    keep_all_masks: bool = False
    """Keep the mask of every frame that was tracked, for overlays; otherwise of the annotated frames alone."""


@dataclass
class Tracked:
    """What came of one track."""

    row: SummaryRow
    """The measurements; who and where is the caller's to fill in, and the scores the finisher's."""
    frames: list[FrameRow]
    masks: dict[int, PackedMask]
    """Predicted masks by frame of the clip, from the prompted frame on; a frame that was not fed has the mask of the last one before."""
    spans: list[tuple[float, float]]
    """Beginning and end of every timed frame, on the clock of `time.perf_counter`."""


PhaseName = Literal["warm-up", "timed", ""]

COMPILE_FRAMES = 24
"""Frames of a warm-up round of a compiled model. A frame reads up to 16 object pointers and 7 memories of those before it; from then on the
sizes stay, and with them what is compiled."""
COMPILE_ROUNDS = 4
"""At most so many; the row's recompilations tell where they were not enough."""


def track_together(
    runner: VideoRunner,
    device: Device,
    video: SplitVideo,
    tracks: Sequence[Track],
    settings: SessionSettings,
    on_frame: Callable[[int, int, int], None] = lambda done, total, frame: None,
    on_phase: Callable[[PhaseName, float], None] = lambda phase, t_s: None,
) -> list[Tracked]:
    """Run one session.

    Where the model puts out NaN or infinite numbers, neither its masks nor its scores mean anything: the rows then have status error and
    no figures.

    Args:
        video: the clip, already cut to `settings.max_frames`.
        tracks: of one session and in its order, see `savbench.data.feed.sessions_of`.
        on_frame: called after every frame with the number of frames done and to do, warm-up included, and the frame of the clip; not timed.
        on_phase: called when a phase begins, with its name and the time on the clock of `time.perf_counter`; "" is anything else. `timed`
            begins with the first timed frame of a pass and ends with its last.

    Returns:
        One for each track, in the order given.

    Raises:
        ClipError: the clip cannot be used.
        RunnerError: the model cannot do what is asked.
    """
    feed = Feed(video, tracks, settings.frame_stride)
    plan = _Plan(feed, tracks, len(video.frames), settings.keep_all_masks)
    warm = min(settings.warmup_frames, 1 + feed.to_track)
    rows = [_begun_row(track, feed, settings, video) for track in tracks]
    timed = _Timed([{} for _ in tracks])
    with WarningLog() as warned:
        try:
            count = _FrameCount(on_frame, feed, warm)
            warmup_ms = None
            if warm:
                on_phase("warm-up", time.perf_counter())
                with device.warming_up(), device.attention(settings.attention), device.autocast(settings.autocast_dtype):
                    warmup_ms = _warm_up(runner, plan, warm, count)
            on_phase("", time.perf_counter())
            device.reset_peaks()
            with contextlib.ExitStack() as stack:
                rss = stack.enter_context(RssSampler())
                system = stack.enter_context(SystemMemorySampler()) if device.shares_memory else None
                background = stack.enter_context(BackgroundLoad())
                attention = stack.enter_context(device.attention(settings.attention))
                stack.enter_context(device.autocast(settings.autocast_dtype))
                while not timed.enough(settings):
                    _track_timed(runner, plan, timed, count, settings.prefetch, on_phase)
            peaks = device.peaks_mib()
        finally:
            runner.close()
    for row in rows:
        row.warmup_frames, row.warmup_ms = warm, warmup_ms
        row.warnings, row.warning_lines = warned.count, " | ".join(warned.lines)
        row.attention_fallbacks = attention.fell_back
        row.attention_fallback_reasons = " | ".join(f"{count}x {reason}" for reason, count in attention.reasons.items())
        row.background_cpus = background.cpus
        row.nonfinite_frames = timed.nonfinite
        row.resize = timed.resize
        _put_compiling(row, timed)
        if timed.nonfinite:
            fed = timed.passes * (1 + feed.to_track)
            row.status, row.error = "error", nonfinite_message(timed.nonfinite, fed, settings.autocast_dtype)
            continue
        row.gpu_peak_alloc_MiB, row.gpu_peak_reserved_MiB = peaks
        row.cpu_peak_rss_MiB = rss.peak_mib
        row.process_peak_rss_MiB = process_peak_rss_mib()
        row.unified_peak_used_MiB = None if system is None else system.peak_mib
    return [_tracked(plan, number, row, timed) for number, row in enumerate(rows)]


def observe_kernels(runner: VideoRunner, device: Device, video: SplitVideo, track: Track, settings: SessionSettings) -> Mapping[str, int]:
    """Which attention kernels serve a tracked frame, and how many calls each: tracks to the second frame after the prompt, untimed.

    Raises as `track_together`.
    """
    feed = Feed(video, [track], settings.frame_stride)
    last = feed.start + min(2, feed.to_track)
    try:
        with device.attention(settings.attention), device.autocast(settings.autocast_dtype):
            runner.open(feed.clip, feed.read(0))
            runner.prompt(feed.start, feed.read(feed.start), [track.prompt])
            for position in range(feed.start + 1, last):
                runner.track(position, feed.read(position))
            frame_hwc = feed.read(last)
            return device.observe(lambda: runner.track(last, frame_hwc))
    finally:
        runner.close()


def _begun_row(track: Track, feed: Feed, settings: SessionSettings, video: SplitVideo) -> SummaryRow:
    return SummaryRow(
        prompt=track.prompt.kind,
        autocast_dtype=settings.autocast_dtype,
        prompt_frame=track.prompt_frame,
        clip_frames=len(video.frames),
        frames_from=video.frames.format,
        video_height=feed.size_hw[0],
        video_width=feed.size_hw[1],
        max_frames=settings.max_frames,
        frame_stride=settings.frame_stride,
        num_points=settings.num_points if track.prompt.kind == "points" else None,
        frames_annotated=len(track.obj.annotations),
    )


class _Plan:
    """Who is prompted where in a session, and whose mask of which frame is kept. Tracks by their place in the order of prompts."""

    def __init__(self, feed: Feed, tracks: Sequence[Track], clip_frames: int, keep_all: bool) -> None:
        self.feed = feed
        self.tracks = tracks
        self.starts = [feed.position_at(track.prompt_frame) for track in tracks]
        self.wanted: list[list[int]] = []
        """Frames of the clip whose masks are kept, for each track."""
        for track in tracks:
            frames = range(track.prompt_frame, clip_frames) if keep_all else (frame for frame, _ in track.obj.annotations)
            self.wanted.append([frame for frame in frames if frame >= track.prompt_frame])
        self._keep = [{feed.position_at(frame) for frame in frames} for frames in self.wanted]

    def run_frame(self, runner: VideoRunner, position: int, frame_hwc: Frame) -> Masks:
        """Prompt what is due on this frame, or track. A track's object id is its place, counted from 1."""
        due = [number for number, start in enumerate(self.starts) if start == position]
        if due:
            return runner.prompt(position, frame_hwc, [replace(self.tracks[number].prompt, object_id=number + 1) for number in due])
        return runner.track(position, frame_hwc)

    def known_at(self, position: int) -> int:
        """Number of tracks that have their prompt by this position."""
        return sum(start <= position for start in self.starts)

    def is_timed(self, position: int) -> bool:
        """A frame on which something is prompted is tracked, not timed."""
        return position not in self.starts

    def keep_masks(self, kept: list[dict[int, PackedMask]], position: int, masks_nhw: Masks) -> None:
        """Put what is wanted of this position's masks into `kept`, one dict by position for each track."""
        clip = self.feed.clip
        expected = (self.known_at(position), clip.height, clip.width)
        if masks_nhw.dtype != np.bool_ or masks_nhw.shape != expected:
            raise RunnerError(
                f"the runner returned {masks_nhw.dtype} masks of shape {masks_nhw.shape}, not bool {expected}; report this as a bug"
            )
        for number, mask_hw in enumerate(masks_nhw):
            if position in self._keep[number]:
                kept[number][position] = PackedMask(mask_hw)


@dataclass(frozen=True)
class _TimedFrame:
    position: int
    repeat: int
    span: tuple[float, float]
    decode_ms: float
    wait_ms: float
    report: FrameReport

    @property
    def call_ms(self) -> float:
        return (self.span[1] - self.span[0]) * 1e3

    def latency_ms(self, number: int) -> float:
        """Of one track: the call without what the others took by themselves."""
        return self.call_ms - sum(ms for other, ms in enumerate(self.report.objects_ms) if other != number)

    @property
    def parts_ms(self) -> dict[str, float]:
        return _summing_to(self.call_ms, self.report.parts_ms, PARTS[-1])

    @property
    def stages_ms(self) -> dict[str, float]:
        return _summing_to(self.call_ms, self.report.stages_ms, STAGES[-1])

    @property
    def shared_ms(self) -> float:
        return self.call_ms - sum(self.report.objects_ms)


@dataclass
class _Timed:
    """What a session measured, over all its passes."""

    masks: list[dict[int, PackedMask]]
    """For each track, by position; of the first pass."""
    frames: list[_TimedFrame] = field(default_factory=list)
    init_ms: float = 0.0
    first_frame_ms: float = 0.0
    passes: int = 0
    nonfinite: int = 0
    compiled: CompileReport | None = None
    """As of the last frame."""
    resize: str = ""
    """As of the last frame."""
    compilations: int = 0
    """Graphs compiled after the prompt of a pass."""

    def enough(self, settings: SessionSettings) -> bool:
        seconds = sum(frame.call_ms for frame in self.frames) / 1e3
        return self.passes > 0 and len(self.frames) >= settings.min_frames and seconds >= settings.min_time_s


class _FrameCount:
    """Counts a session's frames for `on_frame`; further passes add to what there is to do."""

    def __init__(self, tell: Callable[[int, int, int], None], feed: Feed, warm: int) -> None:
        self._tell = tell
        self._feed = feed
        self._of_a_pass = 1 + feed.to_track
        self._done = 0
        self._total = warm + self._of_a_pass

    def add(self, position: int) -> None:
        self._done += 1
        if self._done > self._total:
            self._total += self._of_a_pass
        self._tell(self._done, self._total, self._feed.frame_at(position))


def _warm_up(runner: VideoRunner, plan: _Plan, frames: int, count: _FrameCount) -> float:
    """Run the first frames as the timed run will, and forget them. Returns the milliseconds inside the runner.

    A model that is compiled runs rounds of more frames, until one compiles nothing.
    """
    spent_ms, graphs = _warm_round(runner, plan, frames, count)
    rounds = 0
    while graphs is not None and rounds < COMPILE_ROUNDS:
        before = graphs
        more_ms, graphs = _warm_round(runner, plan, min(COMPILE_FRAMES, 1 + plan.feed.to_track), count)
        spent_ms += more_ms
        rounds += 1
        if graphs == before:
            break
    return spent_ms


def _warm_round(runner: VideoRunner, plan: _Plan, frames: int, count: _FrameCount) -> tuple[float, int | None]:
    """Milliseconds inside the runner, and the graphs compiled by now; None where nothing is compiled."""
    feed = plan.feed
    first = feed.read(0)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    spent = time.perf_counter() - begun
    for position in range(feed.start, feed.start + frames):
        frame_hwc = feed.read(position)
        begun = time.perf_counter()
        plan.run_frame(runner, position, frame_hwc)
        spent += time.perf_counter() - begun
        count.add(position)
    compiled = runner.inspect().compiled
    runner.close()
    return spent * 1e3, None if compiled is None else compiled.graphs


def _track_timed(
    runner: VideoRunner, plan: _Plan, timed: _Timed, count: _FrameCount, prefetch: int, on_phase: Callable[[PhaseName, float], None]
) -> None:
    """One pass over the clip; the first gives the masks and the times of the prompt."""
    feed, repeat, timed_before = plan.feed, timed.passes, len(timed.frames)
    first, prompted = feed.read(0), feed.read(feed.start)
    begun = time.perf_counter()
    runner.open(feed.clip, first)
    opened = time.perf_counter()
    masks_nhw = plan.run_frame(runner, feed.start, prompted)
    done = time.perf_counter()
    begun_report = runner.inspect()
    timed.nonfinite += not begun_report.finite
    if repeat == 0:
        timed.init_ms, timed.first_frame_ms = (opened - begun) * 1e3, (done - opened) * 1e3
        plan.keep_masks(timed.masks, feed.start, masks_nhw)
    count.add(feed.start)
    with feed.read_ahead(feed.start + 1, prefetch) as frames:
        for position, frame in enumerate(frames, feed.start + 1):
            if len(timed.frames) == timed_before and plan.is_timed(position):
                # told before the frame, not after the pass: readings are written within a second
                on_phase("timed", time.perf_counter())
            begun = time.perf_counter()
            masks_nhw = plan.run_frame(runner, position, frame.frame_hwc)
            done = time.perf_counter()
            report = runner.inspect()
            timed.nonfinite += not report.finite
            if plan.is_timed(position):
                timed.frames.append(_TimedFrame(position, repeat, (begun, done), frame.decode_ms, frame.wait_ms, report))
            if repeat == 0:
                plan.keep_masks(timed.masks, position, masks_nhw)
            count.add(position)
    on_phase("", done)
    timed.compiled, timed.resize = report.compiled, report.resize
    if begun_report.compiled is not None and report.compiled is not None:
        timed.compilations += report.compiled.graphs - begun_report.compiled.graphs
    timed.passes += 1
    runner.close()


def nonfinite_message(frames: int, total: int, dtype: str) -> str:
    remedy = "use --autocast_dtype bfloat16 or float32" if dtype == "float16" else "check the weights, and the model under float32"
    return f"NaN or infinite output on {frames} of {total} frames under {dtype}; {remedy}"


def _tracked(plan: _Plan, number: int, row: SummaryRow, timed: _Timed) -> Tracked:
    """What came of one track. The frames of its own are those after its prompt."""
    feed = plan.feed
    own = [frame for frame in timed.frames if frame.position > plan.starts[number]]
    is_shared = len(plan.tracks) > 1
    frames = [
        FrameRow(
            frame=feed.frame_at(frame.position),
            repeat=frame.repeat,
            latency_ms=frame.latency_ms(number),
            session_latency_ms=frame.call_ms if is_shared else None,
            decode_ms=frame.decode_ms,
            stage_wait_ms=frame.wait_ms,
            parts_ms=frame.parts_ms,
            stages_ms=frame.stages_ms,
        )
        for frame in own
    ]
    masks = {frame: timed.masks[number][feed.position_at(frame)] for frame in plan.wanted[number]}
    if row.status == "ok":
        _put_times(row, number, own, timed)
        if is_shared:
            row.shared = _shared_in_words(plan.tracks, is_batch=not any(frame.report.objects_ms for frame in own))
            row.session_tracks = len(plan.tracks)
            row.session_latency_ms = LatencySamples(frame.call_ms for frame in own).mean
            row.shared_ms = LatencySamples(frame.shared_ms for frame in own).mean
    return Tracked(row, frames, masks, [frame.span for frame in own])


def _put_times(row: SummaryRow, number: int, own: Sequence[_TimedFrame], timed: _Timed) -> None:
    latency = LatencySamples(frame.latency_ms(number) for frame in own)
    row.frames, row.passes = latency.count, timed.passes
    row.fps, row.latency_ms = latency.fps, latency.mean
    row.latency_min_ms, row.latency_max_ms = latency.min, latency.max
    row.latency_p50_ms, row.latency_p90_ms = latency.p50, latency.p90
    row.latency_p95_ms, row.latency_p99_ms = latency.p95, latency.p99
    row.decode_ms = LatencySamples(frame.decode_ms for frame in own).mean
    row.stage_wait_ms = LatencySamples(frame.wait_ms for frame in own).mean
    row.parts_ms = _means([frame.parts_ms for frame in own], PARTS)
    row.stages_ms = _means([frame.stages_ms for frame in own], STAGES)
    row.init_ms, row.first_frame_ms = timed.init_ms, timed.first_frame_ms
    row.setup_ms = timed.init_ms + timed.first_frame_ms


def _summing_to(whole_ms: float, spent_ms: Mapping[str, float], last: str) -> dict[str, float]:
    """What a call was spent on, with `last` as the rest of it.

    The runner's clock starts and stops within the call. Time that passes between its stamps and the caller's, as where another process
    is given the CPU there, belongs to the call and so to one of its parts.
    """
    if last not in spent_ms:
        return dict(spent_ms)
    others_ms = sum(ms for name, ms in spent_ms.items() if name != last)
    return {**spent_ms, last: max(0.0, whole_ms - others_ms)}


def _means(spent_ms: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Of each name over the frames that have it; without the names that none has."""
    means = {name: LatencySamples(of_frame[name] for of_frame in spent_ms if name in of_frame).mean for name in names}
    return {name: mean for name, mean in means.items() if mean is not None}


def _put_compiling(row: SummaryRow, timed: _Timed) -> None:
    compiled = timed.compiled
    if compiled is not None:
        row.compile_mode, row.compile_ms, row.compile_fallback = compiled.mode, compiled.compile_ms, compiled.fallback
        row.recompilations, row.graph_breaks = compiled.recompilations, compiled.graph_breaks
        row.timed_compilations = timed.compilations


def _shared_in_words(tracks: Sequence[Track], *, is_batch: bool) -> str:
    objects = len({track.obj.object for track in tracks})
    prompts = len({track.prompt.kind for track in tracks})
    counted = [f"{number} {what}" for number, what in ((objects, "objects"), (prompts, "prompts")) if number > 1]
    how = "as one batch, whose time is everyone's" if is_batch else "the image encoder once for all"
    return f"{' x '.join(counted)} in one session, {how}"
