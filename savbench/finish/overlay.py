"""Videos that show predictions and ground truth drawn into the clip, as H.264 in MP4, which browsers play.

`OverlayWriter.add` draws and encodes in the calling thread, which costs time and memory: write overlays in a process that measures nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
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

# Orange and sky blue of Okabe and Ito's palette differ in hue for every common type of colour vision, and in brightness.
PREDICTION_RGB = (230, 159, 0)
TRUTH_RGB = (86, 180, 233)
PROMPT_RGB = (255, 255, 255)
EDGE_RGB = (0, 0, 0)
"""Makes lines stand out from any background."""
STRIP_RGB = (24, 24, 24)
CAPTION_RGB = (235, 235, 235)

FILL_OPACITY = 0.35
FONT = cv2.FONT_HERSHEY_SIMPLEX

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
            overlay.add(frame_hwc, prediction_hw, truth_hw, caption="blackswan 000  flow_mask  frame 12")

    The prediction is filled and outlined in orange, the ground truth outlined in blue, the prompt drawn in white. A strip below the frame
    holds the caption and a legend. H.264's 4:2:0 needs even sides: a frame of odd width gets a copy of its last column, so that no pixel of
    a mask is lost, and the strip makes the height even.

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
        self._text_px = min(max(width // 60, 11), 36)
        strip = self._text_px * 2
        self._strip = strip + (height + strip) % 2
        self._line_px = max(1, round(min(height, width) / 320))
        self._frames = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # faststart puts the index before the frames, so that a browser plays the video while it loads
        self._container: Any = self._av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._open_stream(fps)

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
        caption: str = "",
    ) -> None:
        """Add one frame.

        Args:
            frame_hwc: (height, width, 3), RGB, uint8; not modified.
            prediction_hw: (height, width), bool; None if there is no prediction yet.
            truth_hw: (height, width), bool, on annotated frames.
            prompt: on the prompted frame.
            caption: shortened if it is too long for the strip.

        Raises:
            ValueError: a shape differs from the video's.
        """
        if frame_hwc.shape != (self._height, self._width, 3):
            raise ValueError(f"a frame of shape {frame_hwc.shape} does not fit a video of {self._height}x{self._width}; resize it first")
        prompt_mask = None if prompt is None else prompt.mask_hw
        for name, mask_hw in (("prediction", prediction_hw), ("ground truth", truth_hw), ("prompt", prompt_mask)):
            if mask_hw is not None and mask_hw.shape != (self._height, self._width):
                raise ValueError(f"a {name} of shape {mask_hw.shape} does not fit a video of {self._height}x{self._width}; resize it first")
        even_width = self._width + self._width % 2
        canvas = np.empty((self._height + self._strip, even_width, 3), np.uint8)
        picture = canvas[: self._height, : self._width]
        picture[:] = frame_hwc
        self._draw(picture, prediction_hw, truth_hw, prompt)
        canvas[: self._height, self._width :] = picture[:, -1:]
        canvas[self._height :] = STRIP_RGB
        self._write_strip(canvas[self._height :], caption)
        picture_yuv = self._av.VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        self._container.mux(self._stream.encode(picture_yuv))
        self._frames += 1

    def close(self) -> None:
        """Complete the video and rename it to `path`.

        Raises:
            ValueError: the video has no frame.
        """
        if self._frames == 0:
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

    def _open_stream(self, fps: float) -> Any:
        try:
            # a quality rather than a bit rate, which would depend on the size; thread_count 1 keeps the encoder in the calling thread
            stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height = self._width + self._width % 2, self._height + self._strip
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "superfast", "crf": "20"}
            context = stream.codec_context
            context.thread_count = 1
            context.gop_size = max(1, round(2 * fps))
            # names the colour space; otherwise a player guesses it from the size
            context.colorspace = context.color_primaries = context.color_trc = 1
            context.color_range = 1
        except BaseException:
            self.discard()
            raise
        return stream

    def _draw(self, picture: Frame, prediction_hw: _BoolMask | None, truth_hw: _BoolMask | None, prompt: Prompt | None) -> None:
        draw_masks(picture, prediction_hw, truth_hw, self._line_px)
        if prompt is not None:
            self._draw_prompt(picture, prompt)

    def _draw_prompt(self, picture: Frame, prompt: Prompt) -> None:
        line = self._line_px
        if prompt.mask_hw is not None:
            cv2.drawContours(picture, _contours(prompt.mask_hw), -1, PROMPT_RGB, line, cv2.LINE_AA)
        if prompt.box_4 is not None:
            left, top, right, bottom = (round(float(edge)) for edge in prompt.box_4)
            cv2.rectangle(picture, (left, top), (right, bottom), EDGE_RGB, line + 2)
            cv2.rectangle(picture, (left, top), (right, bottom), PROMPT_RGB, line)
        if prompt.points_n2 is not None:
            for x, y in prompt.points_n2:
                centre, radius = (round(float(x)), round(float(y))), 3 * line + 1
                cv2.circle(picture, centre, radius + line, EDGE_RGB, -1, cv2.LINE_AA)
                cv2.circle(picture, centre, radius, PROMPT_RGB, -1, cv2.LINE_AA)
                cv2.circle(picture, centre, max(1, radius // 3), EDGE_RGB, -1, cv2.LINE_AA)

    def _write_strip(self, strip: Frame, caption: str) -> None:
        margin = self._text_px // 2
        right = strip.shape[1] - margin
        for label, colour in (("ground truth", TRUTH_RGB), ("prediction", PREDICTION_RGB)):
            right = self._write_label(strip, right, label, colour)
        _write(strip, caption, margin, right - margin, self._text_px, CAPTION_RGB)

    def _write_label(self, strip: Frame, right: int, label: str, colour: _Rgb) -> int:
        """Write a swatch and a label that end at `right`. Returns the column to the left of them."""
        size, gap = self._text_px * 2 // 3, self._text_px // 2
        left = right - _text_width(label, self._text_px) - gap - size
        if left < strip.shape[1] // 3:
            return right
        top = (strip.shape[0] - size) // 2
        strip[top : top + size, left : left + size] = colour
        _write(strip, label, left + size + gap, right, self._text_px, CAPTION_RGB)
        return left - 2 * gap


def draw_masks(picture: Frame, prediction_hw: _BoolMask | None, truth_hw: _BoolMask | None, line_px: int) -> None:
    """Draw masks into a picture: the prediction filled and outlined in orange, the ground truth outlined in blue.

    Args:
        picture: (height, width, 3), RGB, uint8; modified in place.
        prediction_hw, truth_hw: (height, width), bool; None draws nothing.
        line_px: width of a thin line on a picture of this size.
    """
    if prediction_hw is not None:
        _fill(picture, prediction_hw, PREDICTION_RGB)
    # the wider line goes below, so that both stay visible where they agree
    outlines = [(truth_hw, TRUTH_RGB, 3 * line_px + 2), (prediction_hw, PREDICTION_RGB, line_px + 1)]
    drawn = [(_contours(mask_hw), colour, width) for mask_hw, colour, width in outlines if mask_hw is not None]
    for contours, _, width in drawn:
        cv2.drawContours(picture, contours, -1, EDGE_RGB, width + 2, cv2.LINE_AA)
    for contours, colour, width in drawn:
        cv2.drawContours(picture, contours, -1, colour, width, cv2.LINE_AA)


def _fill(picture: Frame, mask_hw: _BoolMask, colour: _Rgb) -> None:
    if not mask_hw.any():
        return
    left, top, width, height = cv2.boundingRect(mask_hw.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    tinted = cv2.addWeighted(picture[box], 1 - FILL_OPACITY, np.full_like(picture[box], colour), FILL_OPACITY, 0)
    np.copyto(picture[box], np.asarray(tinted, np.uint8), where=mask_hw[box][..., None])


def _contours(mask_hw: _BoolMask) -> Any:
    """Borders of a mask, including the borders of its holes."""
    return cv2.findContours(mask_hw.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]


def _font_scale(text_px: int) -> float:
    """Font scale at which text is this many pixels high, from the top of `H` to the foot of `g`."""
    (_, height), baseline = cv2.getTextSize("Hg", FONT, 1.0, 1)
    return text_px / (height + baseline)


def _text_width(text: str, text_px: int) -> int:
    return int(cv2.getTextSize(text, FONT, _font_scale(text_px), 1)[0][0])


def _write(strip: Frame, text: str, left: int, right: int, text_px: int, colour: _Rgb) -> None:
    """Write text between two columns, vertically centred; dots replace what does not fit."""
    candidates = [text, *(f"{text[:length]}..." for length in range(len(text) - 1, 0, -1)), ""]
    shown = next(candidate for candidate in candidates if not candidate or _text_width(candidate, text_px) <= right - left)
    (_, height), _ = cv2.getTextSize("H", FONT, _font_scale(text_px), 1)
    baseline = (strip.shape[0] + height) // 2
    cv2.putText(strip, shown, (left, baseline), FONT, _font_scale(text_px), colour, max(1, text_px // 16), cv2.LINE_AA)
