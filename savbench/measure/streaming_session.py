"""Tracks one object of one clip at the camera's rate: the runner is fed only the frames that it would have seen.

The runner's frames are numbered without gaps, even if frames were dropped: a tracker sees a stream as a clip of a lower and uneven frame
rate. It is given the clip's number of frames, an upper bound, as offline; SAM 2 reads that number on clips of under 16 frames, where it
bounds how many object pointers are kept. If no frame is dropped, every call equals the offline pass's call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from runners.base import RunnerError
from savbench.data.feed import Feed
from savbench.data.masks import PackedMask
from savbench.measure.session import nonfinite_message
from savbench.measure.streaming import Camera, LiveClock, SimulatedClock, Timeline, stream
from savbench.plan.arms import latencies_for
from savbench.results.frame_rows import StreamingRow
from savbench.results.rows import without_figures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runners.base import Masks, VideoRunner
    from savbench.data.dataset import SplitVideo
    from savbench.data.feed import Track
    from savbench.measure.devices import Device
    from savbench.measure.session import SessionSettings
    from savbench.measure.streaming import Clock, Processed
    from savbench.plan.arms import Arm
    from savbench.plan.recorded_latencies import ArmLatencies
    from savbench.plan.settings import RunConfig
    from savbench.results.rows import SummaryRow


@dataclass(frozen=True)
class StreamingSettings:
    """The rate at which an arm's frames arrive, and the clock."""

    fps: float
    latencies: ArmLatencies | None = None
    """Latencies for a simulated clock; None means a live clock."""
    file: Path | None = None
    """File that the latencies come from."""

    @classmethod
    def of(cls, config: RunConfig, arm: Arm) -> StreamingSettings | None:
        """The settings of --realtime and --realtime_from; None without them.

        Raises:
            ConfigError: the file has no latencies of the arm.
        """
        return None if config.realtime_fps is None else cls(config.realtime_fps, latencies_for(config, arm), config.realtime_from)

    def clock(self, track: Track) -> Clock:
        """A clock at 0 for an object."""
        return LiveClock() if self.latencies is None else SimulatedClock(self.latencies.draw(track.obj.video, track.obj.object))


@dataclass
class Streamed:
    """Result of streaming an object."""

    settings: StreamingSettings
    timeline: Timeline
    autocast_dtype: str
    known: dict[int, PackedMask] = field(default_factory=dict)
    """Newest finished mask at the moment of each annotated frame, by frame of the clip, from the prompted frame on."""
    nonfinite: int = 0
    """Number of frames with NaN or infinite output."""

    def completed(self, row: SummaryRow, device_name: str) -> SummaryRow:
        """The offline pass's row plus this stream's columns except scores; with status error and no figures if the output was not finite.

        Args:
            device_name: name of this machine's device.
        """
        row = replace(row, camera_fps=self.settings.fps, streaming_clock="live", streaming_device=device_name)
        if self.settings.latencies is not None:
            row.streaming_clock, row.streaming_device = f"simulated {self.settings.file}", self.settings.latencies.device_name
        if self.nonfinite:
            reason = nonfinite_message(self.nonfinite, len(self.timeline.processed), self.autocast_dtype)
            return without_figures(row, "error", f"at the camera's rate, {reason}")
        timeline, ages = self.timeline, self.timeline.mask_ages_ms
        row.streaming_fps, row.deadline_met = timeline.fps, timeline.deadline_met
        row.frames_processed, row.frames_dropped = len(timeline.tracked), timeline.dropped
        row.mask_age_p50_ms, row.mask_age_p90_ms = ages.p50, ages.p90
        return row

    def rows(self, key: tuple[str, str, str]) -> list[StreamingRow]:
        """One row for every frame of the camera, without scores.

        Args:
            key: of the object's row.
        """
        camera, timeline = self.timeline.camera, self.timeline
        steps = {step.index: step for step in timeline.processed}
        rows = []
        for index, frame in enumerate(camera.frames):
            arrived_ms = camera.arrival_ms(index)
            step, known = steps.get(index), timeline.known_at(arrived_ms)
            row = StreamingRow(*key, frame=frame, arrived_ms=arrived_ms, mask_age_ms=timeline.mask_age_ms(arrived_ms))
            if step is not None:
                row.taken_ms, row.latency_ms, row.finished_ms = step.taken_ms, step.latency_ms, step.finished_ms
            if known is not None:
                row.known_frame = camera.frames[known.index]
            rows.append(row)
        return rows


@dataclass
class _Known:
    """Determines the known mask at the moment of each annotated frame, as masks are finished."""

    camera: Camera
    pending: deque[int]
    """Annotated frames whose moment has not been reached, in order."""
    newest: PackedMask
    settled: dict[int, PackedMask] = field(default_factory=dict)

    def replace(self, mask: PackedMask, finished_ms: float) -> None:
        """Add a mask that counts from `finished_ms` on."""
        while self.pending and self.camera.moment_ms(self.pending[0]) < finished_ms:
            self.settled[self.pending.popleft()] = self.newest
        self.newest = mask

    def settle(self) -> dict[int, PackedMask]:
        self.settled.update((frame, self.newest) for frame in self.pending)
        self.pending.clear()
        return self.settled


def stream_object(
    runner: VideoRunner,
    device: Device,
    video: SplitVideo,
    track: Track,
    settings: SessionSettings,
    streaming: StreamingSettings,
    on_frame: Callable[[int, int, int], None] = lambda done, total, frame: None,
) -> Streamed:
    """Track one object at the camera's rate, from its prompt on. The offline pass before it serves as warm-up.

    Args:
        video: the clip, already cut to `settings.max_frames`.
        on_frame: called off the clock after every tracked frame, with the number of frames that have arrived, their total, and the frame
            of the clip.

    Raises:
        ClipError: the clip cannot be used.
        RunnerError: the model cannot run this clip or this prompt.
    """
    feed = Feed(video, [track], settings.frame_stride)
    camera = Camera([feed.frame_at(feed.start + index) for index in range(1 + feed.to_track)], streaming.fps)
    given = track.prompt.mask_hw
    known = _Known(
        camera,
        deque(frame for frame, _ in track.obj.annotations if frame >= track.prompt_frame),
        PackedMask(np.zeros(feed.size_hw, np.bool_) if given is None else given),
    )
    streamed = Streamed(streaming, Timeline(camera, ()), settings.autocast_dtype)
    position = feed.start

    def take(index: int) -> Callable[[], Masks]:
        frame_hwc = feed.read(feed.start + index)
        if index == 0:
            return lambda: runner.prompt(position, frame_hwc, [track.prompt])
        return lambda: runner.track(position, frame_hwc)

    def keep(step: Processed, masks_nhw: Masks) -> None:
        nonlocal position
        position += 1
        expected = (1, *feed.size_hw)
        if masks_nhw.dtype != np.bool_ or masks_nhw.shape != expected:
            raise RunnerError(
                f"the runner returned {masks_nhw.dtype} masks of shape {masks_nhw.shape}, not bool {expected}; report this as a bug"
            )
        streamed.nonfinite += not runner.inspect().finite
        known.replace(PackedMask(masks_nhw[0]), step.finished_ms)
        on_frame(step.index + 1, len(camera), camera.frames[step.index])

    try:
        with device.attention(settings.attention), device.autocast(settings.autocast_dtype):
            runner.open(feed.clip, feed.read(0))
            streamed.timeline = stream(camera, streaming.clock(track), take, keep)
    finally:
        runner.close()
    streamed.known = known.settle()
    return streamed
