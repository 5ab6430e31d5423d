"""Frame skipping around runners whose masks are known by heart, and around sam2_nano."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import Applied, BuildOptions, Clip, CompileReport, Frame, FrameReport, Masks, Prompt, RunnerError
from runners.baselines import StaticRunner
from runners.keyframe import KeyframeRunner

HEIGHT, WIDTH = 40, 60
BoolMask = npt.NDArray[np.bool_]


class Numbered:
    """A model whose masks show the number that it has of the frame, as that many pixels of the object's row."""

    applied = Applied(implementation="numbered", device="cpu", imgsz=None, weights="none", notes=("first",))

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inspected = 0
        self._objects: list[int] = []
        self._index = 0

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.calls.append(f"open {clip.frame_files}")
        self._objects = []

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self.calls.append(f"prompt {frame_index}")
        self._objects += [prompt.object_id for prompt in prompts]
        return self._masks(frame_index)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self.calls.append(f"track {frame_index}")
        return self._masks(frame_index)

    def _masks(self, frame_index: int) -> Masks:
        self._index = frame_index
        masks_nhw = np.zeros((len(self._objects), HEIGHT, WIDTH), np.bool_)
        for row, object_id in enumerate(self._objects):
            masks_nhw[row, object_id, : frame_index + 1] = True
        return masks_nhw

    def inspect(self) -> FrameReport:
        self.inspected += 1
        stages_ms = {"image_encoder": 5.0, "memory_attention": 2.0, "resize_copy": 1.0, "other": 0.5}
        compiled = CompileReport("default", graphs=3)
        return FrameReport({"model_ms": 7.0}, stages_ms=stages_ms, object_scores=(float(self._index),), compiled=compiled, resize="pillow")

    def close(self) -> None:
        self.calls.append("close")


def frame(number: int = 0) -> Frame:
    return np.full((HEIGHT, WIDTH, 3), number, np.uint8)


def prompt(object_id: int = 1) -> Prompt:
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[object_id] = True
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def shown(masks_nhw: Masks) -> list[int]:
    """The number of pixels of each object."""
    return [int(mask_hw.sum()) for mask_hw in masks_nhw]


def opened(keyframe: str, frames: int = 12, *, stages: bool = False) -> tuple[KeyframeRunner, Numbered]:
    model = Numbered()
    runner = KeyframeRunner(model, keyframe, stages=stages)
    runner.open(Clip("clip", frames, HEIGHT, WIDTH, (Path("0.jpg"),)), frame())
    model.calls.clear()
    return runner, model


def test_the_model_sees_every_third_frame_numbered_without_gaps_and_the_masks_are_held_between() -> None:
    runner, model = opened("3:hold")
    masks = [shown(runner.prompt(0, frame(), [prompt()]))]
    kinds = [runner.inspect().kind]
    for index in range(1, 8):
        masks.append(shown(runner.track(index, frame())))
        kinds.append(runner.inspect().kind)
    assert model.calls == ["prompt 0", "track 1", "track 2"]
    assert masks == [[1], [1], [1], [2], [2], [2], [3], [3]]
    assert kinds == ["key", "between", "between", "key", "between", "between", "key", "between"]


def test_a_late_prompt_makes_its_frame_a_key_frame_and_the_count_starts_there() -> None:
    runner, model = opened("4:hold")
    runner.prompt(2, frame(), [prompt()])  # the clip's frames 0 and 1 precede the first prompt
    assert shown(runner.track(3, frame())) == [3]
    assert shown(runner.prompt(4, frame(), [prompt(2)])) == [4, 4]
    between = [shown(runner.track(index, frame())) for index in (5, 6, 7)]
    assert between == [[4, 4]] * 3
    assert shown(runner.track(8, frame())) == [5, 5]
    assert model.calls == ["prompt 2", "prompt 3", "track 4"]


def test_two_prompts_on_one_frame_are_one_frame_to_the_model() -> None:
    runner, model = opened("2:hold")
    for object_id in (1, 2):
        runner.prompt(0, frame(), [prompt(object_id)])
    assert shown(runner.track(1, frame())) == [1, 1]
    runner.track(2, frame())
    assert model.calls == ["prompt 0", "prompt 0", "track 1"]


def test_a_clip_starts_anew_whatever_the_last_one_left() -> None:
    runner, model = opened("3:hold")
    runner.prompt(0, frame(), [prompt()])
    runner.track(1, frame())
    runner.open(Clip("next", 9, HEIGHT, WIDTH), frame())
    model.calls.clear()
    with pytest.raises(RunnerError, match="prompt an object before tracking"):
        runner.track(0, frame())
    runner.prompt(0, frame(), [prompt()])
    assert runner.inspect().kind == "key"
    for index in (1, 2, 3):
        runner.track(index, frame())
    assert model.calls == ["prompt 0", "track 1"]


