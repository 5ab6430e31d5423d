"""Overlays: they decode again, have the form that browsers play, and show what was drawn where."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from runners.base import Frame, Prompt
from savbench.finish import overlay
from savbench.finish.overlay import (
    MISSED_RGB,
    PREDICTION_RGB,
    PROMPT_RGB,
    STRIP_PX,
    STRIP_RGB,
    TRUTH_RGB,
    OverlayError,
    OverlayWriter,
    overlay_path,
)
from savbench.finish.saving import _Captions
from savbench.results.frame_rows import FrameRow

av = pytest.importorskip("av", reason="overlays need the package av")

GREY = 120
BoolMask = npt.NDArray[np.bool_]


def _frame(height: int, width: int) -> Frame:
    return np.full((height, width, 3), GREY, np.uint8)


def _square(height: int, width: int, top: int, left: int, size: int) -> BoolMask:
    mask_hw = np.zeros((height, width), np.bool_)
    mask_hw[top : top + size, left : left + size] = True
    return mask_hw


def _decode(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _boxes(path: Path) -> list[str]:
    """Names of the top-level boxes of an MP4, in order."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode("ascii"))
        at += size
    return names


def _is_near(pixels: npt.NDArray[np.uint8], rgb: tuple[int, int, int], tolerance: int) -> npt.NDArray[np.bool_]:
    return np.asarray((np.abs(pixels.astype(int) - np.array(rgb)) <= tolerance).all(axis=-1))


def _tinted(colour: tuple[int, int, int], opacity: float) -> tuple[int, int, int]:
    red, green, blue = (round(GREY + opacity * (part - GREY)) for part in colour)
    return red, green, blue


HEIGHT, WIDTH = 405, 720
"""Of a clip that is shown in its own size: panels have as many pixels."""


