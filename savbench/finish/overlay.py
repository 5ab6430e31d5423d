"""Videos of a prediction, the ground truth and their difference, as H.264 in MP4, which browsers play.

`OverlayWriter.add` draws and encodes in the calling thread, which costs time and memory: write overlays in a process that measures nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from runners.base import Frame, Prompt
from savbench.arguments.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

OVERLAYS_DIR = "overlays"
LONGEST_STEM = 200
"""Bytes of a file name before its ending; file systems allow 255 in all, and the temporary name is longer."""

# Orange and blue of Okabe and Ito's palette differ in hue for every common type of colour vision, and in brightness for the rest.
PREDICTION_RGB = (230, 159, 0)
"""Of the prediction, and of what is wrong in it: false positives."""
MISSED_RGB = (0, 114, 178)
"""Of the part of the ground truth that is not predicted: false negatives."""
TRUTH_RGB = (255, 255, 255)
PROMPT_RGB = (255, 255, 255)
EDGE_RGB = (0, 0, 0)
"""Makes lines stand out from any background."""
STRIP_RGB = (24, 24, 24)
TEXT_RGB = (235, 235, 235)

FILL_OPACITY, ERROR_OPACITY = 0.35, 0.75
FONT = cv2.FONT_HERSHEY_SIMPLEX
PANEL_PIXELS = 720 * 405
"""Of the prediction, and of the errors again: every clip costs the same to encode, and text has the same size beside it."""
LONGEST_SIDE_PX, NARROWEST_PX = 1280, 320
LINE_PX = 2
TEXT_PX, STRIP_PX = 20, 32
"""Height of a letter and of a line of text."""
STACKED_FROM_ASPECT = 1.3
PROMPT_S = 1.0
"""How long the prompted frame is shown."""

_BoolMask = npt.NDArray[np.bool_]
_Rgb = tuple[int, int, int]


class OverlayError(UserError, RuntimeError):
    """This machine cannot encode videos; the message says what to install."""


def overlay_path(video: str, object_id: str, arm: str) -> Path:
    """Path of an object's video, relative to the run's folder: `overlays/{video}__{object}__{arm}.mp4`.

    If the name would be too long, a digest replaces video and object.

    Raises:
        ValueError: a name is empty or contains a slash.
    """
    for name in (video, object_id, arm):
        if not name or "/" in name:
            raise ValueError(f"{name!r} cannot be part of a file name; use a name without a slash")
    object_name = f"{video}__{object_id}"
    if len(f"{object_name}__{arm}".encode()) > LONGEST_STEM:
        object_name = hashlib.sha256(object_name.encode()).hexdigest()[:16]
    return Path(OVERLAYS_DIR) / f"{object_name}__{arm}.mp4"


def require_encoder() -> ModuleType:
    """Import PyAV and check that it has an H.264 encoder.

    Raises:
        OverlayError: PyAV is not installed, or was built without the encoder.
    """
    try:
        import av
    except ImportError as error:
        raise OverlayError(f"overlays need the Python package av: pip install av, or leave --save_overlays out ({error})") from error
    if "libx264" not in av.codecs_available:
        raise OverlayError(f"av {av.__version__} was built without libx264; install the wheel from PyPI: pip install --force-reinstall av")
    return av


class OverlayWriter:
    """Writes one video, frame by frame.

        with OverlayWriter(path, height, width) as overlay:
            overlay.add(frame_hwc, prediction_hw, truth_hw, texts=("frame 12", "latency 31.0 ms", "blackswan/000  flow_mask"))

    Shows the clip twice, one above the other or side by side: with the prediction filled in orange and the prompt in white, and as it was
    on the last annotated frame, with the ground truth outlined in white, false positives in orange and false negatives in blue. The second
    one stays until the next annotated frame, for between them there is nothing to compare with. Below are a legend and lines of text. Both
    are scaled to `PANEL_PIXELS` pixels. The prompted frame is shown for `PROMPT_S` seconds, and still is one frame of the video.

    The writer writes a temporary file beside `path` and renames it when the video is complete, replacing an existing file. After an error
    it leaves no file.
    """

    def __init__(self, path: Path, height: int, width: int, fps: float = 24) -> None:
        """
        Args:
            path: the file, ending in .mp4; a missing folder is created.
            height, width: of the frames.

        Raises:
            OverlayError: this machine cannot encode videos.
            OSError: the file cannot be written.
            ValueError: a side is below 1 or `fps` not above 0.
        """
        if height < 1 or width < 1 or not fps > 0:
            raise ValueError(f"an overlay needs frames of at least one pixel and fps above 0, not {height}x{width} at {fps}")
        self._av = require_encoder()
        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")
        self._height, self._width = height, width
        self._layout = _Layout.of(height, width)
        self._canvas = np.full((self._layout.height, self._layout.width, 3), STRIP_RGB, np.uint8)
        _write_legend(self._canvas[self._layout.legend_top :][:STRIP_PX])
        self._rate = Fraction(fps).limit_denominator(1001)
        self._next_pts = 0
        """Time of the next frame, in units of `1 / rate`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # faststart puts the index before the frames, so that a browser plays the video while it loads
        self._container: Any = self._av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._open_stream()

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def add(
        self,
        frame_hwc: Frame,
        prediction_hw: _BoolMask | None,
        truth_hw: _BoolMask | None = None,
        prompt: Prompt | None = None,
        texts: tuple[str, str, str] = ("", "", ""),
    ) -> None:
        """Add one frame.

        Args:
            frame_hwc: (height, width, 3), RGB, uint8; not modified.
            prediction_hw: (height, width), bool; None if there is no prediction yet.
            truth_hw: (height, width), bool, on annotated frames.
            prompt: on the prompted frame.
            texts: the frame's name, then two lines below; shortened if there is no room.

        Raises:
            ValueError: a shape differs from the video's.
        """
        if frame_hwc.shape != (self._height, self._width, 3):
            raise ValueError(f"a frame of shape {frame_hwc.shape} does not fit a video of {self._height}x{self._width}; resize it first")
        prompt_mask = None if prompt is None else prompt.mask_hw
        for name, mask_hw in (("prediction", prediction_hw), ("ground truth", truth_hw), ("prompt", prompt_mask)):
            if mask_hw is not None and mask_hw.shape != (self._height, self._width):
                raise ValueError(f"a {name} of shape {mask_hw.shape} does not fit a video of {self._height}x{self._width}; resize it first")
        layout, canvas = self._layout, self._canvas
        picture = layout.scaled(frame_hwc)
        prediction = None if prediction_hw is None else layout.scaled_mask(prediction_hw)
        if truth_hw is not None:
            errors = picture.copy()
            nothing = np.zeros(picture.shape[:2], np.bool_)
            draw_errors(errors, nothing if prediction is None else prediction, layout.scaled_mask(truth_hw), LINE_PX)
            layout.put(canvas, 1, errors, f"truth and errors of {texts[0]}")
        if prediction is not None:
            draw_prediction(picture, prediction, LINE_PX)
        if prompt is not None:
            self._draw_prompt(picture, prompt)
        layout.put(canvas, 0, picture, texts[0] + ("  prompt" if prompt is not None else ""))
        for line, text in enumerate(texts[1:], 1):
            _write_line(canvas[layout.legend_top + line * STRIP_PX :][:STRIP_PX], text)
        picture_yuv = self._av.VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        picture_yuv.pts, picture_yuv.time_base = self._next_pts, 1 / self._rate
        self._next_pts += 1 if prompt is None else max(1, round(PROMPT_S * self._rate))
        self._container.mux(self._stream.encode(picture_yuv))

    def close(self) -> None:
        """Complete the video and rename it to `path`.

        Raises:
            ValueError: the video has no frame.
        """
        if self._next_pts == 0:
            self.discard()
            raise ValueError(f"{self._path}: the video has no frame; add at least one")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._temporary.replace(self._path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Delete the unfinished video."""
        with contextlib.suppress(self._av.error.FFmpegError):
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _open_stream(self) -> Any:
        try:
            # a quality rather than a bit rate, which would depend on the size; thread_count 1 keeps the encoder in the calling thread
            stream = self._container.add_stream("libx264", rate=self._rate)
            stream.width, stream.height = self._layout.width, self._layout.height
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "superfast", "crf": "20"}
            context = stream.codec_context
            context.thread_count = 1
            context.gop_size = max(1, round(2 * self._rate))
            # names the colour space; otherwise a player guesses it from the size
            context.colorspace = context.color_primaries = context.color_trc = 1
            context.color_range = 1
        except BaseException:
            self.discard()
            raise
        return stream

    def _draw_prompt(self, picture: Frame, prompt: Prompt) -> None:
        x_scale, y_scale = picture.shape[1] / self._width, picture.shape[0] / self._height
        if prompt.mask_hw is not None:
            _outline(picture, self._layout.scaled_mask(prompt.mask_hw), PROMPT_RGB, LINE_PX)
        if prompt.box_4 is not None:
            left, top, right, bottom = (
                round(float(edge) * scale) for edge, scale in zip(prompt.box_4, (x_scale, y_scale) * 2, strict=True)
            )
            cv2.rectangle(picture, (left, top), (right, bottom), EDGE_RGB, LINE_PX + 2)
            cv2.rectangle(picture, (left, top), (right, bottom), PROMPT_RGB, LINE_PX)
        if prompt.points_n2 is not None:
            for x, y in prompt.points_n2:
                centre, radius = (round(float(x) * x_scale), round(float(y) * y_scale)), 3 * LINE_PX + 1
                cv2.circle(picture, centre, radius + LINE_PX, EDGE_RGB, -1, cv2.LINE_AA)
                cv2.circle(picture, centre, radius, PROMPT_RGB, -1, cv2.LINE_AA)
                cv2.circle(picture, centre, max(1, radius // 3), EDGE_RGB, -1, cv2.LINE_AA)


@dataclass(frozen=True)
class _Layout:
    """Where the two panels and the text are; all sides are even, as H.264's 4:2:0 needs them."""

    height: int
    width: int
    panel_hw: tuple[int, int]
    corners: tuple[tuple[int, int], tuple[int, int]]
    """Top and left of each panel; its title is the strip above."""
    legend_top: int

    @classmethod
    def of(cls, height: int, width: int) -> _Layout:
        scale = min(math.sqrt(PANEL_PIXELS / (height * width)), LONGEST_SIDE_PX / max(height, width))
        high, wide = (max(2, 2 * round(side * scale / 2)) for side in (height, width))
        if width >= STACKED_FROM_ASPECT * height:
            corners = (STRIP_PX, 0), (2 * STRIP_PX + high, 0)
            bottom, right = 2 * (STRIP_PX + high), wide
        else:
            # room for the titles of narrow panels
            second = max(wide, NARROWEST_PX // 2)
            corners = (STRIP_PX, 0), (STRIP_PX, second)
            bottom, right = STRIP_PX + high, second + wide
        return cls(bottom + 3 * STRIP_PX, max(right, NARROWEST_PX), (high, wide), corners, bottom)

    def scaled(self, frame_hwc: Frame) -> Frame:
        """The frame in the size of a panel, a copy."""
        is_smaller = self.panel_hw[0] < frame_hwc.shape[0]
        scaled = cv2.resize(frame_hwc, self.panel_hw[::-1], interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)
        return np.ascontiguousarray(scaled, np.uint8)

    def scaled_mask(self, mask_hw: _BoolMask) -> _BoolMask:
        return np.asarray(cv2.resize(mask_hw.astype(np.uint8), self.panel_hw[::-1], interpolation=cv2.INTER_NEAREST) > 0, np.bool_)

    def put(self, canvas: Frame, panel: int, picture: Frame, title: str) -> None:
        """Put a picture into a panel, and its title above."""
        (top, left), (high, wide) = self.corners[panel], self.panel_hw
        canvas[top : top + high, left : left + wide] = picture
        end = self.corners[1][1] if panel == 0 and self.corners[1][1] else canvas.shape[1]
        _write_line(canvas[top - STRIP_PX : top, left:end], title)


def draw_prediction(picture: Frame, prediction_hw: _BoolMask, line_px: int) -> None:
    """Fill and outline a prediction in orange.

    Args:
        picture: (height, width, 3), RGB, uint8; modified in place.
        prediction_hw: (height, width), bool.
        line_px: width of the outline.
    """
    _fill(picture, prediction_hw, PREDICTION_RGB, FILL_OPACITY)
    _outline(picture, prediction_hw, PREDICTION_RGB, line_px)


def draw_errors(picture: Frame, prediction_hw: _BoolMask, truth_hw: _BoolMask, line_px: int) -> None:
    """Outline the ground truth in white, and fill false positives in orange and false negatives in blue over it; what is right stays clear.

    Args:
        picture: (height, width, 3), RGB, uint8; modified in place.
        prediction_hw, truth_hw: (height, width), bool.
        line_px: width of the outline.
    """
    _outline(picture, truth_hw, TRUTH_RGB, line_px)
    _fill(picture, prediction_hw & ~truth_hw, PREDICTION_RGB, ERROR_OPACITY)
    _fill(picture, truth_hw & ~prediction_hw, MISSED_RGB, ERROR_OPACITY)


def _outline(picture: Frame, mask_hw: _BoolMask, colour: _Rgb, line_px: int) -> None:
    contours = _contours(mask_hw)
    cv2.drawContours(picture, contours, -1, EDGE_RGB, line_px + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, line_px, cv2.LINE_AA)


def _write_legend(strip: Frame) -> None:
    left, size = TEXT_PX // 2, TEXT_PX * 2 // 3
    top = (strip.shape[0] - size) // 2
    for label, colour in (
        ("prediction", None), ("truth", TRUTH_RGB), ("false positive", PREDICTION_RGB), ("false negative", MISSED_RGB)
    ):  # fmt: skip
        swatch = strip[top : top + size, left : left + size]
        if colour == TRUTH_RGB:
            swatch[:2] = swatch[-2:] = swatch[:, :2] = swatch[:, -2:] = colour
        elif colour is not None:
            swatch[:] = colour
        else:
            grey = np.full_like(swatch, 128)
            _fill(grey, np.ones(grey.shape[:2], np.bool_), PREDICTION_RGB, FILL_OPACITY)
            grey[:2] = grey[-2:] = grey[:, :2] = grey[:, -2:] = PREDICTION_RGB
            swatch[:] = grey
        left += size + TEXT_PX // 2
        _write(strip, label, left, strip.shape[1], TEXT_RGB)
        left += _text_width(label) + TEXT_PX


def _fill(picture: Frame, mask_hw: _BoolMask, colour: _Rgb, opacity: float) -> None:
    if not mask_hw.any():
        return
    left, top, width, height = cv2.boundingRect(mask_hw.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    tinted = cv2.addWeighted(picture[box], 1 - opacity, np.full_like(picture[box], colour), opacity, 0)
    np.copyto(picture[box], np.asarray(tinted, np.uint8), where=mask_hw[box][..., None])


def _contours(mask_hw: _BoolMask) -> Any:
    """Borders of a mask, including the borders of its holes."""
    return cv2.findContours(mask_hw.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]


def _font_scale() -> float:
    """Font scale at which text is `TEXT_PX` high, from the top of `H` to the foot of `g`."""
    (_, height), baseline = cv2.getTextSize("Hg", FONT, 1.0, 1)
    return TEXT_PX / (height + baseline)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, _font_scale(), 1)[0][0])


def _write_line(strip: Frame, text: str) -> None:
    """Write text into a strip, in the place of what is there."""
    strip[:] = STRIP_RGB
    _write(strip, text, TEXT_PX // 2, strip.shape[1], TEXT_RGB)


def _write(strip: Frame, text: str, left: int, right: int, colour: _Rgb) -> None:
    """Write text between two columns, vertically centred; dots replace what does not fit."""
    candidates = [text, *(f"{text[:length]}..." for length in range(len(text) - 1, 0, -1)), ""]
    shown = next(candidate for candidate in candidates if not candidate or _text_width(candidate) <= right - left)
    (_, height), _ = cv2.getTextSize("H", FONT, _font_scale(), 1)
    baseline = (strip.shape[0] + height) // 2
    cv2.putText(strip, shown, (left, baseline), FONT, _font_scale(), colour, 1, cv2.LINE_AA)
