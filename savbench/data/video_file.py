"""Decoding frames of a video file with PyAV (FFmpeg): any frame by number, with the same pixels as when reading from the start.

Frames are numbered from 0 in display order. Their timestamps are collected first, from the packets and without decoding, so that a
truncated
file is found before a model has tracked half of it. The timestamps show at which key frame decoding must start for a frame in the middle,
and every decoded frame is checked against them: a dropped or added frame would shift all later ones. If the container has the number of
frames, as MP4 does, a file that lacks some is refused. Matroska and fragmented MP4 do not have it; a file of these that is cut off is found
when annotations lack their frame. Damage within a picture is an error if the decoder can detect it: H.264 nearly always, HEVC if the file
has checksums of its pictures; VP9, and HEVC without checksums, silently decode to other pixels.

Colours are converted with the matrix and range that the file states, or BT.601 if it states none, as in FFmpeg. A picture stored rotated or
mirrored, as phones do, is made upright. The decoder uses one thread, because more would take time from the tracker.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.data.frames import ClipError, FrameReader, FrameSource, other_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from runners.base import Frame

# The file's name determines the demuxer: chosen by content, it could be that of a playlist, which opens other files and addresses.
_DEMUXERS = {"mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "matroska", "webm": "matroska"}
VIDEO_SUFFIXES = tuple(_DEMUXERS)
"""In lower case; file names may use any case."""
OTHER_VIDEO_SUFFIXES = ("avi", "mpg", "mpeg", "wmv", "flv", "ts", "m2ts", "mts", "3gp", "ogv", "gif", "h264", "264", "hevc", "y4m")
"""Extensions of video files that cannot be read."""

# libavutil's AVColorSpace to swscale's matrices; other colour spaces need tone mapping.
_UNSTATED_MATRIX = 2
_MATRICES = {0: "ITU601", 1: "ITU709", _UNSTATED_MATRIX: "ITU601", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M"}
_LIMITED_RANGE, _FULL_RANGE = 1, 2


def ffmpeg_to_frames(path: Path) -> str:
    """For messages: how to turn a file into a folder of frames."""
    return f"put its frames into a folder {path.stem} as JPEGs: ffmpeg -i {path.name} -q:v 2 -start_number 0 {path.stem}/%05d.jpg"


@dataclass(frozen=True)
class VideoFile(FrameSource):
    """Frames of a video file. Made by `open_video`."""

    path: Path
    num_frames: int
    """Frames of the clip; fewer than in the file if `take` cut it."""
    stated: int | None
    """Number of frames stated by the container; None if it states none."""

    @property
    def format(self) -> str:
        return self.path.suffix[1:].lower()

    @property
    def files(self) -> None:
        return None

    def __len__(self) -> int:
        return self.num_frames

    def take(self, max_frames: int | None) -> VideoFile:
        return self if max_frames is None else replace(self, num_frames=min(max_frames, self.num_frames))

    def read_size(self) -> tuple[int, int]:
        """Size of the decoded first frame; the file's header does not say how frames are cropped and rotated."""
        with self.reader() as reader:
            height, width, _ = reader.read(0).shape
        return height, width

    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        return _VideoReader(self, size_hw)

    @cached_property
    def index(self) -> FrameIndex:
        """Timestamps of the frames; reads the file's packets on first use.

        Raises:
            ClipError: the file is damaged, or its number of frames differs from the stated one.
        """
        found = _index_packets(self.path)
        if self.stated is not None and len(found.pts) != self.stated:
            raise ClipError(
                f"{self.path}: states {self.stated} frames, but {len(found.pts)} are complete and shown; download it again if it is "
                f"cut off, or {ffmpeg_to_frames(self.path)}"
            )
        return found


@dataclass(frozen=True)
class FrameIndex:
    """Timestamps of a file's frames, in units of the stream's time base."""

    pts: tuple[int, ...]
    """Presentation timestamps in ascending order."""
    entries: tuple[tuple[int, int], ...]
    """Frames at which decoding can start, (frame, timestamp to seek to), in ascending order."""

    def entry(self, frame: int) -> tuple[int, int]:
        """Where decoding must start for this frame: the last of `entries` at or before it, or the start of the file."""
        found = bisect_right(self.entries, frame, key=lambda entry: entry[0]) - 1
        return self.entries[found] if found >= 0 else (0, 0)


