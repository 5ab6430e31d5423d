"""The baselines on clips whose motion is known to the pixel, and on real ones where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from runners import RUNNERS
from runners.base import BuildOptions, Clip, Frame, Masks, Prompt, RunnerError, VideoRunner
from runners.baselines import EmptyRunner, FlowRunner, StaticRunner
from savbench.data.dataset import open_split
from savbench.finish.metrics import ObjectScorer, frames_to_score

DAVIS = Path(__file__).parents[3] / "shared/data/davis_sav"
HEIGHT, WIDTH, FRAMES = 160, 200, 9
SQUARE = 80
BOTH = pytest.mark.parametrize("runner_class", [StaticRunner, FlowRunner])

BoolMask = npt.NDArray[np.bool_]


def _texture(height: int, width: int, seed: int) -> Frame:
    """Noise that is smooth enough to be followed and nowhere flat."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 6.0)
    low, high = smooth.min(), smooth.max()
    return np.asarray((smooth - low) / (high - low) * 255, np.uint8)


def _moving_square(number: int) -> tuple[Frame, BoolMask]:
    """A textured square that moves by (3, 2) a frame over a textured background that stands still."""
    frame_hwc = _texture(HEIGHT, WIDTH, 0)
    top, left = 20 + 2 * number, 30 + 3 * number
    frame_hwc[top : top + SQUARE, left : left + SQUARE] = _texture(SQUARE, SQUARE, 1)
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[top : top + SQUARE, left : left + SQUARE] = True
    return frame_hwc, mask_hw


def _panning(number: int) -> tuple[Frame, BoolMask]:
    """The same square on a scene that moves as a whole, as before a camera that pans, by (3, 2) a frame."""
    dx, dy = 3 * number, 2 * number
    frame_hwc = _texture(HEIGHT + 40, WIDTH + 40, 2)[40 - dy :, 40 - dx :][:HEIGHT, :WIDTH]
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[20 + dy : 20 + dy + SQUARE, 30 + dx : 30 + dx + SQUARE] = True
    return np.ascontiguousarray(frame_hwc), mask_hw


def _mask_prompt(mask_hw: BoolMask, object_id: int = 1) -> Prompt:
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def _open(runner: VideoRunner, first_frame_hwc: Frame, name: str = "clip", frames: int = FRAMES) -> None:
    height, width = first_frame_hwc.shape[:2]
    runner.open(Clip(name, frames, height, width), first_frame_hwc)


def _follow(runner: VideoRunner, scene: Callable[[int], tuple[Frame, BoolMask]] = _moving_square) -> list[BoolMask]:
    first, mask = scene(0)
    _open(runner, first)
    masks = [runner.prompt(0, first, [_mask_prompt(mask)])]
    masks += [runner.track(number, scene(number)[0]) for number in range(1, FRAMES)]
    runner.close()
    return [masks_nhw[0] for masks_nhw in masks]


def _iou(a: BoolMask, b: BoolMask) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_static_gives_the_prompted_mask_on_every_frame() -> None:
    mask = _moving_square(0)[1]

    for predicted in _follow(StaticRunner(BuildOptions())):
        np.testing.assert_array_equal(predicted, mask)


def test_flow_follows_a_pan_to_within_a_pixel_of_the_edge() -> None:
    one_pixel = np.ones((3, 3), np.uint8)
    for number, predicted in enumerate(_follow(FlowRunner(BuildOptions()), _panning)):
        truth = _panning(number)[1].astype(np.uint8)
        surely, possibly = np.asarray(cv2.erode(truth, one_pixel)) > 0, np.asarray(cv2.dilate(truth, one_pixel)) > 0
        assert predicted[surely].all(), f"frame {number}: a hole"
        assert not predicted[~possibly].any(), f"frame {number}: beyond the square"


