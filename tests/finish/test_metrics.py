"""J and F against numbers worked out by hand and against a slow oracle made of the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_oracle import BAND_SIDES, Mask, count_near, oracle, real_pairs, rectangle

from savbench.finish.metrics import FrameScore, ObjectScorer, boundary_radius, frames_to_score, score_frame
from savbench.results.scores import ObjectScore, dataset_means


def mask_from(picture: str) -> Mask:
    """A mask drawn with # and . in lines."""
    return np.array([[letter == "#" for letter in line] for line in picture.split()], dtype=np.bool_)


# --- numbers worked out by hand


@pytest.mark.parametrize(
    ("height", "width", "radius"),
    [
        (1, 1, 1),
        (75, 100, 1),
        (76, 100, 2),
        (480, 848, 8),
        (848, 480, 8),
        (720, 1280, 12),
        (1080, 1920, 18),
        (2160, 3840, 36),
        (1, 5000, 41),
    ],
)
def test_boundary_radius(height: int, width: int, radius: int) -> None:
    # 75x100 has a diagonal of 125, so exactly 1; 1x5000 has 5000.0001, so just over 40
    assert boundary_radius(height, width) == radius


@pytest.mark.parametrize(("height", "width"), [(0, 10), (10, 0), (-1, 3)])
def test_boundary_radius_of_no_image(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        boundary_radius(height, width)


@pytest.mark.parametrize(
    ("shift", "J", "F"),
    [
        (0, 1.0, 1.0),
        (1, 90 / 110, 1.0),
        # the radius is 2, so every boundary pixel still matches
        (2, 80 / 120, 1.0),
        # of the 40 boundary pixels (the rim of 11x11) match 8 in the top and in the bottom row: the 6 that coincide and 2 next to them;
        # and of the side inside the other square those at most 2 away from its top or bottom: 4
        (5, 50 / 150, 20 / 40),
        # the sides touch: 3 in the top and in the bottom row, the 9 between them of the touching side
        (10, 0.0, 15 / 40),
        # rims 2 apart: the 11 of the facing sides
        (12, 0.0, 11 / 40),
        (13, 0.0, 0.0),
        (40, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("downwards", [False, True])
def test_square_shifted(shift: int, J: float, F: float, downwards: bool) -> None:
    truth = rectangle((100, 100), 20, 20, 10, 10)
    prediction = rectangle((100, 100), 20, 20 + shift, 10, 10)
    if downwards:
        truth, prediction = truth.T, prediction.T
    assert boundary_radius(100, 100) == 2
    assert score_frame(prediction, truth) == FrameScore(J, F)
    assert score_frame(truth, prediction) == FrameScore(J, F)


def test_precision_and_recall_differ() -> None:
    one = rectangle((100, 100), 10, 10, 10, 10)
    two = one | rectangle((100, 100), 60, 60, 10, 10)
    # precision 1, recall 1/2, or the other way round
    assert score_frame(one, two) == FrameScore(J=0.5, F=2 / 3)
    assert score_frame(two, one) == FrameScore(J=0.5, F=2 / 3)


def test_half_image_moved_by_the_radius_and_one_more() -> None:
    """A straight edge from top to bottom: all of its pixels match up to the radius, none beyond."""
    truth = rectangle((480, 848), 0, 0, 480, 400)
    for shift, F in ((7, 1.0), (8, 1.0), (9, 0.0)):
        assert score_frame(rectangle((480, 848), 0, 0, 480, 400 + shift), truth) == FrameScore(400 / (400 + shift), F)
    truth = rectangle((480, 848), 0, 0, 200, 848)
    for shift, F in ((7, 1.0), (8, 1.0), (9, 0.0)):
        assert score_frame(rectangle((480, 848), 0, 0, 200 + shift, 848), truth) == FrameScore(200 / (200 + shift), F)


@pytest.mark.parametrize(
    ("prediction", "truth", "J", "F"),
    [
        # one pixel: there is no neighbour to differ from, so never a boundary
        (".", ".", 1.0, 1.0),
        ("#", ".", 0.0, 1.0),
        (".", "#", 0.0, 1.0),
        ("#", "#", 1.0, 1.0),
        # one row, one column, radius 1: boundaries in pixel 1 and in pixel 2; then in 0 and in 3
        ("##....", "###...", 2 / 3, 1.0),
        ("# # . . . .", "# # # . . .", 2 / 3, 1.0),
        ("#.....", "####..", 1 / 4, 0.0),
        ("# . . . . .", "# # # # . .", 1 / 4, 0.0),
        # full against empty: neither has a boundary
        ("### ###", "... ...", 0.0, 1.0),
        ("### ###", "### ###", 1.0, 1.0),
        # a boundary in one alone
        ("#.. ...", "... ...", 0.0, 0.0),
        ("... ...", "#.. ...", 0.0, 0.0),
        ("### ###", "#.. ...", 1 / 6, 0.0),
        # opposite corners: boundaries (0, 0) and (1, 1) (1, 2) (2, 1), the nearest a diagonal apart with radius 1
        ("#.. ... ...", "... ... ..#", 0.0, 0.0),
        # boundaries (0, 0) and (0, 0) (0, 1) (1, 0) (1, 1), of which all but the last are near: precision 1, recall 3/4
        ("#.. ... ...", "... .#. ...", 0.0, 6 / 7),
    ],
)
def test_tiny_masks(prediction: str, truth: str, J: float, F: float) -> None:
    assert score_frame(mask_from(prediction), mask_from(truth)) == FrameScore(J, F)


def test_lone_pixels_of_large_frames() -> None:
    """Boundary of a pixel is the 2x2 block that ends in it; inside a corner of the image less of it is left."""
    first, last = rectangle((480, 848), 0, 0, 1, 1), rectangle((480, 848), 479, 847, 1, 1)
    middle = rectangle((480, 848), 240, 424, 1, 1)
    empty = np.zeros((480, 848), np.bool_)
    for mask in (first, last, middle):
        assert score_frame(mask, mask) == FrameScore(1.0, 1.0)
        assert score_frame(empty, mask) == score_frame(mask, empty) == FrameScore(0.0, 0.0)
        assert score_frame(~mask, ~mask) == FrameScore(1.0, 1.0)
        # the same boundary, nothing in common
        assert score_frame(~mask, mask) == FrameScore(0.0, 1.0)
    assert score_frame(first, last) == FrameScore(0.0, 0.0)


@pytest.mark.parametrize("shape", [(480, 848), (2160, 3840)])
def test_match_is_a_euclidean_disk(shape: tuple[int, int]) -> None:
    """Every offset of one pixel from another up to just beyond the radius, where bands of the packed image meet."""
    radius = boundary_radius(*shape)
    for down in range(0, radius + 3, 1 if radius < 10 else 5):
        for right in range(-radius - 2, radius + 3, 1 if radius < 10 else 3):
            truth, prediction = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
            truth[101, 200] = prediction[101 + down, 200 + right] = True
            score = score_frame(prediction, truth)
            assert oracle_of_pixels((down, right), radius) == score.F


def oracle_of_pixels(offset: tuple[int, int], radius: int) -> float:
    block = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], dtype=np.int64)
    # the two blocks have the same shape, so precision and recall are the same
    return count_near(block + np.array(offset), block, radius) / 4


@pytest.mark.parametrize("radius", [*range(1, 41), 71])
def test_euclidean_disk_is_the_structuring_element(radius: int) -> None:
    """What the oracle calls near is what the element used by the official evaluator covers."""
    morphology = pytest.importorskip("skimage.morphology", reason="scikit-image is not installed")
    offsets = np.arange(-radius, radius + 1)
    np.testing.assert_array_equal(morphology.disk(radius) > 0, offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2)


# --- any masks, against the oracle

sides = st.one_of(st.integers(1, 24), st.sampled_from(BAND_SIDES))
densities = st.sampled_from((0.0, 0.002, 0.05, 0.5, 0.95, 1.0))


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int]) -> Mask:
    """Noise, or rectangles laid over each other so that where two overlap there is a hole."""
    if draw(st.booleans()):
        seed = draw(st.integers(0, 2**32 - 1))
        return np.asarray(np.random.default_rng(seed).random(shape) < draw(densities))
    mask = np.zeros(shape, np.bool_)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        mask ^= rectangle(shape, top, left, draw(st.integers(1, shape[0])), draw(st.integers(1, shape[1])))
    return mask


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = (draw(sides), draw(sides))
    truth = draw(masks(shape))
    kind = draw(st.sampled_from(("other", "moved", "inverted")))
    if kind == "other":
        return draw(masks(shape)), truth
    if kind == "moved":
        return np.roll(truth, (draw(st.integers(-4, 4)), draw(st.integers(-4, 4))), axis=(0, 1)), truth
    return ~truth, truth


