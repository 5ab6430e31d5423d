"""What a session measured: the samples behind every figure, and the rows made from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runners.base import PARTS, STAGES
from savbench.measure.spikes import spike_causes
from savbench.measure.witness import Witnessed
from savbench.results.frame_rows import FrameRow
from savbench.results.latency import LatencySamples
from savbench.results.quantiles import row_values
from savbench.results.rows import SummaryRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runners.base import CompileReport, FrameReport
    from savbench.data.masks import PackedMask


@dataclass(frozen=True)
class TimedFrame:
    """One timed call of the runner."""

    position: int
    """Index among the frames fed."""
    frame: int
    """Frame of the clip."""
    repeat: int
    """Index of the pass over the clip."""
    span: tuple[float, float]
    """Start and end of the call, in seconds of `time.perf_counter`."""
    decode_ms: float
    wait_ms: float
    report: FrameReport
    witnessed: Witnessed = field(default_factory=Witnessed)

    @property
    def call_ms(self) -> float:
        return (self.span[1] - self.span[0]) * 1e3

    @property
    def parts_ms(self) -> dict[str, float]:
        return _summing_to(self.call_ms, self.report.parts_ms, PARTS[-1])

    @property
    def stages_ms(self) -> dict[str, float]:
        return _summing_to(self.call_ms, self.report.stages_ms, STAGES[-1])

    @property
    def shared_ms(self) -> float:
        """Part of the call that belongs to no single track."""
        return self.call_ms - sum(self.report.objects_ms)

    def latency_ms(self, track: int) -> float:
        """Latency of one track: the call less the other tracks' own time."""
        return self.call_ms - sum(ms for other, ms in enumerate(self.report.objects_ms) if other != track)


@dataclass(frozen=True)
class Peaks:
    """Peaks of memory during the timed passes, in MiB; None if not readable."""

    gpu_allocated: float | None
    gpu_reserved: float | None
    process: float | None
    process_ever: float | None
    """Since the process started."""
    machine: float | None
    """If CPU and GPU share memory, else None."""


@dataclass(frozen=True)
class SessionFacts:
    """What a session measured for all of its tracks together."""

    clip_frames: int
    frames_from: str
    size_hw: tuple[int, int]
    tracks: int
    shared: str
    """Description of what was tracked together; empty for a single track."""
    warmup_frames: int
    warmup_ms: float | None
    init_ms: float
    first_frame_ms: float
    passes: int
    peaks: Peaks
    background_cpus: float | None
    warnings: int
    warning_lines: str
    attention_fallbacks: int | None
    attention_fallback_reasons: str
    resize: str
    """How frames were resized, as the runner reports it."""
    compiled: CompileReport | None
    timed_compilations: int
    nonfinite_frames: int
    error: str
    """Why masks and figures are meaningless; empty if they are not."""

    def put_into(self, row: SummaryRow) -> None:
        """Set the columns that do not depend on whether the figures are meaningful."""
        row.clip_frames, row.frames_from = self.clip_frames, self.frames_from
        row.video_height, row.video_width = self.size_hw
        row.warmup_frames, row.warmup_ms = self.warmup_frames, self.warmup_ms
        row.warnings, row.warning_lines = self.warnings, self.warning_lines
        row.attention_fallbacks, row.attention_fallback_reasons = self.attention_fallbacks, self.attention_fallback_reasons
        row.background_cpus, row.nonfinite_frames = self.background_cpus, self.nonfinite_frames
        row.resize = self.resize
        if self.compiled is not None:
            row.compile_mode, row.compile_ms = self.compiled.mode, self.compiled.compile_ms
            row.compile_fallback = self.compiled.fallback
            row.recompilations, row.graph_breaks = self.compiled.recompilations, self.compiled.graph_breaks
            row.timed_compilations = self.timed_compilations
        if self.error:
            row.status, row.error = "error", self.error


