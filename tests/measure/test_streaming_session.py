"""Objects followed at the camera's pace by runners whose masks show which frame they saw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tiny_split import TinySplit, rectangle

from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, PromptKind, RunnerError, VideoRunner
from runners.baselines import FlowRunner, StaticRunner
from savbench.data.dataset import SplitVideo, open_split
from savbench.data.feed import PromptMaker, Track
from savbench.data.masks import CompressedMask, PackedMask
from savbench.finish.scoring import TruthMasks, score_object
from savbench.measure.devices import PlainCpu
from savbench.measure.session import SessionSettings, track_together
from savbench.measure.streaming import Clock, SimulatedClock
from savbench.measure.streaming_session import Streamed, StreamingSettings, stream_object
from savbench.results.rows import SummaryRow

SIZE = (24, 32)
BoolMask = npt.NDArray[np.bool_]


def settings(**changes: Any) -> SessionSettings:
    return SessionSettings(autocast_dtype="none", attention="none", warmup_frames=0, **changes)


def truth(frame: int) -> BoolMask:
    """Where the square of `tiny_split`'s video alpha is on any frame."""
    return rectangle(4, 2 + frame, 8, 8)


class SeeingRunner:
    """Knows the frames of a clip by their pixels, and where the square is on them."""

    applied = Applied(implementation="seeing", device="cpu", imgsz=None, weights="none")

    def __init__(self, video: SplitVideo) -> None:
        reader = video.frames.reader()
        self._frame_of = {reader.read(index).tobytes(): index for index in range(len(video.frames))}
        self.fed: list[tuple[int, int]] = []
        """(position, frame of the clip) of every call."""
        self.told: list[int] = []
        """Number of frames of every clip that was opened."""
        self.is_open = False
        self.nonfinite_from = 10**9

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.is_open = True
        self.told.append(clip.num_frames)
        self.fed = []

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        return self.track(frame_index, frame_hwc)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        frame = self._frame_of[frame_hwc.tobytes()]
        self.fed.append((frame_index, frame))
        return truth(frame)[None]

    def inspect(self) -> FrameReport:
        return FrameReport(finite=self.fed[-1][1] < self.nonfinite_from)

    def close(self) -> None:
        self.is_open = False


class SquareRunner(SeeingRunner):
    """Forgets the axis of the objects."""

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        squeezed: Masks = super().track(frame_index, frame_hwc)[0]
        return squeezed


@pytest.fixture
def alpha(tiny_split: TinySplit) -> SplitVideo:
    return open_split(tiny_split.root).video("alpha")


@dataclass(frozen=True)
class ScriptedSettings(StreamingSettings):
    """Latencies that are not those of a file."""

    latencies_ms: Iterable[float] = ()

    def clock(self, track: Track) -> Clock:
        return SimulatedClock(self.latencies_ms)


def track_of(video: SplitVideo, name: str = "000", kind: PromptKind = "mask", stride: int = 1) -> Track:
    return PromptMaker(video, num_points=1, stride=stride).track(video.object(name), kind)


def follow(
    runner: VideoRunner, video: SplitVideo, latencies_ms: Iterable[float], name: str = "000", kind: PromptKind = "mask", stride: int = 1
) -> Streamed:
    track = track_of(video, name, kind, stride)
    return stream_object(runner, PlainCpu(), video, track, settings(frame_stride=stride), ScriptedSettings(25.0, latencies_ms=latencies_ms))


def shown(streamed: Streamed) -> dict[int, int | None]:
    """Frame whose square is known at each annotated frame; None for an empty mask."""
    frames = {truth(frame).tobytes(): frame for frame in range(13)} | {np.zeros(SIZE, np.bool_).tobytes(): None}
    return {at: frames[mask.unpack().tobytes()] for at, mask in streamed.known.items()}


def offline(runner: VideoRunner, video: SplitVideo, track: Track, stride: int = 1) -> dict[int, PackedMask]:
    (tracked,) = track_together(runner, PlainCpu(), video, [track], settings(frame_stride=stride))
    return tracked.masks


def same(one: dict[int, PackedMask], other: dict[int, PackedMask]) -> bool:
    return one.keys() == other.keys() and all((one[frame].unpack() == other[frame].unpack()).all() for frame in one)


def test_the_newest_finished_mask_is_known_and_frames_in_between_are_never_seen(alpha: SplitVideo) -> None:
    runner = SeeingRunner(alpha)
    streamed = follow(runner, alpha, itertools.chain([50.0], itertools.repeat(90.0)))
    # taken at 50, 140, 230, 320, 410, 500 (the clip is over at 520); 590 is too late
    assert runner.fed == [(0, 0), (1, 1), (2, 3), (3, 5), (4, 8), (5, 10), (6, 12)]
    # annotated at 0, 160, 320, 480: masks finished at 50, 140, 230, 320, 410, 500
    assert shown(streamed) == {0: 0, 4: 1, 8: 5, 12: 8}
    # an upper bound: all frames of the clip
    assert runner.told == [13]
    row = streamed.completed(SummaryRow(J=0.5), "Orin")
    assert (row.J, row.camera_fps, row.streaming_clock, row.streaming_device) == (0.5, 25.0, "live", "Orin")
    assert (row.frames_processed, row.frames_dropped, row.deadline_met) == (5, 7, 0.0)
    assert row.streaming_fps == pytest.approx(1000 * 5 / 500)


