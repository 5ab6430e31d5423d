"""Frames from video files: any of them in any order, and what is said of files that are damaged."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video_files import Picture, decode_in_order, picture, read_all, turn, write_video

from savbench.data import video_file
from savbench.data.frames import ClipError
from savbench.data.video_file import VideoFile, open_video

av = pytest.importorskip("av", reason="needs PyAV")

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:keyint=12:min-keyint=12:scenecut=0"}


def shown(frame_hwc: Picture, count: int) -> int:
    """Which of the first `count` pictures this is."""
    height, width, _ = frame_hwc.shape
    distances = [np.abs(frame_hwc.astype(int) - picture(index, height, width)).mean() for index in range(count)]
    return int(np.argmin(distances))


FILES: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {},
    "open_gop.mp4": {"options": OPEN_GOP, "gop": 12, "b_frames": 3, "frames": 40},
    "variable_rate.mp4": {"times": lambda index: 10 * index + 3 * (index % 3)},
    "starts_late.mp4": {"times": lambda index: 10 * index + 500},
    "fragmented.mp4": {"muxing": {"movflags": "frag_keyframe+empty_moov"}},
    "mpeg4.mov": {"codec": "mpeg4"},
    "open_gop.mkv": {"options": OPEN_GOP, "gop": 12, "b_frames": 3, "frames": 40},
    "odd_sides.webm": {"codec": "libvpx-vp9", "b_frames": 0, "size_hw": (47, 63), "options": {"lag-in-frames": "10"}},
    "one.mp4": {"frames": 1},
}


@pytest.mark.parametrize("name", FILES)
def test_any_frame_has_the_pixels_of_reading_in_order(tmp_path: Path, name: str) -> None:
    settings = FILES[name]
    if settings.get("codec", "libx264") not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {settings['codec']}")
    path = write_video(tmp_path / name, **settings)
    source = open_video(path)
    count = settings.get("frames", 30)
    assert (len(source), source.read_size(), source.format) == (count, settings.get("size_hw", (48, 64)), name.partition(".")[2])
    in_order = read_all(source)
    for index, (ours, plain) in enumerate(zip(in_order, decode_in_order(path), strict=True)):
        np.testing.assert_array_equal(ours, plain)
        assert shown(ours, count) == index
        assert (ours.dtype, ours.flags.writeable, ours.flags.c_contiguous) == (np.dtype(np.uint8), True, True)
    order = [*range(count), *range(count)]
    random.Random(0).shuffle(order)
    with source.reader() as reader:
        for index in order:
            np.testing.assert_array_equal(reader.read(index), in_order[index])
    with source.reader() as reader:
        np.testing.assert_array_equal(reader.read(count - 1), in_order[-1])


def test_the_middle_is_reached_from_the_key_frame_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_video(write_video(tmp_path / "a.mp4", gop=10, options={"sc_threshold": "0"}))
    decoded = []
    decode_next = video_file._VideoReader._decode_next

    def count(reader: Any) -> Any:
        found = decode_next(reader)
        decoded.append(found[0])
        return found

    monkeypatch.setattr(video_file._VideoReader, "_decode_next", count)
    with source.reader() as reader:
        for index in (24, 26, 3):
            reader.read(index)
    assert [index for index in decoded if index >= 20] == [20, 21, 22, 23, 24, 25, 26]
    assert decoded[-4:] == [0, 1, 2, 3]


def test_a_file_that_seeks_too_far_is_read_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_video(write_video(tmp_path / "a.mp4"))
    in_order = read_all(source)
    seek = video_file._Opened.seek
    monkeypatch.setattr(video_file._Opened, "seek", lambda opened, stamp: seek(opened, 10**9))
    with source.reader() as reader:
        for index in (14, 12, 29):
            np.testing.assert_array_equal(reader.read(index), in_order[index])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((0, 1, -1, 0), lambda stored: np.rot90(stored, -1)),
        ((-1, 0, 0, -1), lambda stored: np.rot90(stored, 2)),
        ((0, -1, 1, 0), lambda stored: np.rot90(stored)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
    ],
    ids=["90 clockwise", "180", "90 anticlockwise", "mirrored", "upside down"],
)
def test_turned_videos_are_shown_upright(tmp_path: Path, matrix: tuple[int, ...], expected: Any) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    stored = read_all(open_video(path))
    turn(path, matrix)
    source = open_video(path)
    upright = expected(stored[2])
    assert source.read_size() == upright.shape[:2]
    with source.reader(source.read_size()) as reader:
        np.testing.assert_array_equal(reader.read(2), upright)


def test_a_slanted_video_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    turn(path, (0.7071, 0.7071, -0.7071, 0.7071))
    with pytest.raises(ClipError, match=r"a\.mp4: rotated by an angle.*ffmpeg -i a\.mp4 .* a/%05d\.jpg"):
        open_video(path).read_size()


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("colorspace", "kr", "kb"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (2, 0.299, 0.114)])
def test_colours_follow_the_matrix_and_range_of_the_file(tmp_path: Path, colorspace: int, kr: float, kb: float, full_range: bool) -> None:
    y, u, v = 100, 90, 160
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, 2 if full_range else 1
        frame: Any = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.colorspace, frame.color_range = 0, colorspace, 2 if full_range else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # ITU-R BT.601 and BT.709: luma in 16..235 and chroma in 16..240 where the range is limited
    luma, cb, cr = (y, u - 128, v - 128) if full_range else ((y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224)
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    [frame_hwc] = read_all(open_video(tmp_path / "a.mp4"))
    assert np.abs(frame_hwc[20, 30].astype(float) - (red, green, blue)).max() < 6


def test_wide_gamut_is_refused(tmp_path: Path) -> None:
    def wide(context: Any) -> None:
        context.colorspace = 9

    with pytest.raises(ClipError, match=r"frame 0: its colours \(AVColorSpace 9, wide gamut or HDR\)"):
        open_video(write_video(tmp_path / "a.mp4", 2, prepare=wide)).read_size()


def test_taking_the_first_frames(tmp_path: Path) -> None:
    source = open_video(write_video(tmp_path / "a.mp4"))
    cut = source.take(7)
    assert (len(cut), len(cut.take(9)), len(source.take(None))) == (7, 7, 30)
    assert source.take(None) == source == source.take(99)
    with cut.reader() as reader:
        reader.read(6)
        for beyond in (7, -1):
            with pytest.raises(IndexError):
                reader.read(beyond)


def test_another_size_than_the_first_frames_is_refused(tmp_path: Path) -> None:
    with (
        open_video(write_video(tmp_path / "a.mp4", 2)).reader((48, 66)) as reader,
        pytest.raises(ClipError, match=r"a\.mp4, frame 1: the frame is 64x48, but the first frame of its video 66x48"),
    ):
        reader.read(1)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.5, r"states 30 frames, but \d+ are complete and shown; download it again"),
        (0.02, "(has no|unreadable) video"),
        (0, "unreadable"),
    ],
)
def test_a_file_that_is_cut_off_is_refused_before_it_is_tracked(tmp_path: Path, share: float, message: str) -> None:
    path = write_video(tmp_path / "a.mp4", muxing={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ClipError, match=rf"a\.mp4: {message}"):
        open_video(path).reader()


def test_a_file_whose_index_is_at_its_cut_off_end_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ClipError, match=r"a\.mp4: unreadable video \(Invalid data found when processing input\)"):
        open_video(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_video_is_refused_whatever_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ClipError, match=r"a\.mp4: unreadable video"):
        open_video(tmp_path / "a.mp4")
    with pytest.raises(ClipError, match=r"b\.mp4: unreadable video \(No such file or directory\)"):
        open_video(tmp_path / "b.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ClipError, match=r"a\.mp4: has no video"):
        open_video(tmp_path / "a.mp4")


def test_damage_gives_clip_errors_and_never_a_frame_too_few(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", muxing={"movflags": "+faststart"}).read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        (tmp_path / "a.mp4").write_bytes(damaged)
        try:
            frames = read_all(open_video(tmp_path / "a.mp4"))
        except ClipError:
            refused += 1
        else:
            assert len(frames) == 30
    assert refused > 20


@pytest.mark.parametrize(
    ("codec", "options", "suffix"),
    [
        ("libx264", {"crf": "10"}, "mp4"),
        ("libx264", {"crf": "10"}, "mkv"),
        ("libx265", {"crf": "12", "x265-params": "log-level=none:hash=1"}, "mp4"),
    ],
)
def test_damage_within_a_picture_is_noticed_where_the_codec_can(tmp_path: Path, codec: str, options: dict[str, str], suffix: str) -> None:
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = write_video(tmp_path / f"a.{suffix}", codec=codec, options=options, size_hw=(64, 96))
    whole, sound = path.read_bytes(), read_all(open_video(path))
    begin = whole.find(b"mdat") + 8 if suffix == "mp4" else len(whole) // 10
    draw, noticed = random.Random(0), 0
    for _ in range(30):
        damaged, at = bytearray(whole), draw.randrange(begin, begin + (len(whole) - begin) // 2)
        for offset in range(20):
            damaged[at + offset] ^= draw.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            frames = read_all(open_video(path))
        except ClipError:
            noticed += 1
        else:
            noticed += all(np.array_equal(*pair) for pair in zip(frames, sound, strict=True))  # nothing that is shown was hit
    assert noticed >= 20


def test_without_pyav_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ClipError, match=r"video files need the Python package av: pip install av, or put its frames into a folder a as JPEGs"
    ):
        open_video(tmp_path / "a.mp4")


def test_listing_a_video_file_reads_its_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video_file._Opened, "packets", lambda opened: pytest.fail("packets were read"))
    assert open_video(path) == VideoFile(path, 30, 30)
