"""SAMURAI's memory selection: the filter by hand, choices among planted scores, and sam2_nano with and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners import RUNNERS, SHIPPED_WEIGHTS  # noqa: E402
from runners.base import BuildOptions, Clip, Masks, RunnerError  # noqa: E402
from runners.motion_memory import (  # noqa: E402
    LEAST_QUALITY,
    MOTION_WEIGHT,
    STABLE_FRAMES,
    STABLE_QUALITY,
    BoxFilter,
    MotionMemory,
    ObjectMemory,
    box_of,
    iou,
)
from savbench.data.demo.split import make_clip  # noqa: E402
from savbench.data.prompts import make_prompt  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SPEC = RUNNERS["sam2_nano"]
FRAMES = STABLE_FRAMES + 13
HEIGHT, WIDTH = 120, 160


def box(x: float, y: float, width: float = 10, height: float = 20) -> Any:
    return np.array([x, y, width, height], np.float64)


def test_one_step_of_the_filter_as_worked_out_by_hand() -> None:
    """Scale 20: place 2 * 20 / 20 = 2 and speed 10 * 20 / 160 = 1.25 at first; noise of a frame 1 and 0.125, of a measurement 1."""
    follower = BoxFilter(box(50, 60))
    follower.predict()
    assert follower.box.tolist() == [50, 60, 10, 20]
    variance = 2**2 + 1.25**2 + 1**2
    follower.correct(box(53, 60))
    assert follower.box[0] == pytest.approx(50 + 3 * variance / (variance + 1))
    assert follower.speed[0] == pytest.approx(3 * 1.25**2 / (variance + 1))
    assert follower.box[1:].tolist() == [60, 10, 20]
    assert follower.speed[1:].tolist() == [0, 0, 0]


def test_the_filter_learns_a_constant_velocity_and_carries_on() -> None:
    follower = BoxFilter(box(0, 100))
    for step in range(1, 60):
        follower.predict()
        follower.correct(box(4 * step, 100 - step))
    assert follower.speed == pytest.approx([4, -1, 0, 0], abs=0.05)
    for _ in range(5):  # nothing is measured
        follower.predict()
    assert follower.box == pytest.approx([4 * 64, 100 - 64, 10, 20], abs=0.5)


def test_boxes_of_masks_and_their_overlap() -> None:
    mask_hw = np.zeros((30, 40), np.bool_)
    assert box_of(mask_hw) is None
    mask_hw[5:15, 10:30] = True
    assert box_of(mask_hw).tolist() == [20, 10, 20, 10]  # type: ignore[union-attr]
    assert iou(box(10, 10, 20, 20), box(20, 10, 20, 20)) == pytest.approx(200 / 600)
    assert iou(box(10, 10), box(50, 10)) == 0.0
    assert iou(box(10, 10), None) == 0.0
    assert iou(box(10, 10), box(10, 10)) == 1.0


def followed(frames: int) -> ObjectMemory:
    """An object that stood still for so many tracked frames."""
    memory = ObjectMemory(capacity=3)
    memory.begin(box(50, 50))
    for _ in range(frames):
        assert memory.filter is not None
        memory.filter.predict()
        memory.see(0.9, 5.0, None, box(50, 50))
    return memory


def test_motion_decides_between_near_equal_masks_once_the_track_is_stable() -> None:
    qualities, boxes = np.array([0.80, 0.75, 0.10]), [box(90, 50), box(50, 50), None]
    scores, motion = followed(STABLE_FRAMES - 1).weigh(qualities, boxes)
    assert motion is None
    assert scores.argmax() == 0
    scores, motion = followed(STABLE_FRAMES).weigh(qualities, boxes)
    assert motion == [0.0, pytest.approx(1.0, abs=1e-6), 0.0]
    assert scores == pytest.approx([0.85 * 0.80, 0.15 + 0.85 * 0.75, 0.85 * 0.10], abs=1e-6)
    assert scores.argmax() == 1
    assert MOTION_WEIGHT == 0.15


@pytest.mark.parametrize(("quality", "shown"), [(STABLE_QUALITY, box(50, 50)), (0.9, None)])
def test_a_bad_or_empty_mask_breaks_the_track(quality: float, shown: Any) -> None:
    memory = followed(STABLE_FRAMES)
    memory.see(quality, 5.0, None, shown)
    assert memory.unbroken == 0
    assert memory.weigh(np.array([0.5]), [box(50, 50)])[1] is None


def test_frames_are_remembered_by_their_scores_and_the_last_one_is_read_in_any_case() -> None:
    memory = ObjectMemory(capacity=3)
    memory.begin(box(50, 50))
    read = []
    planted: list[tuple[float, float, float | None]] = [
        (0.9, 5.0, None),  # 0: good
        (LEAST_QUALITY, 5.0, None),  # 1: a mask of low quality
        (0.9, 0.0, None),  # 2: the object is absent
        (0.9, 5.0, 0.0),  # 3: far from where it should be
        (0.9, 5.0, 0.4),  # 4: good
        (0.6, 0.1, 0.1),  # 5: good
        (0.8, 3.0, None),  # 6: good
    ]
    for frame, (quality, presence, motion) in enumerate(planted):
        memory.see(quality, presence, motion, box(50, 50))
        read.append(memory.remembered(frame))
    assert read == [[0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 4, 0], [6, 5, 4]]
    assert memory.remembered(None) == [6, 5, 4], "the frame before was prompted, and is read as such"


def test_a_predictor_without_a_choice_of_masks_is_refused() -> None:
    class Predictor:
        memory_temporal_stride_for_eval = 1
        multimask_output_for_tracking = False

    with pytest.raises(RunnerError, match=r"use a model of SAM 2\.1"):
        MotionMemory(Predictor())


# sam2_nano --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runners() -> dict[str, Any]:
    pytest.importorskip("sam2", reason="needs sam2")
    assert SPEC.checkpoint is not None
    weights = SHIPPED_WEIGHTS / SPEC.checkpoint

    def build(selection: Any) -> Any:
        return SPEC.build(BuildOptions(device="cpu", imgsz=SPEC.imgsz, config=SPEC.config, weights=weights, memory_selection=selection))

    return {selection: build(selection) for selection in ("latest", "samurai")}


@pytest.fixture(scope="module")
def drawn() -> Any:
    return make_clip(6, FRAMES, HEIGHT, WIDTH, roles=("stay", "stay"))


def play(runner: Any, drawn: Any, late: int | None = None) -> list[Masks]:
    prompts = {0: [make_prompt("mask", drawn.masks_nthw[0, 0], object_id=1)]}
    if late is not None:
        prompts.setdefault(late, []).append(make_prompt("mask", drawn.masks_nthw[1, late], object_id=2))
    runner.open(Clip("drawn", FRAMES, HEIGHT, WIDTH), drawn.frames_thwc[0])
    return [
        runner.prompt(index, frame, prompts[index]) if index in prompts else runner.track(index, frame)
        for index, frame in enumerate(drawn.frames_thwc)
    ]


def test_until_motion_counts_and_while_all_frames_are_good_masks_are_those_of_the_latest(
    runners: dict[str, Any], drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the predictor is given in place of its own store is then the same, bit for bit; later another mask is chosen."""
    # Motion alone decides: whether a smaller weight changes a choice depends on how the model was trained.
    monkeypatch.setattr("runners.motion_memory.MOTION_WEIGHT", 1.0)
    latest, samurai = (play(runners[selection], drawn, late=0) for selection in ("latest", "samurai"))
    memories = list(runners["samurai"]._motion._memories.values())
    assert [memory.unbroken for memory in memories] == [FRAMES - 1] * 2
    assert all(np.array_equal(a, b) for a, b in zip(latest[: STABLE_FRAMES + 1], samurai[: STABLE_FRAMES + 1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(latest, samurai, strict=True))
    assert all(len(memory._kept) == 6 for memory in memories)
    for runner in runners.values():
        runner.close()
    assert runners["samurai"]._motion._memories == {}


def test_a_frame_that_fails_its_thresholds_is_not_read_again(runners: dict[str, Any], drawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold that nothing reaches only the prompted frame and the last one are read."""
    monkeypatch.setattr("runners.motion_memory.LEAST_QUALITY", 2.0)
    rows: list[int] = []
    attention = runners["samurai"]._predictor.memory_attention
    original = attention.forward

    def counted(**given: Any) -> Any:
        rows.append(len(given["memory"]))
        return original(**given)

    monkeypatch.setattr(attention, "forward", counted)
    play(runners["samurai"], drawn)
    runners["samurai"].close()
    of_a_frame, of_a_pointer = 12 * 12, 3
    assert rows[0] == of_a_frame + of_a_pointer
    assert rows[9] == 2 * of_a_frame + 10 * of_a_pointer


def test_a_late_object_has_a_memory_of_its_own(runners: dict[str, Any], drawn: Any) -> None:
    masks = play(runners["samurai"], drawn, late=4)
    assert masks[-1].shape == (2, HEIGHT, WIDTH)
    assert [memory.unbroken for memory in runners["samurai"]._motion._memories.values()] == [FRAMES - 1, FRAMES - 5]
    assert "masks and memories chosen with motion, as SAMURAI does" in runners["samurai"].applied.notes
    runners["samurai"].close()


def test_other_implementations_refuse_it() -> None:
    with pytest.raises(RunnerError, match="--memory_selection samurai: is done around the official code"):
        SPEC.build(BuildOptions(config=SPEC.config, implementation="transformers", memory_selection="samurai"))
