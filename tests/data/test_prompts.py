from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_split import rectangle

from savbench.data.dataset import open_split
from savbench.data.ground_truth import first_prompt
from savbench.data.prompts import make_prompt, points_n2, tight_box

Mask = npt.NDArray[np.bool_]


def small_masks() -> st.SearchStrategy[Mask]:
    """Random masks, mostly full or mostly empty ones among them, with at least one pixel."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
    elements = st.sampled_from([st.booleans(), st.sampled_from([True] * 7 + [False]), st.sampled_from([False] * 7 + [True])])
    masks = elements.flatmap(lambda each: hnp.arrays(np.bool_, shapes, elements=each))
    return masks.filter(lambda mask_hw: bool(mask_hw.any()))


def brute_force(mask_hw: Mask, num_points: int) -> list[tuple[int, int]]:
    """The definition, pixel by pixel: (x, y) of clicks, by squared distances in whole numbers."""
    padded = np.pad(mask_hw, 1)
    outside = [(int(r) - 1, int(c) - 1) for r, c in np.argwhere(~padded)]
    inside = [(int(r), int(c)) for r, c in np.argwhere(mask_hw)]
    chosen: list[tuple[int, int]] = []
    for _ in range(min(num_points, len(inside))):
        free = [pixel for pixel in inside if pixel not in chosen]
        chosen.append(max(free, key=lambda p: (min((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 for q in outside + chosen), -p[0], -p[1])))
    return [(column, row) for row, column in chosen]


@given(small_masks(), st.integers(1, 5))
def test_points_equal_the_definition(mask_hw: Mask, num_points: int) -> None:
    assert [tuple(point) for point in points_n2(mask_hw, num_points).tolist()] == brute_force(mask_hw, num_points)


@given(small_masks(), st.integers(1, 200))
def test_points_are_distinct_pixels_of_the_mask(mask_hw: Mask, num_points: int) -> None:
    points = points_n2(mask_hw, num_points)
    assert points.dtype == np.float32
    assert points.shape == (min(num_points, int(mask_hw.sum())), 2)
    columns, rows = points.astype(int).T
    assert mask_hw[rows, columns].all()
    assert len({tuple(point) for point in points.tolist()}) == len(points)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(37, 120), (240, 428), (300, 90)]))
def test_distances_are_exact_on_larger_masks(seed: int, shape: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(seed)
    mask_hw = ndimage.gaussian_filter(rng.standard_normal(shape), float(rng.uniform(1, 25))) > rng.choice([-0.02, 0.0, 0.02])
    if not mask_hw.any():
        return
    padded = np.pad(mask_hw, 1)
    nearest = ndimage.distance_transform_edt(padded, return_distances=False, return_indices=True)
    squared = ((nearest - np.indices(padded.shape)) ** 2).sum(0)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(squared)), shape)
    assert points_n2(mask_hw).tolist() == [[float(column), float(row)]]


def test_the_click_on_a_ring_is_on_the_ring() -> None:
    rows, columns = np.mgrid[0:101, 0:101]
    distance = np.hypot(rows - 50, columns - 50)
    ring = (distance <= 40) & (distance >= 20)
    assert not ring[50, 50]  # where the centroid is
    (x, y), *_ = points_n2(ring).astype(int).tolist()
    assert ring[y, x]
    assert abs(np.hypot(y - 50, x - 50) - 30) <= 1


def test_the_image_border_counts_as_border() -> None:
    # without the border the left edge of the image would be innermost
    assert points_n2(rectangle(0, 0, 5, 5, (5, 20))).tolist() == [[2, 2]]


def test_ties_go_to_the_topmost_then_leftmost_pixel() -> None:
    mask_hw = rectangle(6, 9, 3, 3) | rectangle(6, 2, 3, 3) | rectangle(15, 0, 3, 3)
    assert points_n2(mask_hw).tolist() == [[3, 7]]
    assert points_n2(rectangle(3, 4, 4, 4)).tolist() == [[5, 4]]


@pytest.mark.parametrize(
    ("mask_hw", "point"),
    [
        (rectangle(5, 7, 1, 1), [7, 5]),
        (rectangle(0, 0, 1, 1, (1, 1)), [0, 0]),
        (rectangle(5, 3, 1, 9), [3, 5]),
        (rectangle(2, 6, 20, 1), [6, 2]),
        (np.ones((7, 11), np.bool_), [3, 3]),
    ],
)
def test_thin_and_full_masks(mask_hw: Mask, point: list[int]) -> None:
    assert points_n2(mask_hw).tolist() == [point]


def test_further_clicks_spread() -> None:
    # 9x41 bar, clearance 5 along its middle row; the second click is the first pixel there at 5 or more from the first click
    points = points_n2(rectangle(0, 0, 9, 41, (9, 41)), 3).tolist()
    assert points == [[4, 4], [9, 4], [14, 4]]


def test_fewer_pixels_than_clicks_gives_every_pixel() -> None:
    assert sorted(points_n2(rectangle(5, 7, 1, 3), 10).tolist()) == [[7, 5], [8, 5], [9, 5]]


def test_the_box_includes_its_last_pixel() -> None:
    box = tight_box(rectangle(4, 2, 8, 6) | rectangle(20, 30, 1, 1))
    assert box.dtype == np.float32
    assert box.tolist() == [2, 4, 30, 20]
    assert tight_box(rectangle(4, 2, 8, 6)).tolist() == [2, 4, 7, 11]
    assert tight_box(rectangle(5, 7, 1, 1)).tolist() == [7, 5, 7, 5]


@given(small_masks())
def test_the_box_is_tight(mask_hw: Mask) -> None:
    x_min, y_min, x_max, y_max = tight_box(mask_hw).astype(int)
    outside = mask_hw.copy()
    outside[y_min : y_max + 1, x_min : x_max + 1] = False
    assert not outside.any()
    assert mask_hw[y_min].any()
    assert mask_hw[y_max].any()
    assert mask_hw[:, x_min].any()
    assert mask_hw[:, x_max].any()


def test_prompts_carry_what_they_name() -> None:
    mask_hw = rectangle(4, 2, 9, 9)
    points = make_prompt("points", mask_hw, 3, num_points=2)
    assert (points.object_id, points.kind) == (3, "points")
    assert points.points_n2 is not None
    assert points.points_n2.tolist() == points_n2(mask_hw, 2).tolist()
    box = make_prompt("bbox", mask_hw, 4)
    assert box.box_4 is not None
    assert box.box_4.tolist() == [2, 4, 10, 12]
    mask = make_prompt("mask", mask_hw, 5)
    assert mask.mask_hw is not None
    assert mask.mask_hw.shape == mask_hw.shape
    np.testing.assert_array_equal(mask.mask_hw, mask_hw)


@pytest.mark.parametrize("kind", ["points", "bbox", "mask"])
def test_an_empty_mask_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="empty"):
        make_prompt(kind, np.zeros((4, 4), np.bool_), 1)


@pytest.mark.parametrize("mask", [np.ones((4, 4), np.uint8), np.ones((1, 4, 4), np.bool_)])
def test_only_boolean_images_are_masks(mask: Any) -> None:
    with pytest.raises(ValueError, match="boolean"):
        tight_box(mask)


def test_other_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="num_points"):
        points_n2(rectangle(1, 1, 3, 3), 0)
    with pytest.raises(ValueError, match="use points, bbox or mask"):
        make_prompt("scribble", rectangle(1, 1, 3, 3), 1)  # type: ignore[arg-type]


def test_clicks_on_real_masks_are_inside(davis_sav: Path) -> None:
    split = open_split(davis_sav)
    for name in split.videos:
        video = split.video(name)
        _, mask_hw = first_prompt(video.object("000"), video.read_size())
        columns, rows = points_n2(mask_hw, 5).astype(int).T
        assert mask_hw[rows, columns].all()