def _panels(picture: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The prediction above and the errors below, of a clip of `HEIGHT` by `WIDTH`, whose last row an even panel leaves out."""
    high = HEIGHT - 1
    return picture[STRIP_PX : STRIP_PX + high], picture[2 * STRIP_PX + high :][:high]


@pytest.mark.parametrize(("height", "width"), [(240, 426), (1081, 1921), (427, 241), (97, 131), (1, 1), (1, 500), (3000, 2)])
def test_a_video_has_the_form_that_players_open(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "overlays/clip.mp4"
    with OverlayWriter(path, height, width, fps=24) as writer:
        for number in range(7):
            mask_hw = _square(height, width, number, number, 30)
            writer.add(_frame(height, width), mask_hw, mask_hw, texts=(f"frame {number}", "", ""))

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.width % 2 == stream.height % 2 == 0
        # whatever the clip's size: text fits, and encoding costs about the same
        assert stream.width >= 320
        assert stream.width * stream.height < 1_200_000
        assert stream.average_rate == 24
        assert stream.duration * stream.time_base == Fraction(7, 24)
        assert len(list(container.decode(video=0))) == 7
    boxes = _boxes(path)
    assert boxes.index("moov") < boxes.index("mdat")
    assert [entry.name for entry in path.parent.iterdir()] == ["clip.mp4"]


def test_prediction_truth_and_errors_are_shown_in_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with OverlayWriter(path, HEIGHT, WIDTH) as writer:
        writer.add(_frame(HEIGHT, WIDTH), _square(HEIGHT, WIDTH, 100, 100, 200), _square(HEIGHT, WIDTH, 100, 200, 200))

    picture = _decode(path)[0]
    prediction, errors = _panels(picture)
    assert _is_near(prediction[110:290, 110:290], _tinted(PREDICTION_RGB, overlay.FILL_OPACITY), 6).all(), "the inside of the prediction"
    assert _is_near(prediction[110:290, 310:390], (GREY, GREY, GREY), 4).all(), "the truth is in the other panel"
    assert _is_near(prediction[96:106, 200], PREDICTION_RGB, 40).any(), "halfway along the upper edge"
    assert _is_near(errors[110:290, 110:190], _tinted(PREDICTION_RGB, overlay.ERROR_OPACITY), 8).all(), "predicted and wrong"
    assert _is_near(errors[110:290, 310:390], _tinted(MISSED_RGB, overlay.ERROR_OPACITY), 8).all(), "missed"
    assert _is_near(errors[110:290, 210:290], (GREY, GREY, GREY), 4).all(), "right, and left as it is"
    assert _is_near(errors[96:106, 250], TRUTH_RGB, 60).any(), "the outline of the truth"
    assert _is_near(picture[-2, 2:20], STRIP_RGB, 6).all()


def test_errors_stay_until_the_next_annotated_frame(tmp_path: Path) -> None:
    """Between annotations there is no truth to compare with, and nothing flickers."""
    path = tmp_path / "clip.mp4"
    with OverlayWriter(path, HEIGHT, WIDTH) as writer:
        for left, truth in ((100, 200), (150, None), (200, None), (250, 300)):
            truth_hw = None if truth is None else _square(HEIGHT, WIDTH, 100, truth, 100)
            writer.add(_frame(HEIGHT, WIDTH), _square(HEIGHT, WIDTH, 100, left, 100), truth_hw, texts=(f"frame {left}", "", ""))

    first, second, third, last = (_panels(picture)[1].astype(int) for picture in _decode(path))
    assert np.abs(first - second).max() < 12
    assert np.abs(first - third).max() < 12
    assert np.abs(first - last).max() > 60


def test_colours_are_coded_and_labelled_as_bt_709(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    green = np.zeros((64, 96, 3), np.uint8)
    green[..., 1] = 200
    with OverlayWriter(path, 64, 96) as writer:
        writer.add(green, None)

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert container.streams.video[0].codec_context.colorspace == 1
    luma = frame.to_ndarray()[: frame.height][50:300, 8:300]
    # 16 + 219 * 0.7152 * 200 / 255 = 138.8; BT.601, which weighs green by 0.587, would give 116.8
    assert np.abs(luma.astype(int) - 139).max() <= 3


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        (Prompt(1, "points", points_n2=np.array([[60, 100], [400, 250]], np.float32)), [(97, 60), (247, 400)]),
        (Prompt(1, "bbox", box_4=np.array([60, 100, 400, 250], np.float32)), [(100, 200), (250, 200), (170, 60), (170, 400)]),
        (Prompt(1, "mask", mask_hw=_square(HEIGHT, WIDTH, 100, 60, 151)), [(100, 120), (250, 120), (170, 60), (170, 210)]),
    ],
    ids=["points", "bbox", "mask"],
)
def test_a_prompt_is_drawn_where_it_was_given(tmp_path: Path, prompt: Prompt, where: list[tuple[int, int]]) -> None:
    path = tmp_path / "clip.mp4"
    with OverlayWriter(path, HEIGHT, WIDTH) as writer:
        writer.add(_frame(HEIGHT, WIDTH), None, prompt=prompt)
        writer.add(_frame(HEIGHT, WIDTH), None)

    with_prompt, without = (_panels(picture)[0] for picture in _decode(path))
    with av.open(str(path)) as container:
        first, second = (frame.time for frame in container.decode(video=0))
    # long enough to be seen, and still one frame
    assert second - first == pytest.approx(overlay.PROMPT_S)
    for row, column in where:
        around = np.s_[row - 1 : row + 2, column - 1 : column + 2]
        assert _is_near(with_prompt[around], PROMPT_RGB, 60).any(), (row, column)
        assert _is_near(without[around], (GREY, GREY, GREY), 6).all(), (row, column)


def test_texts_are_written_and_long_ones_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with OverlayWriter(path, HEIGHT, WIDTH) as writer:
        for texts in (("", "", ""), ("frame 3", "latency 9.0 ms", "dog/000  flow_mask"), ("x" * 500,) * 3):
            writer.add(_frame(HEIGHT, WIDTH), None, texts=texts)

    empty, short, long = (picture.astype(int) for picture in _decode(path))
    for strip in (np.s_[:STRIP_PX], np.s_[-2 * STRIP_PX : -STRIP_PX], np.s_[-STRIP_PX:]):
        written_short, written_long = (np.abs(picture[strip] - empty[strip]).max(axis=(0, 2)) > 60 for picture in (short, long))
        assert 40 < np.flatnonzero(written_short).max() < 300
        assert WIDTH - 60 < np.flatnonzero(written_long).max() < WIDTH
    legend = empty[-3 * STRIP_PX : -2 * STRIP_PX].astype(np.uint8)
    assert all(_is_near(legend, colour, 30).any() for colour in (PREDICTION_RGB, MISSED_RGB, TRUTH_RGB))
    # letters of 20 of 720 pixels are 11 high on a phone
    rows = np.flatnonzero((np.abs(short - empty)[:STRIP_PX] > 60).any(axis=(1, 2)))
    assert rows.max() - rows.min() >= 12


def test_the_caption_tells_latency_and_the_running_score() -> None:
    frames = [FrameRow(frame=1, repeat=0, latency_ms=10.0), FrameRow(frame=2, repeat=0, latency_ms=20.0, J=0.8, F=0.6)]
    frames += [FrameRow(frame=4, repeat=0, latency_ms=30.0, J=0.4, F=0.6), FrameRow(frame=1, repeat=1, latency_ms=99.0)]
    told = _Captions(frames)
    assert [told.of(index) for index in range(5)] == [
        "not timed", "latency 10.0 ms", "latency 20.0 ms  J&F 0.700, mean so far 0.700", "not timed  J&F 0.700, mean so far 0.700",
        "latency 30.0 ms  J&F 0.500, mean so far 0.600",
    ]  # fmt: skip


def test_the_callers_frame_is_not_drawn_on(tmp_path: Path) -> None:
    frame_hwc, mask_hw = _frame(64, 96), _square(64, 96, 10, 10, 30)
    with OverlayWriter(tmp_path / "clip.mp4", 64, 96) as writer:
        writer.add(frame_hwc, mask_hw, mask_hw, Prompt(1, "mask", mask_hw=mask_hw))

    assert (frame_hwc == GREY).all()
    assert mask_hw.sum() == 900


def test_empty_masks_leave_the_frame_alone(tmp_path: Path) -> None:
    path, nothing = tmp_path / "clip.mp4", np.zeros((64, 96), np.bool_)
    with OverlayWriter(path, 64, 96) as writer:
        writer.add(_frame(64, 96), nothing, nothing)

    assert _is_near(_decode(path)[0][STRIP_PX + 2 : STRIP_PX + 300, :300], (GREY, GREY, GREY), 4).all()


def test_an_error_leaves_neither_a_new_file_nor_a_spoilt_old_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"of an earlier run")

    def fails_half_way() -> None:
        with OverlayWriter(path, 64, 96) as writer:
            writer.add(_frame(64, 96), None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails_half_way()

    assert path.read_bytes() == b"of an earlier run"
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
    with OverlayWriter(path, 64, 96) as writer:
        writer.add(_frame(64, 96), None)
    assert len(_decode(path)) == 1


def test_under_its_name_the_video_is_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with OverlayWriter(path, 64, 96) as writer:
        writer.add(_frame(64, 96), None)
        assert not path.exists()

    assert path.exists()


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    writer = OverlayWriter(tmp_path / "clip.mp4", 64, 96)

    with pytest.raises(ValueError, match="the video has no frame"):
        writer.close()
    assert not any(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "clip.mp4", 64, 96) as writer:
        with pytest.raises(ValueError, match=r"frame of shape \(64, 95, 3\)"):
            writer.add(_frame(64, 95), None)
        with pytest.raises(ValueError, match="prediction of shape"):
            writer.add(_frame(64, 96), _square(64, 95, 1, 1, 4))
        with pytest.raises(ValueError, match="ground truth of shape"):
            writer.add(_frame(64, 96), None, _square(63, 96, 1, 1, 4))
        with pytest.raises(ValueError, match="prompt of shape"):
            writer.add(_frame(64, 96), None, prompt=Prompt(1, "mask", mask_hw=_square(63, 96, 1, 1, 4)))
        writer.add(_frame(64, 96), None)
    with pytest.raises(ValueError, match="at least one pixel"):
        OverlayWriter(tmp_path / "other.mp4", 0, 96)


def test_without_av_the_message_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(OverlayError, match="need the Python package av: pip install av"):
        OverlayWriter(tmp_path / "clip.mp4", 64, 96)


def test_an_av_without_the_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})

    with pytest.raises(OverlayError, match="built without libx264"):
        overlay.require_encoder()


def test_the_path_names_video_object_and_arm() -> None:
    assert overlay_path("sav_000262", "001", "sam2_tiny_points-bfloat16") == Path("overlays/sav_000262__001__sam2_tiny_points-bfloat16.mp4")
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        overlay_path("../sav_000262", "001", "arm")


def test_names_too_long_for_a_file_get_a_short_one_each() -> None:
    paths = {overlay_path("ü" * 120, name, "sam2_tiny_points-bfloat16") for name in ("000", "001")}
    assert len(paths) == 2
    assert all(path.match("overlays/*__sam2_tiny_points-bfloat16.mp4") and len(path.name.encode()) < 100 for path in paths)
