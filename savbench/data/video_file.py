"""Frames of a video file, decoded with PyAV (FFmpeg): any frame by its number, with the pixels that reading from the start gives.

Frames are counted as they are shown, from 0. Their timestamps are collected first, from the packets and without decoding any, which finds a
truncated file before a model has worked on half of it. From them it is known at which key frame decoding has to begin for a frame in the
middle, and every frame that comes out of the decoder is checked against them: one that it drops or adds would shift all after it. Where the
container tells the number of frames, as MP4 does, a file that lacks some is refused; Matroska and fragmented MP4 do not tell, and a file of
theirs that is cut off is noticed where annotations lack their frame. Damage within a picture is an error as far as its codec lets a decoder
notice it: H.264 nearly always, HEVC where the file has sums of its pictures; VP9, and HEVC without sums, decode to other pixels in silence.

Colours are converted by the matrix and range that the file states, BT.601 where it states none, as FFmpeg does. A picture that is stored
turned or mirrored, as phones do, is shown upright. The decoder uses one thread: what it saved in time it would take from the tracker.
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

# The demuxer is fixed by the file's name: one that FFmpeg chose by content may be a playlist that opens other files and addresses.
_DEMUXERS = {"mp4": "mp4", "m4v": "mp4", "mov": "mov", "mkv": "matroska", "webm": "matroska"}
VIDEO_SUFFIXES = tuple(_DEMUXERS)
"""In lower case; names may have them in any."""
OTHER_VIDEO_SUFFIXES = ("avi", "mpg", "mpeg", "wmv", "flv", "ts", "m2ts", "mts", "3gp", "ogv", "gif", "h264", "264", "hevc", "y4m")
"""Of files that are videos too and are not read."""

# libavutil's AVColorSpace to swscale's matrices; what is not listed cannot be shown on an ordinary screen without tone mapping.
_UNSTATED_MATRIX = 2
_MATRICES = {0: "ITU601", 1: "ITU709", _UNSTATED_MATRIX: "ITU601", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M"}
_LIMITED_RANGE, _FULL_RANGE = 1, 2


def ffmpeg_to_frames(path: Path) -> str:
    """How a file becomes a folder of frames, for a message."""
    return f"put its frames into a folder {path.stem} as JPEGs: ffmpeg -i {path.name} -q:v 2 -start_number 0 {path.stem}/%05d.jpg"


@dataclass(frozen=True)
class VideoFile(FrameSource):
    """Frames of a file that FFmpeg decodes. Made by `open_video`."""

    path: Path
    num_frames: int
    """Frames of the clip; fewer than the file has where it was cut by `take`."""
    told: int | None
    """Frames that the file says it has; None where its container does not tell."""

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
        """From the first frame, decoded: the file's header does not say how it is cropped and turned."""
        with self.reader() as reader:
            height, width, _ = reader.read(0).shape
        return height, width

    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        return _VideoReader(self, size_hw)

    @cached_property
    def index(self) -> FrameIndex:
        """Where the frames are in the file; reads its packets when it is first asked for.

        Raises:
            ClipError: the file is damaged, or does not have the frames that it says it has.
        """
        found = _index_packets(self.path)
        if self.told is not None and len(found.pts) != self.told:
            raise ClipError(
                f"{self.path}: says that it has {self.told} frames, {len(found.pts)} of them whole and shown; download it again if it is "
                f"cut off, or {ffmpeg_to_frames(self.path)}"
            )
        return found


@dataclass(frozen=True)
class FrameIndex:
    """Timestamps of a file's frames, in units of the stream's time base."""

    pts: tuple[int, ...]
    """When a frame is shown, in rising order."""
    entries: tuple[tuple[int, int], ...]
    """Frames at which decoding can begin, (frame, timestamp to seek to), in rising order."""

    def entry(self, frame: int) -> tuple[int, int]:
        """Where decoding has to begin to give this frame: the last of `entries` up to it, or the beginning of the file."""
        found = bisect_right(self.entries, frame, key=lambda entry: entry[0]) - 1
        return self.entries[found] if found >= 0 else (0, 0)


def open_video(path: Path) -> VideoFile:
    """Read the header of a video file and how many frames it has, from its packets where the container does not tell.

    Raises:
        ClipError: the file cannot be read, holds no video, or PyAV is missing.
    """
    with _Opened(path) as opened:
        told = opened.stream.frames or None
    video = VideoFile(path, told or 0, told)
    if told is None:
        video = replace(video, num_frames=len(video.index.pts))
    if not video.num_frames:
        raise ClipError(f"{path}: holds no frame; download it again")
    return video


