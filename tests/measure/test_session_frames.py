"""What a session feeds its runner, whatever the frames are stored in and however far ahead they are decoded."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from tiny_split import TinySplit
from video_files import write_video

from runners.base import Applied, Clip, Frame, FrameReport, Masks, Prompt
from savbench.data.dataset import SplitVideo, open_split
from savbench.data.feed import Feed, PromptMaker
from savbench.data.frames import ClipError
from savbench.measure.devices import PlainCpu
from savbench.measure.measured import Measured
from savbench.measure.session import SessionSettings, track_together
from savbench.results.rows import SummaryRow


class WatchingRunner:
    """Keeps what it is fed."""

    applied = Applied(implementation="watching", device="cpu", imgsz=None, weights="none")

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.fed: list[Frame] = []

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.clips.append(clip)
        self.fed = [first_frame_hwc]

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        return self.track(frame_index, frame_hwc)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self.fed.append(frame_hwc)
        return np.zeros((1, *frame_hwc.shape[:2]), np.bool_)

    def inspect(self) -> FrameReport:
        return FrameReport()

    def close(self) -> None:
        pass


def run(video: SplitVideo, name: str, *, stride: int, prefetch: int) -> tuple[WatchingRunner, Measured]:
    settings = SessionSettings(autocast_dtype="none", attention="none", warmup_frames=2, frame_stride=stride, prefetch=prefetch)
    runner = WatchingRunner()
    track = PromptMaker(video, 1, stride).track(video.object(name), "mask")
    [tracked] = track_together(runner, PlainCpu(), video, [track], settings)
    return runner, tracked


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize(("stored_as", "stride"), [("jpg", 1), ("jpg", 3), ("mp4", 1), ("mp4", 3)])
def test_a_runner_is_fed_the_frames_in_step_with_the_prompt(tiny_split: TinySplit, stored_as: str, stride: int, prefetch: int) -> None:
    if stored_as == "mp4":
        pytest.importorskip("av", reason="needs PyAV")
        shutil.rmtree(tiny_split.frames_dir("alpha"))
        write_video(tiny_split.frames_dir("alpha").with_suffix(".mp4"), 13, size_hw=(24, 32))
    video = open_split(tiny_split.root).video("alpha")
    runner, measured = run(video, "001", stride=stride, prefetch=prefetch)  # prompted on frame 4
    row, frames = measured.row(SummaryRow()), measured.frame_rows(("arm", "alpha", "001"))
    expected = [1, 4, 7, 10] if stride == 3 else [0, 4, *range(5, 13)]
    with video.frames.reader() as reader:
        for frame_hwc, index in zip(runner.fed, expected, strict=True):
            np.testing.assert_array_equal(frame_hwc, reader.read(index))
    assert [frame.frame for frame in frames] == expected[2:]
    assert (row.frames_from, row.clip_frames) == (stored_as, 13)
    files = runner.clips[-1].frame_files
    assert files == (None if stored_as == "mp4" else (video.frames.files or ())[1 if stride == 3 else 0 :: stride])
    for frame in frames:
        assert frame.decode_ms is not None
        assert frame.decode_ms > 0
        assert frame.stage_wait_ms is not None
        assert frame.stage_wait_ms >= (0 if prefetch else frame.decode_ms)
    assert row.stage_wait_ms == pytest.approx(np.mean([frame.stage_wait_ms or 0 for frame in frames]))
    assert row.decode_ms == pytest.approx(np.mean([frame.decode_ms or 0 for frame in frames]))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_frame_that_is_damaged_ends_the_session_and_its_thread(tiny_split: TinySplit, prefetch: int) -> None:
    path = tiny_split.frame("alpha", 9)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ClipError, match=r"00009\.jpg: unreadable frame"):
        run(open_split(tiny_split.root).video("alpha"), "000", stride=1, prefetch=prefetch)
    assert not any(thread.name == "decode ahead" for thread in threading.enumerate())


def test_frames_are_read_at_any_position(tiny_split: TinySplit) -> None:
    video = open_split(tiny_split.root).video("alpha")
    feed = Feed(video, [PromptMaker(video, 1, 2).track(video.object("001"), "mask")], 2)
    with video.frames.reader() as reader, feed.read_ahead(4, 0) as rest:
        for position in (6, 0, 3):
            np.testing.assert_array_equal(feed.read(position), reader.read(2 * position))
        assert [frame.index for frame in rest] == [8, 10, 12]
