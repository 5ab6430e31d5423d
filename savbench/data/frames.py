"""Reading frames of a clip, from a folder of JPEGs or a video file, through one interface.

A `FrameSource` lists the frames and decodes nothing. A `FrameReader` decodes any frame on demand. `ReadAhead` yields selected frames in
order
while its thread decodes the next ones.

With decoding ahead, a tracker on a GPU does not wait for JPEGs: Pillow and FFmpeg decode without Python's interpreter lock, on a core that
launches no kernels. This has a cost: the thread needs a core while it decodes, and holds the lock while it copies a frame out of the
decoder, during which the tracker cannot launch. If the model runs on the CPU, the two compete, above all on one or two cores. On one
machine, the latency of a loop of small calls rose from 20 to 33 ms beside frames of 1920x1080 (12 ms to decode), and to 23 ms beside frames
of 848x480 (2 ms). Latency rises by as much as waiting falls. A run on a CPU therefore decodes in line (`ahead` 0) unless --prefetch asks
for more. At most `ahead` frames are waiting for the tracker, the one being decoded included, so memory stays constant.
"""

from __future__ import annotations

import struct
import threading
import time
import weakref
import zlib
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from runners.base import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

# Exceptions that Pillow raised on truncated and bit-flipped JPEG and PNG files, and those that its decoders document.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

# Only the needed decoders: Pillow chooses by content, and some of its decoders start external programs.
_FRAME_FORMATS = ("JPEG", "PNG")
_JPEG = "a JPEG image"
_SIGNATURES = (
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"RIFF", "a WebP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"version https://", "a Git LFS pointer; fetch the file with git lfs pull"),
    (b"<", "a web page, not an image"),
)


class ClipError(RuntimeError):
    """One video or object cannot be used; the message has the path and what to do. The rest of the split can be used."""


class FrameReader(ABC):
    """Decodes frames of one source in any order; ascending order is fastest. Use it from one thread at a time."""

    @abstractmethod
    def read(self, index: int) -> Frame:
        """Decode a frame: (height, width, 3), RGB, uint8, writable, owned by the caller.

        Raises:
            ClipError: the frame is missing, unreadable, truncated, or of another size than given.
            IndexError: the source has no such frame.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing
        """Close the file. May be called twice."""

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class FrameSource(ABC):
    """The frames of a clip on disk, 0 to `len(source) - 1`. Immutable; equal sources have the same frames."""

    @property
    @abstractmethod
    def format(self) -> str:
        """How the frames are stored, as a file extension: `jpg`, `mp4`, ..."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...] | None:
        """One file for each frame; None if all frames are in one file."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, max_frames: int | None) -> FrameSource:
        """The first `max_frames` frames; None: all."""

    @abstractmethod
    def read_size(self) -> tuple[int, int]:
        """(height, width) of the first frame.

        Raises:
            ClipError: the first frame is unreadable.
        """

    @abstractmethod
    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        """
        Args:
            size_hw: (height, width) that all frames of the clip have; None accepts any.

        Raises:
            ClipError: the frames cannot be read at all.
        """


@dataclass(frozen=True)
class JpegFrames(FrameSource):
    """A file for each frame."""

    paths: tuple[Path | str, ...]
    """In order; never empty. As text they take less time to list, in splits of thousands of videos."""

    @property
    def format(self) -> str:
        return "jpg"

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(map(Path, self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, max_frames: int | None) -> JpegFrames:
        return replace(self, paths=self.paths[:max_frames])

    def read_size(self) -> tuple[int, int]:
        """Read from the file's header, without decoding pixels."""
        path = Path(self.paths[0])
        try:
            with Image.open(path, formats=_FRAME_FORMATS) as image:
                return image.height, image.width
        except IMAGE_ERRORS as error:
            raise ClipError(unreadable("frame", path, error)) from error

    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        return _JpegReader(self.paths, size_hw)


class _JpegReader(FrameReader):
    def __init__(self, paths: tuple[Path | str, ...], size_hw: tuple[int, int] | None) -> None:
        self._paths = paths
        self._size_hw = size_hw

    def read(self, index: int) -> Frame:
        if not 0 <= index < len(self._paths):
            raise IndexError(f"frame {index} of {len(self._paths)}")
        return read_frame(Path(self._paths[index]), self._size_hw)


def read_frame(path: Path, size_hw: tuple[int, int] | None = None) -> Frame:
    """Decode a JPEG: (height, width, 3), RGB, uint8, writable.

    Decodes with Pillow and converts to RGB, so that the pixels equal those of SAM 2's own loader. As there, an EXIF orientation is not
        applied: SA-V frames have none, and masks refer to the stored pixels.

    Args:
        size_hw: size that all frames of the clip have; None accepts any.

    Raises:
        ClipError: the file is missing, unreadable, truncated, or of another size.
    """
    try:
        with Image.open(path, formats=_FRAME_FORMATS) as image:
            if size_hw is not None and (image.height, image.width) != size_hw:
                raise ClipError(other_size(str(path), (image.height, image.width), size_hw))
            return np.array(image.convert("RGB"))
    except IMAGE_ERRORS as error:
        raise ClipError(unreadable("frame", path, error)) from error


def other_size(where: str, found_hw: tuple[int, int], size_hw: tuple[int, int]) -> str:
    """The message about a frame whose size is not that of its video."""
    return (
        f"{where}: the frame is {found_hw[1]}x{found_hw[0]}, but the first frame of its video {size_hw[1]}x{size_hw[0]}; "
        "extract the frames of this video again"
    )


