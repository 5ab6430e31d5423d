"""Frames decoded ahead of the reader, from folders and from video files."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from video_files import picture, read_all, write_video

from runners.base import Frame
from savbench.data.frames import ClipError, FrameReader, FrameSource, JpegFrames, ReadAhead
from savbench.data.video_file import open_video

pytest.importorskip("av", reason="needs PyAV")


def jpegs(folder: Path, count: int = 6) -> JpegFrames:
    paths = [folder / f"{index:05d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(picture(index)).save(path, quality=95)
    return JpegFrames(tuple(paths))


def threads_ahead() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "decode ahead"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert threads_ahead() == []


@pytest.mark.parametrize("ahead", [0, 1, 4])
@pytest.mark.parametrize("stored_as", ["jpg", "mp4"])
def test_frames_come_in_the_order_asked_for(tmp_path: Path, stored_as: str, ahead: int) -> None:
    source: FrameSource = jpegs(tmp_path) if stored_as == "jpg" else open_video(write_video(tmp_path / "a.mp4", 6))
    whole = read_all(source)
    with ReadAhead(source, range(1, 6, 2), ahead, (48, 64)) as frames:
        given = list(frames)
    assert [frame.index for frame in given] == [1, 3, 5]
    for frame in given:
        np.testing.assert_array_equal(frame.frame_hwc, whole[frame.index])
        assert frame.decode_ms > 0
        assert frame.wait_ms >= (0 if ahead else frame.decode_ms)


class _Scripted(FrameSource):
    """Tells what was read; frame 3 waits for `go_on`."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.closed = threading.Event()
        self.go_on = threading.Event()

    location = property(lambda self: Path("scripted"))
    format = property(lambda self: "scripted")
    files = property(lambda self: None)

    def __len__(self) -> int:
        return 100

    def take(self, max_frames: int | None) -> FrameSource:
        return self

    def read_size(self) -> tuple[int, int]:
        return 1, 1

    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        source = self

        class Reader(FrameReader):
            def read(self, index: int) -> Frame:
                source.read.append(index)
                if index == 3:
                    source.go_on.wait()
                if index == 7:
                    raise ClipError("00007.jpg: unreadable")
                return np.full((1, 1, 3), index, np.uint8)

            def close(self) -> None:
                source.closed.set()

        return Reader()


def settle(read: list[int], count: int) -> None:
    """Wait until so many frames were read, then give a thread that reads too many the time to do so."""
    while len(read) < count:
        time.sleep(0.001)
    time.sleep(0.02)


@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_so_many_frames_are_decoded_ahead_and_no_more(ahead: int) -> None:
    source = _Scripted()
    source.go_on.set()
    with ReadAhead(source, range(10, 20), ahead) as frames:
        for taken in range(4):
            settle(source.read, taken + ahead)
            assert len(source.read) == taken + ahead
            assert next(frames).index == 10 + taken
    assert source.closed.is_set()


def test_the_next_frame_is_decoded_while_the_reader_works() -> None:
    source = _Scripted()
    with ReadAhead(source, range(100), 2) as frames:
        assert next(frames).index == 0
        settle(source.read, 3)
        assert source.read == [0, 1, 2]
        assert (next(frames).index, next(frames).index) == (1, 2)
        settle(source.read, 4)
        assert source.read == [0, 1, 2, 3]
        source.go_on.set()
        assert next(frames).index == 3


@pytest.mark.parametrize("ahead", [0, 2])
def test_what_is_wrong_with_a_frame_is_raised_where_it_is_due(tmp_path: Path, ahead: int) -> None:
    source = jpegs(tmp_path)
    source.files[3].write_bytes(source.files[3].read_bytes()[:300])
    with ReadAhead(source, range(6), ahead) as frames:
        assert [next(frames).index for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(ClipError, match=r"00003\.jpg: unreadable frame .*; extract or download it again"):
                next(frames)


def test_an_iterator_that_is_left_early_ends_its_thread() -> None:
    source = _Scripted()
    source.go_on.set()
    with ReadAhead(source, range(100), 2) as frames:
        for frame in frames:
            if frame.index == 2:
                break
    assert threads_ahead() == []
    with pytest.raises(ValueError, match="after close"):
        next(frames)
    frames.close()


def test_an_iterator_that_is_forgotten_ends_its_thread() -> None:
    source = _Scripted()
    source.go_on.set()
    frames = ReadAhead(source, range(100), 2)
    next(frames)
    [thread] = threads_ahead()
    del frames
    gc.collect()
    assert not thread.is_alive()
    assert source.closed.is_set()


def test_closing_waits_for_the_frame_under_way() -> None:
    source = _Scripted()
    frames = ReadAhead(source, range(3, 100), 2)
    settle(source.read, 1)
    threading.Timer(0.05, source.go_on.set).start()
    frames.close()
    assert source.closed.is_set()
    assert source.read == [3]


def test_a_process_can_end_with_frames_under_way(tmp_path: Path) -> None:
    jpegs(tmp_path)
    program = (
        "import sys; from pathlib import Path; from savbench.data.frames import *\n"
        f"source = JpegFrames(tuple(sorted(Path({str(tmp_path)!r}).iterdir())))\n"
        "frames = ReadAhead(source, range(6), 2); print(next(frames).index, 'torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=60, capture_output=True, text=True
    )
    assert (ended.stdout.split(), ended.stderr) == (["0", "False"], "")


def test_frames_below_zero_are_not_decoded_ahead() -> None:
    with pytest.raises(ValueError, match="0 or more, not -1"):
        ReadAhead(_Scripted(), range(3), -1)