def test_a_mask_that_moves_by_parts_of_a_pixel_neither_shrinks_nor_grows() -> None:
    def drifting(number: int) -> tuple[Frame, BoolMask]:
        shift = np.array([[1, 0, 0.4 * number], [0, 1, 0.3 * number]])
        # the margin keeps what comes in from outside of the texture out of the picture
        wide = cv2.warpAffine(_texture(HEIGHT + 20, WIDTH + 20, 2), shift, (WIDTH + 20, HEIGHT + 20))
        return np.ascontiguousarray(np.asarray(wide, np.uint8)[10:-10, 10:-10]), _moving_square(0)[1]

    areas = [int(mask_hw.sum()) for mask_hw in _follow(FlowRunner(BuildOptions()), drifting)]

    # a row or a column of the square is 80 of its 6400 pixels
    assert max(abs(area - 80 * 80) for area in areas) <= 120


def test_flow_beats_static_by_far_where_the_object_moves() -> None:
    # after 8 frames the square has moved by 24 and 16 pixels: the two overlap in 56 x 64 of 80 x 80
    truth = _moving_square(FRAMES - 1)[1]
    overlap = 56 * 64 / (2 * 80 * 80 - 56 * 64)

    assert _iou(_follow(StaticRunner(BuildOptions()))[-1], truth) == pytest.approx(overlap)
    # not 1: what the square uncovers was nowhere before, and the flow there drags a part of the mask along
    assert _iou(_follow(FlowRunner(BuildOptions()))[-1], truth) > 0.75


def test_flow_leaves_still_frames_alone() -> None:
    frame, mask = _moving_square(0)
    runner = FlowRunner(BuildOptions())
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(mask)])

    for number in range(1, 4):
        np.testing.assert_array_equal(runner.track(number, frame)[0], mask)


def test_flow_gives_the_same_masks_again_and_whatever_the_number_of_threads() -> None:
    threads = cv2.getNumThreads()
    runner = FlowRunner(BuildOptions())
    try:
        cv2.setNumThreads(1)
        alone = _follow(runner)
        cv2.setNumThreads(3)
        np.testing.assert_array_equal(_follow(runner), alone)
    finally:
        cv2.setNumThreads(threads)