def unreadable(what: str, path: Path, error: BaseException) -> str:
    """The message about a file that cannot be decoded."""
    held = _held(path) if isinstance(error, UnidentifiedImageError) else ""
    if what == "frame" and held.endswith(_JPEG):  # a damaged one
        held = ""
    reason = held or (error.strerror if isinstance(error, OSError) and error.strerror else str(error))
    return f"{path}: unreadable {what} ({reason or type(error).__name__}); extract or download it again"


def _held(path: Path) -> str:
    """What a file holds that its name does not say, by its first bytes; empty if these are not known."""
    try:
        with path.open("rb") as file:
            first = file.read(16)
    except OSError:
        return ""
    if not first:
        return "the file is empty"
    return next((f"the file holds {kind}" for start, kind in _SIGNATURES if first.startswith(start)), "")


@dataclass(frozen=True)
class DecodedFrame:
    """One frame from a `ReadAhead`."""

    index: int
    """Index of the frame in the source."""
    frame_hwc: Frame
    decode_ms: float
    """Wall time to read and decode the frame, in the decoding thread; in a video file, including frames decoded on the way."""
    wait_ms: float
    """Time from the request to the frame; if it is decoded in line, all of `decode_ms`."""


class ReadAhead:
    """Frames of a source in a given order; the next ones are decoded while the caller works.

        with ReadAhead(source, range(12, 300), ahead=2) as frames:
            for frame in frames:
                track(frame.frame_hwc)

    An error in decoding is raised in place of its frame, and again at every later request. The thread ends after the last frame, on
    `close`,
        or when the object is garbage-collected.
    """

    def __init__(self, source: FrameSource, indices: Sequence[int], ahead: int, size_hw: tuple[int, int] | None = None) -> None:
        """
        Args:
            indices: frames of the source in the order to yield them; ascending order is fastest.
            ahead: number of frames to decode ahead; 0 starts no thread and decodes each frame when it is requested.
            size_hw: (height, width) that all frames have; None accepts any.

        Raises:
            ClipError: the frames cannot be read at all.
            ValueError: `ahead` is below 0.
        """
        if ahead < 0:
            raise ValueError(f"ahead must be 0 or more, not {ahead}")
        reader = source.reader(size_hw)
        self._lane: _Lane | _InLine = _Lane(reader, indices, ahead) if ahead else _InLine(reader, indices)
        if isinstance(self._lane, _Lane):
            self._lane.start()
        # The thread refers to the lane, not to this object, so this object can be collected while the thread waits.
        self._finalizer = weakref.finalize(self, self._lane.close)

    def __iter__(self) -> Iterator[DecodedFrame]:
        return self

    def __next__(self) -> DecodedFrame:
        """
        Raises:
            ClipError: as `FrameReader.read`.
            ValueError: the object was closed.
        """
        if not self._finalizer.alive:
            raise ValueError("frames cannot be read after close")
        begun = time.perf_counter()
        index, frame_hwc, decode_ms = self._lane.take()
        return DecodedFrame(index, frame_hwc, decode_ms, (time.perf_counter() - begun) * 1e3)

    def close(self) -> None:
        """End the thread, wait for it, and drop the remaining frames. May be called twice."""
        self._finalizer()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


_Item = tuple[int, Frame, float]
"""Index, pixels, milliseconds of decoding."""


def _decode(reader: FrameReader, index: int) -> _Item:
    begun = time.perf_counter()
    frame_hwc = reader.read(index)
    return index, frame_hwc, (time.perf_counter() - begun) * 1e3


class _InLine:
    """Decodes in the calling thread."""

    def __init__(self, reader: FrameReader, indices: Sequence[int]) -> None:
        self._reader = reader
        self._indices = iter(indices)
        self._error: Exception | None = None

    def take(self) -> _Item:
        if self._error is not None:
            raise self._error
        try:
            return _decode(self._reader, next(self._indices))
        except (ClipError, IndexError) as error:
            self._error = error
            raise

    def close(self) -> None:
        self._reader.close()


class _Lane:
    """A bounded queue and the thread that fills it."""

    def __init__(self, reader: FrameReader, indices: Sequence[int], ahead: int) -> None:
        self._reader = reader
        self._indices = indices
        self._ahead = ahead
        self._changed = threading.Condition()
        self._ready: deque[_Item] = deque()
        self._ended: BaseException | None = None
        """What ends the frames after those that are ready: StopIteration after the last frame, or an error."""
        self._stopped = False
        # A daemon, so that a process can end if its main thread did not close; the finalizer has then stopped the thread.
        self._thread = threading.Thread(target=self._fill, name="decode ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self) -> _Item:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended is not None)
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            assert self._ended is not None
            raise self._ended

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        # The garbage collector may run the finalizer in any thread, also in this one.
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _fill(self) -> None:
        ended: BaseException = StopIteration()
        try:
            for index in self._indices:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or len(self._ready) < self._ahead)
                    if self._stopped:
                        break
                item = _decode(self._reader, index)
                with self._changed:
                    if not self._stopped:
                        self._ready.append(item)
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised by the reading thread
            ended = error
        finally:
            self._reader.close()
            with self._changed:
                self._ended = ended
                self._changed.notify_all()