@st.composite
def pairs_in_large_frames(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """A pair as above somewhere in a frame whose radius is larger than the pair, often at an edge."""
    frame = draw(st.sampled_from(((480, 848), (848, 480), (720, 1280), (1080, 1920), (129, 5000), (5000, 129), (2161, 3841))))
    prediction, truth = draw(mask_pairs())
    top, left = (min(draw(st.sampled_from((0, 1, 60, 5000))), frame[axis] - truth.shape[axis]) for axis in (0, 1))
    placed = np.zeros((2, *frame), np.bool_)
    inside = np.s_[top : top + truth.shape[0], left : left + truth.shape[1]]
    # the two apart by up to a radius, as far as the frame reaches
    away = draw(st.integers(0, min(boundary_radius(*frame) + 2, frame[1] - left - truth.shape[1])))
    placed[0][inside] = prediction
    placed[1][inside] = truth
    return np.roll(placed[0], away, axis=1), placed[1]


@settings(max_examples=400, deadline=None)
@given(mask_pairs())
def test_equals_the_oracle(pair: tuple[Mask, Mask]) -> None:
    prediction, truth = pair
    assert score_frame(prediction, truth) == oracle(prediction, truth)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pairs_in_large_frames())
def test_equals_the_oracle_in_large_frames(pair: tuple[Mask, Mask]) -> None:
    prediction, truth = pair
    assert score_frame(prediction, truth) == oracle(prediction, truth)