@dataclass(frozen=True)
class Measured:
    """What a session measured for one track, which is one object under one prompt."""

    session: SessionFacts
    track: int
    """Index of the track in the session."""
    prompt_frame: int
    num_points: int | None
    """Number of clicks of a points prompt, else None."""
    frames_annotated: int
    timed: Sequence[TimedFrame]
    """Timed frames after its prompt."""
    masks: dict[int, PackedMask]
    """Predicted masks by frame of the clip, from the prompted frame on; a frame not fed has the mask of the last frame fed before it."""

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Start and end of every timed frame, in seconds of `time.perf_counter`."""
        return [frame.span for frame in self.timed]

    def row(self, blank: SummaryRow) -> SummaryRow:
        """The row of the object, without its scores.

        Args:
            blank: the row with only its identifying columns.
        """
        row = replace(blank, prompt_frame=self.prompt_frame, num_points=self.num_points, frames_annotated=self.frames_annotated)
        self.session.put_into(row)
        if not self.session.error:
            self._put_figures(row)
        return row

    def frame_rows(self, key: tuple[str, str, str]) -> list[FrameRow]:
        """A row for every timed frame, without scores.

        Args:
            key: of the object's row.
        """
        causes = spike_causes([frame.latency_ms(self.track) for frame in self.timed], [frame.witnessed for frame in self.timed])
        return [
            FrameRow(
                *key,
                frame=frame.frame,
                repeat=frame.repeat,
                latency_ms=frame.latency_ms(self.track),
                session_latency_ms=frame.call_ms if self.session.shared else None,
                frame_kind=frame.report.kind,
                decode_ms=frame.decode_ms,
                stage_wait_ms=frame.wait_ms,
                parts_ms=frame.parts_ms,
                stages_ms=frame.stages_ms,
                spike_cause=cause,
                object_score=frame.report.object_scores[self.track] if frame.report.object_scores else None,
            )
            for frame, cause in zip(self.timed, causes, strict=True)
        ]

    def _put_figures(self, row: SummaryRow) -> None:
        session = self.session
        latency = LatencySamples(frame.latency_ms(self.track) for frame in self.timed)
        row.frames, row.passes = latency.count, session.passes
        row.fps, row.latency_ms = latency.fps, latency.mean
        row.latency_min_ms, row.latency_max_ms = latency.min, latency.max
        row.latency_p50_ms, row.latency_p90_ms = latency.p50, latency.p90
        row.latency_p95_ms, row.latency_p99_ms = latency.p95, latency.p99
        row.latency_intervals = row_values(latency.samples_ms)
        self._put_kinds(row)
        row.decode_ms = _mean(frame.decode_ms for frame in self.timed)
        row.stage_wait_ms = _mean(frame.wait_ms for frame in self.timed)
        row.parts_ms = _means([frame.parts_ms for frame in self.timed], PARTS)
        row.stages_ms = _means([frame.stages_ms for frame in self.timed], STAGES)
        row.init_ms, row.first_frame_ms = session.init_ms, session.first_frame_ms
        row.setup_ms = session.init_ms + session.first_frame_ms
        row.gpu_peak_alloc_MiB, row.gpu_peak_reserved_MiB = session.peaks.gpu_allocated, session.peaks.gpu_reserved
        row.cpu_peak_rss_MiB, row.unified_peak_used_MiB = session.peaks.process, session.peaks.machine
        row.process_peak_rss_MiB = session.peaks.process_ever
        if session.shared:
            row.shared, row.session_tracks = session.shared, session.tracks
            row.session_latency_ms = _mean(frame.call_ms for frame in self.timed)
            row.shared_ms = _mean(frame.shared_ms for frame in self.timed)

    def _put_kinds(self, row: SummaryRow) -> None:
        """With keyframes, tell apart the two kinds of frames, which one quantile of all would mix."""
        key, between = (
            LatencySamples(frame.latency_ms(self.track) for frame in self.timed if frame.report.kind == kind) for kind in ("key", "between")
        )
        if key.count or between.count:
            row.key_frames, row.key_latency_p50_ms, row.between_latency_p50_ms = key.count, key.p50, between.p50


def _mean(samples_ms: Iterable[float]) -> float | None:
    return LatencySamples(samples_ms).mean


def _summing_to(whole_ms: float, spent_ms: Mapping[str, float], last: str) -> dict[str, float]:
    """The parts of a call, with `last` set to the rest of it.

    The runner's clock starts and stops inside the call. Time between its stamps and the caller's, for example while another process has the
    CPU, belongs to the call and so to one of its parts.
    """
    if last not in spent_ms:
        return dict(spent_ms)
    others_ms = sum(ms for name, ms in spent_ms.items() if name != last)
    return {**spent_ms, last: max(0.0, whole_ms - others_ms)}


def _means(spent_ms: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Mean by name over the frames that have it, without names that no frame has."""
    means = {name: _mean(of_frame[name] for of_frame in spent_ms if name in of_frame) for name in names}
    return {name: mean for name, mean in means.items() if mean is not None}