def test_reports_of_both_kinds() -> None:
    runner, model = opened("2:hold", stages=True)
    runner.prompt(0, frame(), [prompt()])
    assert model.inspected == 0, "the model reads its tensors for a report, which is not part of the call"
    key = runner.inspect()
    runner.track(1, frame())
    between = runner.inspect()
    assert (key.object_scores, key.stages_ms["image_encoder"], key.parts_ms) == ((0.0,), 5.0, {"model_ms": 7.0})
    assert between.object_scores == ()
    assert list(between.stages_ms) == list(key.stages_ms), "stages of a row are means over the same frames and sum to the latency"
    assert between.stages_ms["image_encoder"] == between.stages_ms["memory_attention"] == 0
    assert (between.compiled, between.resize) == (key.compiled, "pillow"), "of the model, also on a clip's last frame"
    assert model.inspected == 1


def test_what_was_built_is_told_with_what_lies_between() -> None:
    runner, _ = opened("4:flow")
    assert runner.applied.implementation == "numbered"
    first, note = runner.applied.notes
    assert first == "first"
    assert note.startswith(
        "the model runs on one of 4 frames fed and on prompted ones, so its memory holds frames that far apart; between: "
    )
    assert "DIS optical flow" in note


def test_files_of_frames_are_not_passed_on_since_the_model_does_not_see_all_of_them() -> None:
    for keyframe, told in (("1:hold", "open (PosixPath('0.jpg'),)"), ("2:hold", "open None")):
        model = Numbered()
        KeyframeRunner(model, keyframe).open(Clip("clip", 4, HEIGHT, WIDTH, (Path("0.jpg"),)), frame())
        assert model.calls == ["close", told]


def test_flow_refuses_frames_that_are_too_small_when_the_clip_is_opened() -> None:
    with pytest.raises(RunnerError, match="at least 16x16"):
        KeyframeRunner(Numbered(), "2:flow").open(Clip("clip", 4, 8, 8), np.zeros((8, 8, 3), np.uint8))


def _scene(number: int) -> tuple[Frame, BoolMask]:
    """A textured square that moves by (3, 2) a frame over a textured background."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 20, 25, 3), np.uint8)
    background, square = (np.kron(part, np.ones((8, 8, 1), np.uint8)) for part in coarse)
    frame_hwc = background.copy()
    top, left = 20 + 2 * number, 30 + 3 * number
    frame_hwc[top : top + 72, left : left + 72] = square[:72, :72]
    mask_hw = np.zeros(frame_hwc.shape[:2], np.bool_)
    mask_hw[top : top + 72, left : left + 72] = True
    return frame_hwc, mask_hw


def test_flow_moves_the_models_masks_and_every_key_frame_starts_it_anew() -> None:
    """Around the static baseline: its key frames fall back to the prompt, and the flow carries that mask from there."""
    predicted = {}
    for between in ("flow", "hold"):
        runner = KeyframeRunner(StaticRunner(BuildOptions()), f"3:{between}")
        first_hwc, mask_hw = _scene(0)
        runner.open(Clip("clip", 6, *mask_hw.shape), first_hwc)
        masks = [runner.prompt(0, first_hwc, [Prompt(1, "mask", mask_hw=mask_hw)])]
        masks += [runner.track(number, _scene(number)[0]) for number in range(1, 6)]
        predicted[between] = [one[0] for one in masks]
    for number in (0, 3):
        np.testing.assert_array_equal(predicted["flow"][number], _scene(0)[1])
    for number, moved_by in ((1, 1), (2, 2), (4, 1), (5, 2)):
        truth = np.roll(_scene(0)[1], (2 * moved_by, 3 * moved_by), (0, 1))
        flow_iou, hold_iou = (
            float((predicted[of][number] & truth).sum() / (predicted[of][number] | truth).sum()) for of in ("flow", "hold")
        )
        assert flow_iou > hold_iou, (number, flow_iou, hold_iou)


@pytest.fixture(scope="module")
def nano_clip() -> list[Frame]:
    return [_scene(number)[0] for number in range(7)]


def _nano_masks(keyframe: str, wrap: str, clip: list[Frame], prompt_at: int = 0, frames: int = 7) -> list[Masks]:
    pytest.importorskip("sam2", reason="needs sam2")
    spec = RUNNERS["sam2_nano"]
    runner = spec.build(BuildOptions(config=spec.config, imgsz=96, weights=SHIPPED_WEIGHTS / "sam2_nano.pt", keyframe=keyframe))
    if wrap:
        runner = KeyframeRunner(runner, wrap)
    runner.open(Clip("clip", frames, *clip[0].shape[:2]), clip[0])
    masks = [runner.prompt(prompt_at, clip[prompt_at], [Prompt(1, "mask", mask_hw=_scene(prompt_at)[1])])]
    masks += [runner.track(number, clip[number]) for number in range(prompt_at + 1, len(clip))]
    runner.close()
    return masks


def test_around_sam2_with_k_1_every_mask_is_the_models_bit_for_bit(nano_clip: list[Frame]) -> None:
    np.testing.assert_array_equal(_nano_masks("", "1:flow", nano_clip, 1), _nano_masks("", "", nano_clip, 1))


def test_around_sam2_key_frames_are_those_of_a_clip_of_key_frames(nano_clip: list[Frame]) -> None:
    skipped = _nano_masks("3:flow", "", nano_clip)
    alone = _nano_masks("", "", nano_clip[::3])
    for number in range(3):
        np.testing.assert_array_equal(skipped[3 * number], alone[number])
    assert any(mask.any() for mask in skipped)
