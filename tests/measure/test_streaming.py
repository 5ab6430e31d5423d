"""Schedules worked out by hand, and the laws that hold whatever the latencies are."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savbench.measure import streaming
from savbench.measure.streaming import Camera, LiveClock, Processed, SimulatedClock, Timeline, stream


def follow(latencies_ms: Iterable[float], frames: Sequence[int] = range(7), fps: float = 25.0) -> Timeline:
    """Nothing is tracked: the frames that are taken and their times are all there is."""
    return stream(Camera(frames, fps), SimulatedClock(latencies_ms), lambda index: lambda: index, lambda step, result: None)


def schedule(timeline: Timeline) -> list[tuple[int, float, float]]:
    return [(step.index, step.taken_ms, step.finished_ms) for step in timeline.processed]


def ages(timeline: Timeline) -> list[float]:
    return list(timeline.mask_ages_ms.samples_ms)


def known_frames(timeline: Timeline) -> list[int | None]:
    """Index of the frame whose mask is known at each arrival."""
    camera = timeline.camera
    steps = [timeline.known_at(camera.arrival_ms(index)) for index in range(len(camera))]
    return [None if step is None else step.index for step in steps]


def test_a_tracker_slower_than_the_camera_takes_the_newest_frame_and_never_sees_the_others() -> None:
    # a frame every 40 ms; the prompt takes 50, each frame 90
    timeline = follow(itertools.chain([50.0], itertools.repeat(90.0)))
    # at 50 the newest is the one of 40, at 140 that of 120, at 230 that of 200; the clip is over at 280
    assert schedule(timeline) == [(0, 0, 50), (1, 50, 140), (3, 140, 230), (5, 230, 320)]
    # arrivals 0 40 80 120 160 200 240; masks from 50, 140, 230 on
    assert known_frames(timeline) == [None, None, 0, 0, 1, 1, 3]
    # ages 40 and 80 since the prompt, then 80-0, 120-0, 160-40, 200-40, 240-120
    assert ages(timeline) == [40, 80, 120, 120, 160, 120]
    assert [step.index for step in timeline.tracked] == [1, 3]
    assert timeline.dropped == 4
    assert timeline.fps == pytest.approx(1000 * 2 / 230)
    assert timeline.deadline_met == 0


def test_a_tracker_faster_than_the_camera_waits_and_is_one_frame_behind() -> None:
    timeline = follow(itertools.repeat(15.0))
    assert schedule(timeline) == [(index, 40 * index, 40 * index + 15) for index in range(7)]
    assert known_frames(timeline) == [None, 0, 1, 2, 3, 4, 5]
    assert ages(timeline) == [40] * 6
    assert (timeline.dropped, timeline.deadline_met) == (0, 1.0)
    assert timeline.fps == pytest.approx(1000 * 6 / 255)


def test_what_is_finished_exactly_on_an_arrival_counts_there() -> None:
    timeline = follow(itertools.repeat(40.0))
    # finished at 40: known for the frame of 40, which is the newest then and is taken at once
    assert schedule(timeline) == [(index, 40 * index, 40 * index + 40) for index in range(7)]
    assert known_frames(timeline) == [None, 0, 1, 2, 3, 4, 5]
    assert timeline.deadline_met == 1.0


def test_one_slow_frame_costs_the_frames_that_arrive_meanwhile() -> None:
    timeline = follow([10.0, 10.0, 100.0, 10.0, 10.0, 10.0])
    # the frame of 80 takes until 180: that of 120 is passed over, that of 160 is taken late but finished before 200
    assert schedule(timeline) == [(0, 0, 10), (1, 40, 50), (2, 80, 180), (4, 180, 190), (5, 200, 210), (6, 240, 250)]
    assert timeline.dropped == 1
    assert timeline.deadline_met == pytest.approx(4 / 6)


def test_no_time_at_all_is_the_offline_pass() -> None:
    timeline = follow(itertools.repeat(0.0), fps=24.0)
    assert known_frames(timeline) == list(range(7))
    assert [step.index for step in timeline.processed] == list(range(7))
    assert ages(timeline) == [0] * 6
    assert (timeline.dropped, timeline.deadline_met) == (0, 1.0)
    assert timeline.fps == pytest.approx(24.0)


def test_endless_calls_leave_the_prompt_behind() -> None:
    timeline = follow(itertools.repeat(math.inf))
    assert known_frames(timeline) == [None] * 7
    assert ages(timeline) == [40, 80, 120, 160, 200, 240]
    assert (timeline.tracked, timeline.dropped, timeline.fps, timeline.deadline_met) == ((), 6, None, 0.0)
    # the prompt took no time, the first tracked frame for ever
    assert known_frames(follow(itertools.chain([0.0], itertools.repeat(math.inf)))) == [0] * 7


def test_nothing_begins_after_the_end_of_the_clip() -> None:
    # the last frame arrives at 240 and lasts until 280
    assert schedule(follow(itertools.chain([0.0, 239.0], itertools.repeat(1.0))))[-1] == (6, 279, 280)
    assert schedule(follow(itertools.chain([0.0, 240.0], itertools.repeat(1.0))))[-1] == (1, 40, 280)


def test_a_stride_is_a_camera_that_delivers_every_so_many_frames_at_their_own_times() -> None:
    camera = Camera(range(5, 20, 3), 25.0)
    assert camera.frames == (5, 8, 11, 14, 17)
    assert [camera.arrival_ms(index) for index in range(5)] == [0, 120, 240, 360, 480]
    assert camera.moment_ms(9) == 160
    assert camera.end_ms == 600
    assert [camera.newest_at(moment) for moment in (0, 119.9, 120, 1e9)] == [0, 0, 1, 4]


def test_a_prompt_on_the_last_frame_is_a_stream_of_one() -> None:
    timeline = follow([5.0], frames=[3])
    assert schedule(timeline) == [(0, 0, 5)]
    assert (timeline.dropped, timeline.fps, timeline.deadline_met, timeline.mask_ages_ms.p50) == (0, None, None, None)


@pytest.mark.parametrize(("frames", "fps"), [([], 24.0), ([0, 1], 0.0), ([0, 1], math.nan)])
def test_a_camera_needs_frames_and_a_rate(frames: list[int], fps: float) -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        Camera(frames, fps)


def test_too_few_latencies_are_an_error() -> None:
    with pytest.raises(ValueError, match="one latency for every call"):
        follow([1.0, 1.0])


# What torch.compile builds may switch off subnormal numbers in the whole process.
@given(st.lists(st.floats(0, 500, allow_subnormal=False), min_size=1, max_size=12), st.integers(1, 40), st.floats(1, 240))
def test_laws_of_every_stream(latencies_ms: list[float], frames: int, fps: float) -> None:
    timeline = follow(itertools.cycle(latencies_ms), frames=range(10, 10 + frames), fps=fps)
    camera, steps = timeline.camera, timeline.processed
    assert steps[0].index == 0
    for before, after in itertools.pairwise(steps):
        assert before.index < after.index
        assert before.finished_ms <= after.taken_ms
        assert after.taken_ms >= camera.arrival_ms(after.index)
        # the newest: no later frame had arrived
        assert after.index == len(camera) - 1 or after.taken_ms < camera.arrival_ms(after.index + 1)
    assert len(timeline.tracked) + timeline.dropped == frames - 1
    assert all(0 <= age <= camera.end_ms for age in ages(timeline))
    known = [index for index in known_frames(timeline) if index is not None]
    assert known == sorted(known)
    assert (timeline.fps or 0) <= fps * (1 + 1e-9)


class FakeTime:
    """Seconds that pass when they are told to, in place of the time module."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds + 0.001  # wakes up late

    def work(self, seconds: float) -> str:
        self.now_s += seconds
        return "mask"


