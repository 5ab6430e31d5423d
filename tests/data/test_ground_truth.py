from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_split import TinySplit, rectangle

from savbench.data.dataset import open_split
from savbench.data.feed import PromptMaker
from savbench.data.frames import ClipError
from savbench.data.ground_truth import check_values
from savbench.data.png import read_mask

SIZE = (24, 32)


def save_gray(path: Path, values: list[list[int]]) -> Path:
    Image.fromarray(np.array(values, np.uint8)).save(path)
    return path


# ---- one mask


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_masks_of_every_depth_read_the_same(tmp_path: Path, mode: str) -> None:
    mask_hw = rectangle(1, 2, 3, 4, (6, 9))
    if mode == "I;16":
        image = Image.fromarray(mask_hw.astype(np.uint16) * 40000)
    elif mode == "P":
        image = Image.fromarray(mask_hw.astype(np.uint8))
        image.putpalette([0, 0, 0, 236, 95, 103])
    else:
        image = Image.fromarray(mask_hw.astype(np.uint8) * 255).convert(mode)
    image.save(tmp_path / "0.png")
    assert Image.open(tmp_path / "0.png").mode == mode
    read = read_mask(tmp_path / "0.png", (6, 9))
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, mask_hw)


def test_any_value_above_zero_is_foreground(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(save_gray(tmp_path / "0.png", [[0, 7], [7, 0]])), [[False, True], [True, False]])
    # as the official evaluator, which compares with 0 after it has counted the values
    assert read_mask(save_gray(tmp_path / "1.png", [[3, 7], [7, 3]])).all()
    assert not read_mask(save_gray(tmp_path / "2.png", [[0, 0]])).any()


def test_a_mask_of_three_values(tmp_path: Path) -> None:
    path = save_gray(tmp_path / "0.png", [[0, 1, 2]])
    with pytest.raises(ClipError, match=r"0\.png: more than two values in the mask \(between 0 and 2\)"):
        read_mask(path)


def test_a_mask_in_colour(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(ClipError, match="3 channels"):
        read_mask(tmp_path / "0.png")


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    path = save_gray(tmp_path / "0.png", [[0, 1, 1]])
    with pytest.raises(ClipError, match="the mask is 3x1 but the video 32x24"):
        read_mask(path, SIZE)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "WebP", "TIFF"])
def test_an_image_of_another_kind_is_no_mask(kind: str, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "0.png", format=kind)
    with pytest.raises(ClipError, match=rf"0\.png: unreadable mask \(the file holds a {kind} image\); extract or download it again"):
        read_mask(tmp_path / "0.png")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "the file holds a Git LFS pointer; fetch the file with git lfs pull"),
        (b"<!DOCTYPE html>", "the file holds a web page, not an image"),
        (b"noise", "cannot identify image file"),
    ],
)
def test_a_file_that_is_no_image_is_named_by_what_it_holds(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(ClipError, match=rf"0\.png: unreadable mask \({said}"):
        read_mask(tmp_path / "0.png")


PNG = io.BytesIO()
Image.fromarray(rectangle(4, 2, 8, 8)).save(PNG, format="PNG")


@given(st.integers(0, len(PNG.getvalue())), st.lists(st.tuples(st.integers(0, len(PNG.getvalue()) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_mask_is_a_clip_error_or_a_mask(tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(PNG.getvalue())
    for position, value in flips:
        damaged[position] = value
    path = tmp_path_factory.mktemp("damaged") / "0.png"
    path.write_bytes(bytes(damaged[:cut]))
    with contextlib.suppress(ClipError):
        assert read_mask(path, SIZE).shape == SIZE


def test_smoothed_edges_are_told_from_several_objects(tmp_path: Path) -> None:
    path = save_gray(tmp_path / "0.png", [list(range(0, 256, 5))])
    with pytest.raises(ClipError, match=r"52 different values between 0 and 255, as in masks with smoothed edges; write the mask as 255"):
        read_mask(path)


# ---- all masks of an object


def paint(split: TinySplit, *values: tuple[int, int], mode: str = "P") -> None:
    """Store the object of `alpha` with (background, object) in each of its masks."""
    for number, (off, on) in enumerate(values):
        mask_hw = rectangle(4, 2 + number, 8, 8)
        image = Image.fromarray(np.where(mask_hw, on, off).astype(np.uint8))
        if mode == "P":
            image.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87])
        image.save(split.mask("alpha", "000", 4 * number))


def said(split: TinySplit) -> str:
    """What is said when a track of the object is made, before anything runs."""
    video = open_split(split.root).video("alpha")
    with pytest.raises(ClipError) as raised:
        PromptMaker(video, 1, 1).track(video.object("000"), "mask")
    return str(raised.value)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_an_object_marked_with_several_values_is_refused_whole(tiny_split: TinySplit, mode: str) -> None:
    paint(tiny_split, (0, 1), (0, 1), (0, 2), (0, 1), mode=mode)
    assert "00008.png: marks its object with the value 2, 00000.png with 1" in said(tiny_split)


def test_a_mask_without_a_0_is_refused_before_anything_runs(tiny_split: TinySplit) -> None:
    paint(tiny_split, (0, 1), (0, 1), (0, 1), (1, 2))
    assert "00012.png: has the values 1 and 2 but no background value 0" in said(tiny_split)


def test_masks_without_any_background_are_refused(tiny_split: TinySplit) -> None:
    paint(tiny_split, (1, 1), (1, 1), (1, 1), (1, 1))
    assert "no pixel of its 4 masks has the background value 0" in said(tiny_split)


@pytest.mark.parametrize("values", [((0, 7),) * 4, ((0, 0), (0, 7), (7, 7), (0, 0))])
def test_one_value_beside_0_is_an_object_whatever_it_is(tiny_split: TinySplit, values: tuple[tuple[int, int], ...]) -> None:
    paint(tiny_split, *values)
    check_values(open_split(tiny_split.root).video("alpha").object("000"), SIZE, set())


def test_a_1_bit_mask_goes_with_any_value(tiny_split: TinySplit) -> None:
    path = tiny_split.mask("alpha", "000", 4)
    Image.open(path).convert("1").save(path)
    check_values(open_split(tiny_split.root).video("alpha").object("000"), SIZE, set())
