"""Streaming at the camera's rate: which frames a tracker sees when they do not wait for it, and which mask counts at which time.

Offline J&F gives a tracker unlimited time. Here every frame is a moment, and its mask is the newest mask finished by then, whichever frame
it was computed from. This is the streaming accuracy of Li, Wang and Ramanan ("Towards Streaming Perception", ECCV 2020), for the masks of a
prompted object instead of the boxes of a detector:

- Time 0 is the moment of the prompt. Frame k of the clip arrives at (k - prompted frame) / FPS. At another FPS than the recording's the
  clip and its annotations play slower or faster. With a stride n the camera delivers every nth frame of the clip, at that frame's own time.
- The tracker gets the prompt and its frame at time 0. Whenever it is idle it takes the newest frame that has arrived and that it has not
  seen, or waits for the next one. It never sees the frames in between.
- A mask counts from the moment it is finished, inclusive: a mask finished exactly when a frame arrives counts for that frame. So a tracker
  that takes no time has exactly its offline score. Any other is at least one frame behind.
- The prompted frame takes time too. Until its mask is finished, the known mask is the one given as the prompt; after a click or a box it is
  empty. So a tracker that never finishes has exactly the score of the held prompt mask, or of an empty one. Opening the clip comes before
  time 0: a live application does it before its user points at anything.
- The clip ends one frame time after its last frame. The tracker begins nothing later, and a mask finished later counts nowhere.

A clock provides the duration of a call: `LiveClock` measures it, `SimulatedClock` takes it from a list.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from savbench.results.latency import LatencySamples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")


class Clock(Protocol):
    """The time that trackers must keep up with, in milliseconds since the prompt. Only its two methods advance it."""

    @property
    def now_ms(self) -> float:
        """Time since the prompt."""

    def run(self, call: Callable[[], T]) -> tuple[T, float]:
        """Make a call and advance the clock by its latency. Returns the call's result and its latency in ms."""

    def wait_until(self, moment_ms: float) -> None:
        """Advance the clock to a moment; a moment that has passed changes nothing."""


class LiveClock:
    """Real time on this machine: calls take as long as they take, and waiting sleeps, so that the board idles as it would in use.

    The clock stops between calls: a camera delivers decoded frames, but the benchmark has to decode them and to store masks. Such work
    shortens the next sleep. If the operating system ends a sleep late, by a fraction of a millisecond, the clock does not count it.
    """

    def __init__(self) -> None:
        self._now_ms = 0.0
        self._stopped_s = time.perf_counter()

    @property
    def now_ms(self) -> float:
        return self._now_ms

    def run(self, call: Callable[[], T]) -> tuple[T, float]:
        begun_s = time.perf_counter()
        result = call()
        self._stopped_s = time.perf_counter()
        latency_ms = (self._stopped_s - begun_s) * 1e3
        self._now_ms += latency_ms
        return result, latency_ms

    def wait_until(self, moment_ms: float) -> None:
        if moment_ms <= self._now_ms:
            return
        left_s = self._stopped_s + (moment_ms - self._now_ms) / 1e3 - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
        self._now_ms, self._stopped_s = moment_ms, time.perf_counter()


class SimulatedClock:
    """Calls take the given latencies, in order, regardless of their real duration."""

    def __init__(self, latencies_ms: Iterable[float]) -> None:
        """
        Args:
            latencies_ms: one for every call, the prompted frame's first; may be endless and may contain infinity.
        """
        self._latencies_ms = iter(latencies_ms)
        self._now_ms = 0.0

    @property
    def now_ms(self) -> float:
        return self._now_ms

    def run(self, call: Callable[[], T]) -> tuple[T, float]:
        """
        Raises:
            ValueError: no latency is left.
        """
        latency_ms = next(self._latencies_ms, None)
        if latency_ms is None:
            raise ValueError("there are fewer latencies than calls; give one latency for every call")
        result = call()
        self._now_ms += latency_ms
        return result, latency_ms

    def wait_until(self, moment_ms: float) -> None:
        self._now_ms = max(self._now_ms, moment_ms)


