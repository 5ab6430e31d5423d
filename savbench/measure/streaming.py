"""What a tracker knows at the camera's pace: which frames it sees when they do not wait for it, and which mask counts at which time.

Offline J&F gives a tracker all the time that it wants. Here a frame is a moment: the mask of a moment is the newest one that is finished by
then, whichever frame it was computed from. This is the streaming accuracy of Li, Wang and Ramanan ("Towards Streaming Perception", ECCV
2020), for the masks of a prompted object instead of the boxes of a detector:

- Time 0 is the moment of the prompt. Frame k of the clip arrives at (k - prompted frame) / FPS. At another FPS than that of the recording
  the clip plays slower or faster, annotations with it: the scene moves twice as much between two frames in twice the time, or in half. With
  a stride the camera delivers every so many frames of the clip, at the times they have in it.
- The tracker is given the prompt and its frame at time 0. Whenever it is idle it takes the newest frame that has arrived and that it has
  not seen, or waits for the next one. The frames in between are never seen.
- A mask counts from the moment it is finished, that moment included: what is finished exactly when a frame arrives counts for that frame.
  So a tracker that takes no time at all has its offline score, exactly. Any other is at least one frame behind.
- The prompted frame takes its time too. Until the first mask is finished, what is known is the mask that was given as the prompt; where
  a click or a box was given nothing is known, which is an empty mask. So a tracker that never finishes has the score of the prompted mask
  held, exactly, or of nothing. Opening the clip comes before: a live application does it before its user points at anything.
- The clip is over one frame time after its last frame. Nothing is begun later, and what is finished later counts nowhere.

A clock says how long a call takes: `LiveClock` measures it, `SimulatedClock` is told.
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
    """The time that trackers are held to, in milliseconds since the prompt. It stands still but for what its two methods do."""

    @property
    def now_ms(self) -> float:
        """Time since the prompt."""

    def run(self, call: Callable[[], T]) -> tuple[T, float]:
        """Make a call that takes time. Returns what it returns, and its latency in ms, by which the clock has moved on."""

    def wait_until(self, moment_ms: float) -> None:
        """Let time pass up to a moment; one that has passed is no wait."""


class LiveClock:
    """Real time on this machine: calls take as long as they take, and waiting is sleeping, so that the board idles as it would.

    Between calls the clock stands: a camera delivers decoded frames, while the benchmark has to decode them and to put masks away. What it
    does while the tracker would be waiting anyway is taken off the sleep. Waking up late, by a fraction of a millisecond, is the operating
    system's doing and does not count.
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
    """Calls take the times that they are given, in order, however long they take here."""

    def __init__(self, latencies_ms: Iterable[float]) -> None:
        """
        Args:
            latencies_ms: one for every call, that of the prompted frame first; may go on for ever, and may hold infinity.
        """
        self._latencies_ms = iter(latencies_ms)
        self._now_ms = 0.0

    @property
    def now_ms(self) -> float:
        return self._now_ms

    def run(self, call: Callable[[], T]) -> tuple[T, float]:
        """
        Raises:
            ValueError: there is no latency left.
        """
        latency_ms = next(self._latencies_ms, None)
        if latency_ms is None:
            raise ValueError("there are fewer latencies than calls; give one for every call")
        result = call()
        self._now_ms += latency_ms
        return result, latency_ms

    def wait_until(self, moment_ms: float) -> None:
        self._now_ms = max(self._now_ms, moment_ms)


class Camera:
    """The frames of a clip from the prompted one on, and when they arrive."""

    def __init__(self, frames: Sequence[int], fps: float) -> None:
        """
        Args:
            frames: the clip's frames that the camera delivers, evenly spaced, the prompted one first.
            fps: frames of the clip per second.

        Raises:
            ValueError: there is no frame, or the rate is not above 0.
        """
        if not frames or not fps > 0:
            raise ValueError(f"a camera delivers frames at a rate above 0, not {len(frames)} at {fps:g}")
        self._frame_ms = 1000 / fps
        self._stride = frames[1] - frames[0] if len(frames) > 1 else 1
        self.frames = tuple(frames)
        self._arrivals_ms = [self.moment_ms(frame) for frame in frames]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def end_ms(self) -> float:
        """When the clip is over: a frame after its last one would arrive."""
        return self.arrival_ms(len(self.frames))

    def moment_ms(self, frame: int) -> float:
        """When a frame of the clip takes place, whether or not the camera delivers it."""
        return (frame - self.frames[0]) * self._frame_ms

    def arrival_ms(self, index: int) -> float:
        """When the frame at this index of `frames` arrives; of the index after the last one, when it would."""
        return self.moment_ms(self.frames[0] + index * self._stride)

    def newest_at(self, moment_ms: float) -> int:
        """Index of the newest frame that has arrived, one that arrives at this moment included."""
        return bisect_right(self._arrivals_ms, moment_ms) - 1


@dataclass(frozen=True)
class Processed:
    """A frame that the tracker took, and when."""

    index: int
    """Among the camera's frames."""
    taken_ms: float
    latency_ms: float
    finished_ms: float


@dataclass(frozen=True)
class Timeline:
    """What happened in a stream, and the figures that follow from it."""

    camera: Camera
    processed: tuple[Processed, ...]
    """In order; the prompted frame is the first."""

    def known_at(self, moment_ms: float) -> Processed | None:
        """Whose mask is the newest finished by this moment; None before the first."""
        count = bisect_right([step.finished_ms for step in self.processed], moment_ms)
        return self.processed[count - 1] if count else None

    @property
    def tracked(self) -> tuple[Processed, ...]:
        """Frames after the prompted one whose masks were finished before the clip was over."""
        return tuple(step for step in self.processed[1:] if step.finished_ms <= self.camera.end_ms)

    @property
    def dropped(self) -> int:
        """Frames after the prompted one that were passed over, or under way when the clip was over."""
        return len(self.camera) - 1 - len(self.tracked)

    @property
    def fps(self) -> float | None:
        """Masks of tracked frames per second, from the prompt until the last of them was finished: at most the rate at which frames arrive.
        None where there are none."""
        tracked = self.tracked
        return 1000 * len(tracked) / tracked[-1].finished_ms if tracked and tracked[-1].finished_ms > 0 else None

    def mask_age_ms(self, moment_ms: float) -> float:
        """Age of the newest finished mask: the time since the frame that it was computed from arrived. Before the first, the time since the
        prompt."""
        step = self.known_at(moment_ms)
        return moment_ms - (0.0 if step is None else self.camera.arrival_ms(step.index))

    @property
    def mask_ages_ms(self) -> LatencySamples:
        """At the arrival of every frame after the prompted one."""
        return LatencySamples(self.mask_age_ms(self.camera.arrival_ms(index)) for index in range(1, len(self.camera)))

    @property
    def deadline_met(self) -> float | None:
        """Share of the frames after the prompted one whose mask was finished by the time the next frame arrived. Frames that were passed
        over are among those that missed it. None where there is no frame."""
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
    """Let a tracker follow a camera until the clip is over.

    Args:
        clock: at 0.
        take: given the index of a frame, gets it ready, off the clock, and returns the call that tracks into it. The first is the prompt's.
        keep: given what the call returned, puts it away, off the clock.
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
        # while it waits, the tracker knows which frame it waits for
        index = max(index + 1, camera.newest_at(clock.now_ms))
        if index >= len(camera) or clock.now_ms >= camera.end_ms:
            return Timeline(camera, tuple(processed))
