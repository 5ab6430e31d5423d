"""The frames of a clip behind one door, whether they lie in a folder as JPEGs or in a video file.

A `FrameSource` says what is there and decodes nothing. A `FrameReader` decodes any frame on demand. `ReadAhead` gives chosen frames one
after the other and decodes the next ones meanwhile, in a thread of its own.

Decoding ahead keeps a tracker on a GPU from waiting for JPEGs: Pillow and FFmpeg decode without Python's interpreter lock, on a core that
launches no kernels. It is not free. The thread needs a core for the time of a frame's decoding, and holds the lock while it copies a frame
out of the decoder, in which the tracker cannot launch. Where the model itself computes on the CPU the two compete, surely on a machine with
one or two cores: on one, the latency of a loop of small calls was seen to rise from 20 to 33 ms beside frames of 1920x1080 that take 12 to
decode, and to 23 ms beside frames of 848x480 that take 2. The latency rises by as much as the wait falls. A run on a CPU therefore
decodes in line (`ahead` 0) unless --prefetch asks for more. At most `ahead` frames exist that the tracker has not taken, the one under way
included, so that memory stays flat.
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
from PIL import Image

from runners.base import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

# What Pillow was seen to raise on truncated and bit-flipped JPEG and PNG files, and what its decoders document.
IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

# Only decoders that such files need: Pillow picks by content, and some of its others start outside programs.
_FRAME_FORMATS = ("JPEG", "PNG")


class ClipError(RuntimeError):
    """One video or object cannot be used; the message has the path and what to do. The rest of the split is not affected."""


class FrameReader(ABC):
    """Decodes frames of one source, any at any time; frames in rising order are cheapest. For one thread at a time."""

    @abstractmethod
    def read(self, index: int) -> Frame:
        """Decode a frame: (height, width, 3), RGB, uint8, writable, the caller's to keep.

        Raises:
            ClipError: it is unreadable, truncated, of another size than asked for, or not there.
            IndexError: the source has no such frame.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing
        """Close the file. May be called twice."""

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class FrameSource(ABC):
    """The frames of a clip, 0 to `len(source) - 1`, as they lie on disk. Never changes; two that are equal have the same frames."""

    @property
    @abstractmethod
    def format(self) -> str:
        """How the frames are stored, as the ending of a file's name: `jpg`, `mp4`, ..."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...] | None:
        """One file for each frame, or None where they are in one."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, max_frames: int | None) -> FrameSource:
        """The first `max_frames` of them."""

    @abstractmethod
    def read_size(self) -> tuple[int, int]:
        """(height, width) of the first frame.

        Raises:
            ClipError: it is unreadable.
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

    paths: tuple[Path, ...]
    """In order; never empty."""

    @property
    def format(self) -> str:
        return "jpg"

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, max_frames: int | None) -> JpegFrames:
        return replace(self, paths=self.paths[:max_frames])

    def read_size(self) -> tuple[int, int]:
        """From the header of the file; the pixels are not decoded."""
        path = self.paths[0]
        try:
            with Image.open(path, formats=_FRAME_FORMATS) as image:
                return image.height, image.width
        except IMAGE_ERRORS as error:
            raise ClipError(unreadable("frame", path, error)) from error

    def reader(self, size_hw: tuple[int, int] | None = None) -> FrameReader:
        return _JpegReader(self.paths, size_hw)


class _JpegReader(FrameReader):
    def __init__(self, paths: tuple[Path, ...], size_hw: tuple[int, int] | None) -> None:
        self._paths = paths
        self._size_hw = size_hw

    def read(self, index: int) -> Frame:
        if not 0 <= index < len(self._paths):
            raise IndexError(f"frame {index} of {len(self._paths)}")
        return read_frame(self._paths[index], self._size_hw)


def read_frame(path: Path, size_hw: tuple[int, int] | None = None) -> Frame:
    """Decode a JPEG: (height, width, 3), RGB, uint8, writable.

    Decoded by Pillow and converted to RGB, so that the pixels are those that SAM 2's own loader sees. As there, an EXIF orientation is
    not applied: SA-V frames carry none, and masks are drawn on the stored pixels.

    Args:
        size_hw: size that all frames of the clip have; None accepts any.

    Raises:
        ClipError: missing, unreadable, truncated, or of another size.
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
        f"{where}: the frame is {found_hw[1]}x{found_hw[0]}, the first one of its video {size_hw[1]}x{size_hw[0]}; "
        "extract the frames of this video again"
    )


def unreadable(what: str, path: Path, error: BaseException) -> str:
    """The message about a file that cannot be decoded."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}: unreadable {what} ({reason or type(error).__name__}); extract or download it again"


@dataclass(frozen=True)
class DecodedFrame:
    """One frame out of a `ReadAhead`."""

    index: int
    """Frame of the source."""
    frame_hwc: Frame
    decode_ms: float
    """Reading and decoding it, wall clock in the thread that did; in a video file with the frames that were passed over on the way."""
    wait_ms: float
    """From when it was asked for until it was there. Decoded in line, that is all of `decode_ms`."""


class ReadAhead:
    """Frames of a source in a given order, the next ones decoded while the caller works on the last.

        with ReadAhead(source, range(12, 300), ahead=2) as frames:
            for frame in frames:
                track(frame.frame_hwc)

    What goes wrong while decoding is raised where the frame that it concerns would have come, and again after it. The thread ends with the
    last frame, with `close`, and when the object is forgotten without it.
    """

    def __init__(self, source: FrameSource, indices: Sequence[int], ahead: int, size_hw: tuple[int, int] | None = None) -> None:
        """
        Args:
            indices: frames of the source in the order they are wanted; rising order is cheapest.
            ahead: frames to decode before they are asked for; 0 starts no thread and decodes in the call that asks.
            size_hw: (height, width) that all frames have; None accepts any.

        Raises:
            ClipError: the frames cannot be read at all.
            ValueError: `ahead` below 0.
        """
        if ahead < 0:
            raise ValueError(f"ahead is 0 or more, not {ahead}")
        reader = source.reader(size_hw)
        self._lane: _Lane | _InLine = _Lane(reader, indices, ahead) if ahead else _InLine(reader, indices)
        if isinstance(self._lane, _Lane):
            self._lane.start()
        # The thread knows the lane and not this object, which can so be collected while the thread waits for room.
        self._finalizer = weakref.finalize(self, self._lane.close)

    def __iter__(self) -> Iterator[DecodedFrame]:
        return self

    def __next__(self) -> DecodedFrame:
        """
        Raises:
            ClipError: as `FrameReader.read`.
            ValueError: it was closed.
        """
        if not self._finalizer.alive:
            raise ValueError("no frames are read after close")
        begun = time.perf_counter()
        index, frame_hwc, decode_ms = self._lane.take()
        return DecodedFrame(index, frame_hwc, decode_ms, (time.perf_counter() - begun) * 1e3)

    def close(self) -> None:
        """End the thread, wait for it, and forget the frames that nobody took. May be called twice."""
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
    """Decodes in the thread that takes."""

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
        """Why there is nothing after what is ready: StopIteration after the last frame, or what went wrong."""
        self._stopped = False
        # A daemon, so that a process can end whose main thread left without closing; the finalizer has then stopped it.
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
        # The garbage collector may run a finalizer in any thread, this one too.
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
        except BaseException as error:  # noqa: BLE001 - handed to the thread that reads, which raises it
            ended = error
        finally:
            self._reader.close()
            with self._changed:
                self._ended = ended
                self._changed.notify_all()
