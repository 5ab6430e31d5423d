"""Attributes of objects, worked out by hand on drawn masks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_split import TinySplit, rectangle

from savbench.data.dataset import open_split
from savbench.finish.attributes import ObjectAttributes, Shape, attributes_of_shapes, colours, likeness, surroundings
from savbench.finish.scoring import TruthMasks
from savbench.results.attributes import ATTRIBUTES, BY_NAME

SIZE_HW = (100, 200)


def square(top: int, left: int, height: int = 10, width: int = 10) -> Shape:
    shape = Shape.of(0, rectangle(top, left, height, width, SIZE_HW))
    assert shape is not None
    return shape


def attributes(*shapes: Shape | None, every: int = 4, clip_frames: int = 100, frames_per_s: float | None = 24.0) -> dict[str, float]:
    """Of shapes on every fourth frame."""
    placed = {every * n: None if shape is None else Shape(**{**vars(shape), "frame": every * n}) for n, shape in enumerate(shapes)}
    return attributes_of_shapes(placed, SIZE_HW, clip_frames=clip_frames, frames_per_s=frames_per_s)


def test_a_shape_by_hand() -> None:
    shape = square(20, 30, 4, 6)
    assert (shape.area, shape.top, shape.left, shape.height, shape.width) == (24, 20, 30, 4, 6)
    assert (shape.y, shape.x) == (21.5, 32.5)
    assert shape.outline == 20
    assert Shape.of(0, np.zeros(SIZE_HW, np.bool_)) is None


def test_sides_at_the_border_and_of_holes_count() -> None:
    whole = Shape.of(0, np.ones((4, 6), np.bool_))
    assert whole is not None
    assert whole.outline == 20
    holed = rectangle(10, 10, 5, 5, SIZE_HW)
    holed[12, 12] = False
    shape = Shape.of(0, holed)
    assert shape is not None
    assert (shape.area, shape.outline) == (24, 24)


def test_size_is_the_root_of_the_mean_share() -> None:
    # 100 and 300 of 20,000 pixels: a mean share of 1%
    assert attributes(square(20, 20), square(20, 20, 10, 30))["size"] == pytest.approx(0.1)


def test_speed_is_in_object_sizes_per_second() -> None:
    # 5 pixels in 4/24 s are 30 pixels a second, of an object of 10 pixels
    assert attributes(square(20, 20), square(20, 25))["speed"] == pytest.approx(3.0)
    # 3 and 4 pixels at right angles are 5; the pair around the absence does not count
    assert attributes(square(20, 20), square(23, 24), None, square(60, 90))["speed"] == pytest.approx(3.0)
    # annotated on every frame, the same motion per second
    assert attributes(square(20, 20), square(20, 25), every=1)["speed"] == pytest.approx(12.0)


def test_speed_is_missing_without_a_frame_rate_or_two_frames() -> None:
    assert "speed" not in attributes(square(20, 20), square(20, 25), frames_per_s=None)
    assert "speed" not in attributes(square(20, 20))


def test_scale_and_complexity() -> None:
    found = attributes(square(20, 20), square(20, 20, 10, 40))
    assert found["scale"] == 4
    # 1 for the square, (2 * 50)^2 / (16 * 400) for the rectangle
    assert found["complexity"] == pytest.approx((1 + 10_000 / 6_400) / 2)


def test_an_exit_and_an_occlusion_are_told_apart() -> None:
    inside, at_border = square(40, 40), square(40, 190)
    found = attributes(inside, None, inside, at_border, None, None, inside, None)
    assert (found["exits"], found["occlusions"], found["returns"]) == (1, 2, 2)
    assert found["absence"] == pytest.approx(4 / 7)
    assert found["border"] == pytest.approx(1 / 4)


def test_near_the_border_is_a_hundredth_of_the_shorter_side() -> None:
    assert square(0, 40).touches_border(SIZE_HW)
    assert not square(1, 40).touches_border(SIZE_HW)  # a pixel away, of 100
    assert square(90, 40).touches_border(SIZE_HW)
    assert not square(89, 40).touches_border(SIZE_HW)


def test_frames_before_the_prompted_one_do_not_count() -> None:
    found = attributes(None, None, square(40, 40), square(40, 40))
    assert found["absence"] == 0
    assert (found["exits"], found["occlusions"], found["returns"]) == (0, 0, 0)
    assert found["length"] == 92
    assert "absence" not in attributes(None, square(40, 40))
    with pytest.raises(ValueError, match="visible on no frame"):
        attributes(None, None)


def test_the_surroundings_are_half_a_box_wide() -> None:
    mask_hw = rectangle(40, 40, 10, 20, SIZE_HW)
    shape = Shape.of(0, mask_hw)
    assert shape is not None
    around = surroundings(shape, mask_hw)
    assert around.sum() == 20 * 40 - 10 * 20
    assert around[35, 30]
    assert not around[34, 30]
    corner = rectangle(0, 0, 10, 20, SIZE_HW)
    in_corner = Shape.of(0, corner)
    assert in_corner is not None
    assert surroundings(in_corner, corner).sum() == 15 * 30 - 10 * 20


def test_likeness_of_colours_by_hand() -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 10:] = (255, 0, 0)
    black, half = rectangle(0, 0, 10, 10, (10, 20)), rectangle(0, 5, 10, 10, (10, 20))
    assert likeness(colours(picture, black), colours(picture, ~black)) == 0
    assert likeness(colours(picture, black), colours(picture, black)) == pytest.approx(1)
    assert likeness(colours(picture, black), colours(picture, half)) == pytest.approx(math.sqrt(0.5))


PAINTED_HW = (96, 128)


def _painted(tmp_path: Path) -> TinySplit:
    """A red square on black, and two others: a red one, and a blue one that is nearer."""
    split = TinySplit(tmp_path)
    places = {"000": (16, 8), "001": (48, 80), "002": (16, 56)}
    masks = {name: rectangle(*place, 24, 24, PAINTED_HW) for name, place in places.items()}
    split.write_video("v", 9, {name: [mask_hw] * 3 for name, mask_hw in masks.items()})
    picture = np.zeros((*PAINTED_HW, 3), np.uint8)
    for name, colour in (("000", (200, 0, 0)), ("001", (200, 0, 0)), ("002", (0, 0, 200))):
        picture[masks[name]] = colour
    for frame in range(9):
        # PNG data, whatever the name: no colour bleeds over an edge
        Image.fromarray(picture).save(split.frame("v", frame), format="PNG")
    (tmp_path / "val.txt").write_text("v\n")
    return split


def test_colours_of_a_clip(tmp_path: Path) -> None:
    opened = open_split(_painted(tmp_path).root, None)
    found = {name: ObjectAttributes(TruthMasks(), 24.0).of(opened.video("v"), name, PAINTED_HW) for name in ("000", "001", "002")}
    assert found["000"]["clutter"] == 0
    assert found["000"]["lookalike"] == pytest.approx(1)
    assert found["002"]["lookalike"] == 0
    assert found["000"]["length"] == 9
    assert found["000"]["speed"] == 0


def test_objects_of_few_pixels_have_no_colours(tmp_path: Path) -> None:
    split = TinySplit(tmp_path)
    split.write_video("v", 9, {"000": [rectangle(16, 8, 32, 32, PAINTED_HW)] * 3, "001": [rectangle(60, 60, 8, 8, PAINTED_HW)] * 3})
    (tmp_path / "val.txt").write_text("v\n")
    video = open_split(tmp_path, None).video("v")
    found, few = (ObjectAttributes(TruthMasks(), None).of(video, name, PAINTED_HW) for name in ("000", "001"))
    assert "lookalike" not in found
    assert 0.8 < found["clutter"] <= 1
    assert not {"clutter", "lookalike"} & set(few)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    split = _painted(tmp_path)
    split.mask("v", "000", 8).write_bytes(b"no picture")
    opened = open_split(split.root, None)
    found = ObjectAttributes(TruthMasks(), 24.0).of(opened.video("v"), "000", PAINTED_HW)
    assert found["absence"] == 0
    assert found["lookalike"] == pytest.approx(1)
    split.frame("v", 4).write_bytes(b"no picture")
    found = ObjectAttributes(TruthMasks(), 24.0).of(opened.video("v"), "000", PAINTED_HW)
    assert "clutter" not in found
    assert found["size"] > 0


def test_an_object_is_read_once_for_all_arms(tmp_path: Path) -> None:
    split = _painted(tmp_path)
    video = open_split(split.root, None).video("v")
    reader = ObjectAttributes(TruthMasks(), 24.0)
    first = reader.of(video, "000", PAINTED_HW)
    split.frame("v", 0).unlink()
    assert reader.of(video, "000", PAINTED_HW) == first


def test_bins_hold_their_lower_edge() -> None:
    size = BY_NAME["size"]
    assert [size.bin_of(value) for value in (0.0, 0.049, 0.05, 0.1, 0.2, 1.0)] == [0, 0, 1, 2, 3, 3]
    assert size.labels[size.bin_of(None)] == size.labels[size.bin_of(math.nan)] == "not known"
    assert BY_NAME["lookalike"].labels[-1] == "no other object"
    for attribute in ATTRIBUTES:
        assert len(attribute.bins) == len(attribute.edges) + 1
        assert list(attribute.edges) == sorted(attribute.edges)
        assert len(set(attribute.labels)) == len(attribute.labels)
    assert [BY_NAME["absence"].bin_of(value) for value in (0.0, 0.01, 0.25)] == [0, 1, 2]
    assert [BY_NAME["exits"].bin_of(value) for value in (0.0, 1.0, 2.0, 7.0)] == [0, 1, 2, 2]