class _Opened:
    """A file, its first video stream, and FFmpeg's errors as `ClipError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._av = _pyav(path)
        try:
            self.container: Any = self._av.open(f"file:{path}", format=_demuxer(path), metadata_errors="replace")
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error
        if not self.container.streams.video:
            self.container.close()
            raise ClipError(f"{path}: holds no video; download it again")
        self.stream: Any = self.container.streams.video[0]
        if self.stream.codec_context is None:
            self.container.close()
            raise ClipError(f"{path}: this FFmpeg (av {self._av.__version__}) has no decoder for it; {ffmpeg_to_frames(path)}")
        self.stream.thread_type = "NONE"
        self.stream.codec_context.thread_count = 1
        # What is known to be damaged is an error and not a guess of the decoder, and sums that a file carries of its pictures are checked.
        self.stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def packets(self) -> Iterator[Any]:
        """Whole packets in the order of the file."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except self._av.error.FFmpegError as error:
            raise self.fault(error) from error

    def pictures(self) -> Iterator[Any]:
        """Decoded frames from where the file stands to its end."""
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
        raise ClipError(
            f"{path}: its frames do not have a time each, so that they cannot be told apart; download it again, or {ffmpeg_to_frames(path)}"
        )
    frame_of = {pts: frame for frame, pts in enumerate(sorted(stamps))}
    # MP4 is sought by the time of decoding, Matroska by the time of showing.
    by_dts = _demuxer(path) != "matroska"
    entries: list[tuple[int, int]] = []
    for pts, dts, is_key in packets:
        # Frames may follow a key frame in the file that are shown before it and need the one before; they are reached from that.
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
        # From 17 on swscale would start as many threads as there are cores; before, it has one.
        self._one_thread = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
        self._opened = _Opened(video.path)
        self._pictures = self._opened.pictures()
        self._last: int | None = -1
        """Frame that was decoded last; None where that is not known, after a seek."""
        self._sound_from = 0
        """First frame that decodes properly: what is shown before a key frame that was sought may lack what it is predicted from."""

    def read(self, index: int) -> Frame:
        if not 0 <= index < len(self._video):
            raise IndexError(f"frame {index} of {len(self._video)}")
        self._approach(index)
        try:
            picture = self._reach(index)
        except ClipError:
            if not self._sound_from:
                raise
            # Containers may seek less exactly than they are asked to, and decoders refuse to begin at a key frame; seeking is a short cut.
            self._restart()
            picture = self._reach(index)
        frame_hwc = _upright(self._to_rgb(picture, index), self._turned(picture))
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
        """Go where decoding leads to the frame, if it does not from here or would pass a key frame on the way."""
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
        """The picture of a frame that lies ahead."""
        while True:
            frame, picture = self._decode_next()
            if frame >= index:
                break
        if frame > index:
            raise self._damaged(index, "cannot be reached")
        return picture

    def _decode_next(self) -> tuple[int, Any]:
        """The next picture and which frame it is.

        Raises:
            ClipError: it is not the one that the packets announced.
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
                f"{self._where(index)}: its colours (AVColorSpace {int(picture.colorspace)}, wide gamut or HDR) cannot be shown as 8-bit "
                "RGB as they are; convert the video to BT.709 with a tool that maps tones"
            )
        is_full = picture.format.is_rgb or picture.format.name.startswith("yuvj") or int(picture.color_range) == _FULL_RANGE
        # Stated in full, because PyAV before 14 takes BT.601 for granted.
        converted = self._reformatter.reformat(
            picture, format="rgb24", src_colorspace=matrix, dst_colorspace="ITU601",
            src_color_range=_FULL_RANGE if is_full else _LIMITED_RANGE, dst_color_range=_FULL_RANGE, **self._one_thread,
        )  # fmt: skip
        return np.asarray(converted.to_ndarray(), np.uint8)

    def _turned(self, picture: Any) -> tuple[int, int, int, int]:
        """The display matrix's part that turns and mirrors, (a, b, c, d) in 1/65536: pixel (x, y) is shown at (ax + cy, bx + dy)."""
        for data in picture.side_data:
            if data.type.name == "DISPLAYMATRIX":
                a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
                if (a and d and not b and not c) or (b and c and not a and not d):
                    return a, b, c, d
                raise ClipError(
                    f"{self._video.path}: is to be shown turned by an angle that is no multiple of 90; {ffmpeg_to_frames(self._video.path)}"
                )
        return 1, 0, 0, 1

    def _where(self, index: int) -> str:
        return f"{self._video.path}, frame {index}"

    def _damaged(self, index: int, what: str) -> ClipError:
        return ClipError(f"{self._where(index)}: {what}; download the video again, or {ffmpeg_to_frames(self._video.path)}")


def _upright(frame_hwc: Frame, turned: tuple[int, int, int, int]) -> Frame:
    """The picture as it is to be shown, (height, width, 3), a copy of its own."""
    a, b, c, d = turned
    down, right = d, a
    if not a:
        frame_hwc = frame_hwc.transpose(1, 0, 2)
        down, right = b, c
    return np.array(frame_hwc[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