@BOTH
def test_masks_are_the_callers_to_keep(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frame, mask = _moving_square(0)
    runner = runner_class(BuildOptions())
    _open(runner, frame)
    given = mask.copy()
    first = runner.prompt(0, frame, [_mask_prompt(given)])
    given[:] = False
    np.testing.assert_array_equal(first[0], mask)
    kept = runner.track(1, frame)
    first[:] = False
    kept_before = kept.copy()
    after = runner.track(2, frame)

    assert first.dtype == kept.dtype == np.bool_
    np.testing.assert_array_equal(kept, kept_before)
    np.testing.assert_array_equal(after[0], mask)


@BOTH
def test_an_object_added_later_joins_those_that_are_tracked(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frames = [_moving_square(number) for number in range(4)]
    other = np.zeros((HEIGHT, WIDTH), np.bool_)
    other[125:150, 10:100] = True  # background, which stands still
    together, alone = runner_class(BuildOptions()), runner_class(BuildOptions())
    for runner in (together, alone):
        _open(runner, frames[0][0])
        runner.prompt(0, frames[0][0], [_mask_prompt(frames[0][1], object_id=7)])
    expected = [alone.track(number, frames[number][0])[0] for number in (1, 2, 3)]

    tracked: list[Masks] = [together.track(1, frames[1][0])]
    tracked.append(together.prompt(2, frames[2][0], [_mask_prompt(other, object_id=3)]))
    tracked.append(together.track(3, frames[3][0]))

    assert [len(masks_nhw) for masks_nhw in tracked] == [1, 2, 2]
    np.testing.assert_array_equal([masks_nhw[0] for masks_nhw in tracked], expected)
    np.testing.assert_array_equal(tracked[1][1], other)
    assert _iou(tracked[2][1], other) > 0.95


@BOTH
def test_several_objects_come_in_the_order_they_were_prompted(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frame, square = _moving_square(0)
    strip = np.zeros((HEIGHT, WIDTH), np.bool_)
    strip[:10] = True
    runner = runner_class(BuildOptions())
    _open(runner, frame)

    masks_nhw = runner.prompt(0, frame, [_mask_prompt(square, object_id=9), _mask_prompt(strip, object_id=2)])

    np.testing.assert_array_equal(masks_nhw, [square, strip])
    np.testing.assert_array_equal(runner.track(1, frame), [square, strip])


@BOTH
def test_an_object_prompted_again_gets_the_new_mask_in_its_old_place(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frame, square = _moving_square(0)
    runner = runner_class(BuildOptions())
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(square, object_id=1), _mask_prompt(square, object_id=2)])

    masks_nhw = runner.prompt(1, frame, [_mask_prompt(~square, object_id=1)])

    np.testing.assert_array_equal(masks_nhw, [~square, square])


@BOTH
def test_a_prompt_on_a_later_frame_starts_there(runner_class: type[StaticRunner | FlowRunner]) -> None:
    runner = runner_class(BuildOptions())
    _open(runner, _moving_square(0)[0])
    frame, mask = _moving_square(5)

    np.testing.assert_array_equal(runner.prompt(5, frame, [_mask_prompt(mask)])[0], mask)
    np.testing.assert_array_equal(runner.track(6, frame)[0], mask)


@BOTH
def test_a_clip_leaves_nothing_to_the_next_one(runner_class: type[StaticRunner | FlowRunner]) -> None:
    runner, fresh = runner_class(BuildOptions()), runner_class(BuildOptions())
    _follow(runner)
    first = _texture(60, 90, 5)
    second = np.roll(first, 2, axis=1)
    mask = np.zeros((60, 90), np.bool_)
    mask[20:40, 30:60] = True

    results = []
    for each in (runner, fresh):
        _open(each, first, "smaller")
        each.prompt(0, first, [_mask_prompt(mask)])
        results.append(each.track(1, second))

    np.testing.assert_array_equal(results[0], results[1])


@BOTH
def test_what_was_applied_and_the_parts_of_a_call(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frame, mask = _moving_square(0)
    runner = runner_class(BuildOptions(device="cuda:0", imgsz=1024, seed=3))
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(mask)])
    runner.track(1, frame)

    report = runner.inspect()

    assert (runner.applied.device, runner.applied.imgsz, runner.applied.weights, runner.applied.parameters) == ("cpu", None, "none", 0)
    assert set(report.parts_ms) == {"preprocess_ms", "model_ms", "output_ms"}
    assert all(ms >= 0 for ms in report.parts_ms.values())
    assert report.finite
    runner.close()
    runner.close()
    assert not runner.inspect().parts_ms


@BOTH
def test_calls_that_cannot_be_answered_say_why(runner_class: type[StaticRunner | FlowRunner]) -> None:
    frame, mask = _moving_square(0)
    runner = runner_class(BuildOptions())
    with pytest.raises(RunnerError, match="call open first"):
        runner.prompt(0, frame, [_mask_prompt(mask)])
    _open(runner, frame)
    with pytest.raises(RunnerError, match="prompt an object before tracking"):
        runner.track(1, frame)
    with pytest.raises(RunnerError, match="at least one prompt"):
        runner.prompt(0, frame, [])
    with pytest.raises(RunnerError, match=r"mask of object 1 has shape \(5, 5\), the clip needs \(160, 200\)"):
        runner.prompt(0, frame, [_mask_prompt(np.ones((5, 5), np.bool_))])
    runner.prompt(4, frame, [_mask_prompt(mask)])
    with pytest.raises(RunnerError, match="seen already"):
        runner.track(4, frame)
    with pytest.raises(RunnerError, match="rising order"):
        runner.track(3, frame)
    with pytest.raises(RunnerError, match="frame 5 has shape"):
        runner.track(5, frame[:-1])


@BOTH
@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(1, "points", points_n2=np.array([[3, 4]], np.float32)),
        Prompt(1, "bbox", box_4=np.array([3, 4, 5, 6], np.float32)),
    ],
    ids=lambda prompt: prompt.kind,
)
def test_prompts_other_than_masks_are_refused(runner_class: type[StaticRunner | FlowRunner], prompt: Prompt) -> None:
    frame = _moving_square(0)[0]
    runner = runner_class(BuildOptions())
    _open(runner, frame)

    with pytest.raises(RunnerError, match=r"(static|flow) accepts only the mask prompt; use \1_mask"):
        runner.prompt(0, frame, [prompt])