class Camera:
    """The frames of a clip from the prompted one on, with their arrival times."""

    def __init__(self, frames: Sequence[int], fps: float) -> None:
        """
        Args:
            frames: the clip's frames that the camera delivers, evenly spaced, the prompted one first.
            fps: frames of the clip per second.

        Raises:
            ValueError: there is no frame, or the rate is not above 0.
        """
        if not frames or not fps > 0:
            raise ValueError(f"a camera needs at least one frame and a rate above 0, not {len(frames)} frames at {fps:g}")
        self._frame_ms = 1000 / fps
        self._stride = frames[1] - frames[0] if len(frames) > 1 else 1
        self.frames = tuple(frames)
        self._arrivals_ms = [self.moment_ms(frame) for frame in frames]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def end_ms(self) -> float:
        """When the clip ends: when a frame after its last one would arrive."""
        return self.arrival_ms(len(self.frames))

    def moment_ms(self, frame: int) -> float:
        """Time of a frame of the clip, whether or not the camera delivers it."""
        return (frame - self.frames[0]) * self._frame_ms

    def arrival_ms(self, index: int) -> float:
        """When the frame at this index of `frames` arrives; for the index after the last, when it would."""
        return self.moment_ms(self.frames[0] + index * self._stride)

    def newest_at(self, moment_ms: float) -> int:
        """Index of the newest frame that has arrived by this moment, inclusive."""
        return bisect_right(self._arrivals_ms, moment_ms) - 1


@dataclass(frozen=True)
class Processed:
    """A frame that the tracker took, with its times."""

    index: int
    """Index among the camera's frames."""
    taken_ms: float
    latency_ms: float
    finished_ms: float


@dataclass(frozen=True)
class Timeline:
    """What happened in a stream, and the figures computed from it."""

    camera: Camera
    processed: tuple[Processed, ...]
    """In order, the prompted frame first."""

    def known_at(self, moment_ms: float) -> Processed | None:
        """The step with the newest mask finished by this moment; None before the first."""
        count = bisect_right([step.finished_ms for step in self.processed], moment_ms)
        return self.processed[count - 1] if count else None

    @property
    def tracked(self) -> tuple[Processed, ...]:
        """Frames after the prompted one whose masks were finished before the clip ended."""
        return tuple(step for step in self.processed[1:] if step.finished_ms <= self.camera.end_ms)

    @property
    def dropped(self) -> int:
        """Number of frames after the prompted one that were skipped or unfinished when the clip ended."""
        return len(self.camera) - 1 - len(self.tracked)

    @property
    def fps(self) -> float | None:
        """Masks of tracked frames per second, from the prompt to the end of the last one; never above the rate at which frames arrive.
        None without tracked frames."""
        tracked = self.tracked
        return 1000 * len(tracked) / tracked[-1].finished_ms if tracked and tracked[-1].finished_ms > 0 else None

    def mask_age_ms(self, moment_ms: float) -> float:
        """Age of the newest finished mask: the time since the arrival of the frame it was computed from. Before the first mask, the time
        since the prompt."""
        step = self.known_at(moment_ms)
        return moment_ms - (0.0 if step is None else self.camera.arrival_ms(step.index))

    @property
    def mask_ages_ms(self) -> LatencySamples:
        """Mask ages at the arrival of every frame after the prompted one."""
        return LatencySamples(self.mask_age_ms(self.camera.arrival_ms(index)) for index in range(1, len(self.camera)))

    @property
    def deadline_met(self) -> float | None:
        """Share of the frames after the prompted one whose mask was finished by the arrival of the next frame. Skipped frames count as
        missed. None without such frames."""
        if len(self.camera) == 1:
            return None
        met = sum(step.finished_ms <= self.camera.arrival_ms(step.index + 1) for step in self.processed[1:])
        return met / (len(self.camera) - 1)


def stream(
    camera: Camera,
    clock: Clock,
    take: Callable[[int], Callable[[], T]],
    keep: Callable[[Processed, T], None],
) -> Timeline:
    """Let a tracker follow a camera until the clip ends.

    Args:
        clock: at 0.
        take: prepares the frame at an index, off the clock, and returns the call that tracks it. The first call is the prompt's.
        keep: stores the result of a call, off the clock.
    """
    processed: list[Processed] = []
    index = 0
    while True:
        call = take(index)
        clock.wait_until(camera.arrival_ms(index))
        taken_ms = clock.now_ms
        result, latency_ms = clock.run(call)
        processed.append(Processed(index, taken_ms, latency_ms, clock.now_ms))
        keep(processed[-1], result)
        # the next frame to take; if it has not arrived, `wait_until` waits for it
        index = max(index + 1, camera.newest_at(clock.now_ms))
        if index >= len(camera) or clock.now_ms >= camera.end_ms:
            return Timeline(camera, tuple(processed))