def open_video(path: Path) -> VideoFile:
    """Read the header of a video file and its number of frames, from the packets if the container does not state it.

    Raises:
        ClipError: the file cannot be read or has no video, or PyAV is missing.
    """
    with _Opened(path) as opened:
        stated = opened.stream.frames or None
    video = VideoFile(path, stated or 0, stated)
    if stated is None:
        video = replace(video, num_frames=len(video.index.pts))
    if not video.num_frames:
        raise ClipError(f"{path}: has no frame; download it again")
    return video


class _Opened:
    """An open file and its first video stream; FFmpeg's errors become `ClipError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._av = _pyav(path)
        try:
            self.container: Any = self._av.open(f"file:{path}", format=_demuxer(path), metadata_errors="replace")
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error
        if not self.container.streams.video:
            self.container.close()
            raise ClipError(f"{path}: has no video; download it again")
        self.stream: Any = self.container.streams.video[0]
        if self.stream.codec_context is None:
            self.container.close()
            raise ClipError(f"{path}: this FFmpeg (av {self._av.__version__}) has no decoder for it; {ffmpeg_to_frames(path)}")
        self.stream.thread_type = "NONE"
        self.stream.codec_context.thread_count = 1
        # Known damage is an error instead of a guess by the decoder, and the file's checksums of pictures are verified.
        self.stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def packets(self) -> Iterator[Any]:
        """Complete packets in file order."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error

    def pictures(self) -> Iterator[Any]:
        """Decoded frames from the current position to the end."""
        try:
            yield from self.container.decode(self.stream)
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error

    def seek(self, stamp: int) -> None:
        try:
            self.container.seek(stamp, stream=self.stream, backward=True, any_frame=False)
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error

    def fault(self, error: Any) -> ClipError:
        return ClipError(f"{self.path}: unreadable video ({error.strerror}); download it again")

    def close(self) -> None:
        self.container.close()

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pyav(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ClipError(f"{path}: video files need the Python package av: pip install av, or {ffmpeg_to_frames(path)} ({error})") from error
    return av


def _index_packets(path: Path) -> FrameIndex:
    with _Opened(path) as opened:
        packets = [(packet.pts, packet.dts, packet.is_keyframe) for packet in opened.packets() if not packet.is_discard]
    stamps = {pts for pts, _, _ in packets}
    if None in stamps or len(stamps) < len(packets):
        raise ClipError(f"{path}: its frames do not have distinct timestamps; download it again, or {ffmpeg_to_frames(path)}")
    frame_of = {pts: frame for frame, pts in enumerate(sorted(stamps))}
    # MP4 seeks by decoding time, Matroska by presentation time.
    by_dts = _demuxer(path) != "matroska"
    entries: list[tuple[int, int]] = []
    for pts, dts, is_key in packets:
        # Frames after a key frame in the file may be shown before it and need the previous key frame; decoding starts there.
        if is_key and (not entries or frame_of[pts] > entries[-1][0]):
            entries.append((frame_of[pts], dts if by_dts else pts))
    return FrameIndex(tuple(sorted(stamps)), tuple(entries))


def _demuxer(path: Path) -> str:
    return _DEMUXERS[path.suffix[1:].lower()]


class _VideoReader(FrameReader):
    def __init__(self, video: VideoFile, size_hw: tuple[int, int] | None) -> None:
        self._video = video
        self._size_hw = size_hw
        self._index = video.index
        self._frame_of = {pts: frame for frame, pts in enumerate(self._index.pts)}
        av = _pyav(video.path)
        self._reformatter = av.video.reformatter.VideoReformatter()
        # From PyAV 17 on, swscale would start a thread per core; earlier releases use one.
        self._one_thread = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
        self._opened = _Opened(video.path)
        self._pictures = self._opened.pictures()
        self._last: int | None = -1
        """Frame that was decoded last; None if unknown, after a seek."""
        self._sound_from = 0
        """First frame that decodes correctly: frames shown before the key frame after a seek may lack their reference frames."""

    def read(self, index: int) -> Frame:
        if not 0 <= index < len(self._video):
            raise IndexError(f"frame {index} of {len(self._video)}")
        self._approach(index)
        try:
            picture = self._reach(index)
        except ClipError:
            if not self._sound_from:
                raise
            # Seeking is only a short cut: containers may seek inexactly, and decoders may refuse to start at a key frame.
            self._restart()
            picture = self._reach(index)
        frame_hwc = _upright(self._to_rgb(picture, index), self._rotation(picture))
        if self._size_hw is not None and frame_hwc.shape[:2] != self._size_hw:
            raise ClipError(other_size(self._where(index), (frame_hwc.shape[0], frame_hwc.shape[1]), self._size_hw))
        return frame_hwc

    def close(self) -> None:
        self._opened.close()

    def _restart(self) -> None:
        self._opened.close()
        self._opened = _Opened(self._video.path)
        self._pictures = self._opened.pictures()
        self._last = -1
        self._sound_from = 0

    def _approach(self, index: int) -> None:
        """Seek to where decoding leads to the frame, unless it is ahead with no key frame in between."""
        key_frame, stamp = self._index.entry(index)
        if self._last is not None and key_frame - 1 <= self._last < index:
            return
        if key_frame == 0:
            self._restart()
            return
        self._opened.seek(stamp)
        self._pictures = self._opened.pictures()
        self._last, self._sound_from = None, key_frame

    def _reach(self, index: int) -> Any:
        """The picture of a frame ahead of the current position."""
        while True:
            frame, picture = self._decode_next()
            if frame >= index:
                break
        if frame > index:
            raise self._damaged(index, "cannot be reached")
        return picture

    def _decode_next(self) -> tuple[int, Any]:
        """The next picture and its frame number.

        Raises:
            ClipError: it is not the frame expected from the packets.
        """
        picture = next(self._pictures, None)
        due = None if self._last is None else self._last + 1
        frame = None if picture is None else self._frame_of.get(picture.pts)
        if picture is None or frame is None or (due is not None and frame != due and frame > self._sound_from):
            raise self._damaged(self._sound_from if due is None else due, "is not where its timestamp says")
        if picture.is_corrupt and frame >= self._sound_from:
            raise self._damaged(frame, "is damaged")
        self._last = frame
        return frame, picture

    def _to_rgb(self, picture: Any, index: int) -> Frame:
        matrix = _MATRICES.get(int(picture.colorspace))
        if matrix is None:
            raise ClipError(
                f"{self._where(index)}: its colours (AVColorSpace {int(picture.colorspace)}, wide gamut or HDR) cannot be converted to "
                "8-bit RGB directly; convert the video to BT.709 with a tool that does tone mapping"
            )
        is_full = picture.format.is_rgb or picture.format.name.startswith("yuvj") or int(picture.color_range) == _FULL_RANGE
        # All arguments are given, because PyAV before 14 assumes BT.601.
        converted = self._reformatter.reformat(
            picture, format="rgb24", src_colorspace=matrix, dst_colorspace="ITU601",
            src_color_range=_FULL_RANGE if is_full else _LIMITED_RANGE, dst_color_range=_FULL_RANGE, **self._one_thread,
        )  # fmt: skip
        return np.asarray(converted.to_ndarray(), np.uint8)

    def _rotation(self, picture: Any) -> tuple[int, int, int, int]:
        """Rotation and mirroring of the display matrix, (a, b, c, d) in 1/65536: pixel (x, y) is shown at (ax + cy, bx + dy)."""
        for data in picture.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
                if (a and d and not b and not c) or (b and c and not a and not d):
                    return a, b, c, d
                raise ClipError(
                    f"{self._video.path}: rotated by an angle that is not a multiple of 90; {ffmpeg_to_frames(self._video.path)}"
                )
        return 1, 0, 0, 1

    def _where(self, index: int) -> str:
        return f"{self._video.path}, frame {index}"

    def _damaged(self, index: int, what: str) -> ClipError:
        return ClipError(f"{self._where(index)}: {what}; download the video again, or {ffmpeg_to_frames(self._video.path)}")


def _upright(frame_hwc: Frame, rotation: tuple[int, int, int, int]) -> Frame:
    """The picture made upright, (height, width, 3), as a copy."""
    a, b, c, d = rotation
    down, right = d, a
    if not a:
        frame_hwc = frame_hwc.transpose(1, 0, 2)
        down, right = b, c
    return np.array(frame_hwc[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