def test_the_rows_tell_the_whole_story(alpha: SplitVideo) -> None:
    rows = follow(SeeingRunner(alpha), alpha, itertools.chain([50.0], itertools.repeat(90.0))).rows(("arm", "alpha", "000"))
    assert rows[0].key == ("arm", "alpha", "000")
    assert [row.frame for row in rows] == list(range(13))
    assert [row.arrived_ms for row in rows] == [40 * frame for frame in range(13)]
    assert (rows[3].taken_ms, rows[3].latency_ms, rows[3].finished_ms) == (140, 90, 230)
    assert (rows[4].taken_ms, rows[4].latency_ms, rows[4].finished_ms) == (None, None, None)
    assert [(row.known_frame, row.mask_age_ms) for row in rows[:5]] == [(None, 0), (None, 40), (0, 80), (0, 120), (1, 120)]


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("name", "kind"), [("000", "mask"), ("000", "bbox"), ("001", "mask")])
def test_without_latency_it_is_the_offline_pass(alpha: SplitVideo, name: str, kind: PromptKind, stride: int) -> None:
    runner = SeeingRunner(alpha)
    masks = offline(runner, alpha, track_of(alpha, name, kind, stride), stride)
    fed = list(runner.fed)
    streamed = follow(runner, alpha, itertools.repeat(0.0), name, kind, stride)
    assert runner.fed == fed
    assert same(streamed.known, masks)
    assert streamed.timeline.dropped == 0


@pytest.mark.parametrize("name", ["000", "001"])
def test_without_end_it_is_the_static_baseline(alpha: SplitVideo, name: str) -> None:
    static = offline(StaticRunner(BuildOptions()), alpha, track_of(alpha, name))
    assert same(follow(FlowRunner(BuildOptions()), alpha, itertools.repeat(math.inf), name).known, static)


def test_a_click_or_box_says_nothing_before_the_first_mask(alpha: SplitVideo) -> None:
    assert shown(follow(SeeingRunner(alpha), alpha, itertools.repeat(math.inf), kind="points")) == dict.fromkeys((0, 4, 8, 12))
    latencies = itertools.chain([165.0], itertools.repeat(1.0))
    assert shown(follow(SeeingRunner(alpha), alpha, latencies, kind="bbox")) == {0: None, 4: None, 8: 7, 12: 11}


def test_the_clock_starts_at_the_prompt_of_an_object_that_appears_later(alpha: SplitVideo) -> None:
    runner = SeeingRunner(alpha)
    streamed = follow(runner, alpha, itertools.repeat(100.0), name="001")
    # frame 4 is prompted; frames 6 and 9 are the newest at 100 and 200, 11 at 300; the clip is over at 360
    assert runner.fed == [(4, 4), (5, 6), (6, 9), (7, 11)]
    # at 0 the mask that was given, at 160 frame 4's, finished at 100, at 320 that of frame 9, finished at 300
    assert (streamed.known.pop(4).unpack() == rectangle(15, 20, 6, 5)).all()
    assert shown(streamed) == {8: 4, 12: 9}


def test_the_score_falls_as_worked_out_by_hand(alpha: SplitVideo) -> None:
    def score(latency_ms: float) -> float:
        known = follow(SeeingRunner(alpha), alpha, itertools.repeat(latency_ms)).known
        masks = {frame: CompressedMask.of(mask) for frame, mask in known.items()}
        score = score_object(alpha, "000", masks, SIZE, TruthMasks()).score
        assert score is not None
        return score.J

    assert score(0.0) == 1.0
    # one frame behind is one of 8 columns, of the two frames that count
    assert score(30.0) == 7 / 9
    # 80 ms: frames 2, 4, 6 are taken at 80, 160, 240; at 160 frame 2 is known, at 320 frame 6
    assert score(80.0) == pytest.approx(6 / 10)


def test_infinite_numbers_and_wrong_shapes_do_not_pass(alpha: SplitVideo) -> None:
    runner = SeeingRunner(alpha)
    runner.nonfinite_from = 10
    row = follow(runner, alpha, itertools.repeat(10.0)).completed(SummaryRow(J=0.5, frames=12), "Orin")
    assert (row.status, row.J, row.frames, row.camera_fps, row.streaming_fps) == ("error", None, None, 25.0, None)
    assert row.error.startswith("at the camera's rate, NaN or infinite output on 3 of 13 frames")
    runner = SquareRunner(alpha)
    with pytest.raises(RunnerError, match=r"bool masks of shape \(24, 32\), not bool \(1, 24, 32\)"):
        follow(runner, alpha, itertools.repeat(10.0))
    assert not runner.is_open


SEEN = [0, *range(1, 8), 9, 10, *range(12, 32, 3)]
"""Frames of a clip of 32 that a tracker takes: 17, more than the 15 object pointers that are kept."""


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.filterwarnings("ignore")
def test_skipping_frames_breaks_neither_memory_nor_pointers() -> None:
    """SAM 2 that is told of 32 frames and sees 17 of them does what it does on a clip of those 17."""
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs the sam2 package")
    from runners import RUNNERS

    runner: Any = RUNNERS["sam2_tiny"].build(BuildOptions(imgsz=128, config=RUNNERS["sam2_tiny"].config))
    background_hwc = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    frames = [np.ascontiguousarray(np.roll(background_hwc, 2 * index, axis=1)) for index in range(32)]
    mask_hw = rectangle(30, 20, 30, 30, (90, 120))

    def run(num_frames: int) -> npt.NDArray[np.float32]:
        runner.open(Clip("clip", num_frames, 90, 120), frames[0])
        runner.prompt(0, frames[0], [Prompt(1, "mask", mask_hw=mask_hw)])
        logits = []
        for position, frame in enumerate(SEEN[1:], start=1):
            runner.track(position, frames[frame])
            logits.append(runner._logits_n1hw.numpy().copy())
        runner.close()
        return np.concatenate(logits)

    told_more, told_exactly = run(32), run(len(SEEN))
    np.testing.assert_array_equal(told_more, told_exactly)
    assert len(np.unique(told_more[-1])) > 100