def test_a_live_clock_counts_what_calls_take_and_stands_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTime()
    monkeypatch.setattr(streaming, "time", fake)
    clock = LiveClock()
    fake.work(5.0)
    assert clock.now_ms == 0
    result, latency_ms = clock.run(lambda: fake.work(0.02))
    assert result == "mask"
    assert latency_ms == pytest.approx(20)
    fake.work(5.0)
    assert clock.now_ms == latency_ms


def test_a_live_clock_sleeps_what_is_left_of_a_wait_and_wakes_up_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTime()
    monkeypatch.setattr(streaming, "time", fake)
    clock = LiveClock()
    clock.run(lambda: fake.work(0.01))
    fake.work(0.012)  # decoding, while the tracker would wait
    clock.wait_until(40.0)
    assert fake.slept_s == [pytest.approx(0.018)]
    assert clock.now_ms == 40.0
    fake.work(0.1)  # decoding that takes longer than the wait
    clock.wait_until(80.0)
    clock.wait_until(60.0)
    assert len(fake.slept_s) == 1
    assert clock.now_ms == 80.0


def test_a_simulation_of_a_live_stream_from_its_own_latencies_is_the_same_stream() -> None:
    camera = Camera(range(12), 200.0)
    durations = itertools.cycle([0.001, 0.012, 0.003])
    live: list[Processed] = []
    stream(camera, LiveClock(), lambda index: lambda: time.sleep(next(durations)), lambda step, _: live.append(step))
    again = stream(camera, SimulatedClock(step.latency_ms for step in live), lambda index: lambda: None, lambda step, _: None)
    assert again.processed == tuple(live)
