"""Small video files whose every frame is different, written with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from savbench.data.frames import FrameSource

Picture = npt.NDArray[np.uint8]

TICKS = 240
"""Of the clock that timestamps are given in, per second."""


def picture(index: int, height: int = 48, width: int = 64) -> Picture:
    """Gradients, the number of the frame as a shade, and a bar that moves: (height, width, 3) RGB."""
    frame_hwc = np.zeros((height, width, 3), np.uint8)
    frame_hwc[..., 0] = (index * 37) % 200 + 20
    frame_hwc[..., 1] = np.linspace(30, 220, width, dtype=np.uint8)
    frame_hwc[..., 2] = np.linspace(220, 30, height, dtype=np.uint8)[:, None]
    left = 3 * index % (width - 8)
    frame_hwc[8:24, left : left + 8] = (250, 250, 40)
    return frame_hwc


def write_video(
    path: Path,
    frames: int = 30,
    *,
    size_hw: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    gop: int = 10,
    b_frames: int = 2,
    times: Callable[[int], int] = lambda index: 10 * index,
    muxing: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda context: None,
) -> Path:
    """
    Args:
        gop: distance of key frames.
        times: when a frame is shown, in ticks.
        muxing: options of the container.
        prepare: sets what it likes on the encoder.
    """
    import av

    with av.open(str(path), "w", container_options=muxing or {}) as container:
        stream: Any = container.add_stream(codec, rate=24)
        stream.height, stream.width = size_hw
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = gop, b_frames, 1
        context.time_base = Fraction(1, TICKS)
        prepare(context)
        for index in range(frames):
            frame: Any = av.VideoFrame.from_ndarray(picture(index, *size_hw), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = times(index), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, matrix_abcd: Sequence[float]) -> None:
    """Write a display matrix, (a, b, c, d), into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    # version and flags, two times, id, reserved, duration; then reserved, layer, group, volume, reserved
    start = content.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (round(value * 65536) for value in matrix_abcd)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def decode_in_order(path: Path) -> list[Picture]:
    """All frames as a plain loop over PyAV's decoder gives them."""
    import av

    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def read_all(source: FrameSource) -> list[Picture]:
    with source.reader() as reader:
        return [reader.read(index) for index in range(len(source))]