def test_any_memory_layout() -> None:
    rng = np.random.default_rng(5)
    prediction, truth = rng.random((2, 70, 90)) < 0.02
    expected = oracle(prediction, truth)
    spread = np.zeros((140, 270), np.bool_)
    spread[::2, ::3] = truth
    sealed = truth.copy()
    sealed.flags.writeable = False
    for same in (np.asfortranarray(truth), spread[::2, ::3], truth[::-1].copy()[::-1], sealed):
        before = same.copy()
        assert score_frame(prediction, same) == expected
        assert score_frame(same, prediction) == expected
        np.testing.assert_array_equal(same, before)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.bool_), "prediction is uint8, not bool"),
        (np.zeros((4, 5), np.bool_), np.zeros((4, 5), np.float32), "truth is float32, not bool"),
        (np.zeros((4, 5), np.bool_), np.zeros((5, 4), np.bool_), r"\(4, 5\) and the truth \(5, 4\); resize"),
        (np.zeros((1, 4, 5), np.bool_), np.zeros((1, 4, 5), np.bool_), r"prediction has shape \(1, 4, 5\)"),
        (np.zeros((4, 5), np.bool_), np.zeros((4,), np.bool_), r"truth has shape \(4,\)"),
        (np.zeros((0, 5), np.bool_), np.zeros((0, 5), np.bool_), "at least one pixel"),
    ],
)
def test_refused_masks(prediction: npt.NDArray[Any], truth: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_frame(prediction, truth)
    scorer = ObjectScorer()
    with pytest.raises(ValueError, match=message):
        scorer.feed_frame(prediction, truth)
    assert scorer.conclude() is None


# --- objects and datasets

EMPTY = np.zeros((100, 100), np.bool_)
SQUARE = rectangle((100, 100), 20, 20, 10, 10)
SHIFTED = rectangle((100, 100), 20, 25, 10, 10)


def test_frames_before_the_object_appears_are_not_scored() -> None:
    scorer = ObjectScorer()
    frames = [
        (EMPTY, EMPTY, None),
        # the prediction alone makes the object appear
        (SQUARE, EMPTY, FrameScore(0.0, 0.0)),
        # and from then on nothing against nothing is right
        (EMPTY, EMPTY, FrameScore(1.0, 1.0)),
        (EMPTY, SQUARE, FrameScore(0.0, 0.0)),
        (SHIFTED, SQUARE, FrameScore(1 / 3, 0.5)),
        (SQUARE, SQUARE, FrameScore(1.0, 1.0)),
        (EMPTY, EMPTY, FrameScore(1.0, 1.0)),
    ]
    for prediction, truth, score in frames:
        assert scorer.feed_frame(prediction, truth) == score
    J, F = (3 + 1 / 3) / 6, 3.5 / 6
    concluded = scorer.conclude()
    assert concluded is not None
    assert (concluded.J, concluded.F, concluded.JandF) == pytest.approx((J, F, (J + F) / 2))
    assert concluded.frames_scored == 6


def test_object_that_is_in_no_truth_has_no_score() -> None:
    scorer = ObjectScorer()
    assert scorer.conclude() is None
    scorer.feed_frame(EMPTY, EMPTY)
    scorer.feed_frame(SQUARE, EMPTY)
    assert scorer.conclude() is None
    # frames before count once it has appeared
    scorer.feed_frame(SQUARE, SQUARE)
    assert scorer.conclude() == ObjectScore(J=0.5, F=0.5, JandF=0.5, frames_scored=2)


def test_first_and_last_annotated_frame_are_left_out() -> None:
    assert list(frames_to_score([0, 4, 8, 12])) == [4, 8]
    assert frames_to_score(("00000.png", "00004.png", "00008.png")) == ("00004.png",)
    assert list(frames_to_score([0, 4])) == list(frames_to_score([0])) == list(frames_to_score([])) == []


def test_dataset_means_take_each_object_once() -> None:
    scores = [
        ObjectScore(J=1.0, F=0.5, JandF=0.75, frames_scored=100),
        ObjectScore(J=0.5, F=0.0, JandF=0.25, frames_scored=1),
        ObjectScore(J=0.0, F=0.25, JandF=0.125, frames_scored=7),
        ObjectScore(J=0.5, F=0.25, JandF=0.375, frames_scored=7),
    ]
    means = dataset_means(iter(scores))
    assert (means.J, means.F, means.JandF, means.objects) == (0.5, 0.25, 0.375, 4)
    assert (means.J_percent, means.F_percent, means.JandF_percent) == (50.0, 25.0, 37.5)
    with pytest.raises(ValueError, match="no object was scored"):
        dataset_means([])


# --- real masks


def test_real_masks_equal_the_oracle() -> None:
    pairs = list(real_pairs(every=17))
    assert len(pairs) >= 100
    nontrivial = 0
    for prediction, truth in pairs:
        score = score_frame(prediction, truth)
        assert score == oracle(prediction, truth)
        nontrivial += 0 < score.J < 1 and 0 < score.F < 1
    assert nontrivial > 40