@pytest.mark.parametrize(("height", "width"), [(15, 90), (90, 15), (1, 1)])
def test_frames_too_small_for_the_flow_are_refused_before_tracking(height: int, width: int) -> None:
    with pytest.raises(RunnerError, match=f"at least 16x16 pixels, clip has {height}x{width}"):
        _open(FlowRunner(BuildOptions()), np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 45), (46, 16), (16, 700), (700, 16)])
def test_the_smallest_frames_that_are_taken_can_be_tracked(height: int, width: int) -> None:
    frame = _texture(height, width, 0)
    mask = np.ones((height, width), np.bool_)
    runner = FlowRunner(BuildOptions())
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(mask)])

    np.testing.assert_array_equal(runner.track(1, frame)[0], mask)
    assert runner.inspect().finite


def test_a_small_clip_does_not_change_the_flow_of_the_next_one() -> None:
    runner = FlowRunner(BuildOptions())
    expected = _follow(runner)
    frame = _texture(20, 24, 0)
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(np.ones((20, 24), np.bool_))])
    runner.track(1, frame)

    np.testing.assert_array_equal(_follow(runner), expected)


def test_a_flow_that_is_not_finite_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def calc(self, *_: object) -> npt.NDArray[np.float32]:
            flow_hw2 = np.zeros((HEIGHT, WIDTH, 2), np.float32)
            flow_hw2[5, 6, 0] = np.nan
            return flow_hw2

    frame, mask = _moving_square(0)
    runner = FlowRunner(BuildOptions())
    _open(runner, frame)
    runner.prompt(0, frame, [_mask_prompt(mask)])
    assert runner.inspect().finite
    monkeypatch.setattr(runner, "_dis", Broken())
    runner.track(1, frame)

    assert not runner.inspect().finite


def test_an_empty_mask_is_returned_on_every_frame_and_for_every_object() -> None:
    frame, square = _moving_square(0)
    runner = EmptyRunner(BuildOptions())
    _open(runner, frame)

    masks_nhw = runner.prompt(0, frame, [_mask_prompt(square, object_id=1), _mask_prompt(square, object_id=2)])

    for returned_nhw in (masks_nhw, runner.track(1, frame)):
        assert returned_nhw.shape == (2, HEIGHT, WIDTH)
        assert not returned_nhw.any()


@pytest.mark.parametrize("name", ["empty", "static", "flow"])
def test_the_registry_builds_them(name: str) -> None:
    runner = RUNNERS[name].build(BuildOptions())

    assert RUNNERS[name].prompts == ("mask",)
    assert runner.applied.weights == "none"


@pytest.mark.skipif(not DAVIS.is_dir(), reason=f"no real clips at {DAVIS}")
@pytest.mark.parametrize(
    ("name", "video_name", "at_least"),
    [
        ("static", "blackswan", (0.528, 0.309)),
        ("static", "dog", (0.326, 0.171)),
        ("flow", "dog", (0.6, 0.48)),
    ],
)
def test_real_clips_score_as_known(name: str, video_name: str, at_least: tuple[float, float]) -> None:
    video = open_split(DAVIS).video(video_name)
    annotations = dict(video.object("000").annotations)
    runner = RUNNERS[name].build(BuildOptions())
    reader = video.frames.reader()
    first = reader.read(0)
    _open(runner, first, video_name, len(video.frames))
    predicted = {0: runner.prompt(0, first, [_mask_prompt(annotations[0].read())])[0]}
    for index in range(1, len(video.frames)):
        predicted[index] = runner.track(index, reader.read(index))[0]
    scorer = ObjectScorer()
    for index in frames_to_score(sorted(annotations)):
        scorer.feed_frame(predicted[index], annotations[index].read())
    score = scorer.conclude()

    assert score is not None
    assert at_least[0] <= score.J < at_least[0] + 0.06
    assert at_least[1] <= score.F < at_least[1] + 0.06
