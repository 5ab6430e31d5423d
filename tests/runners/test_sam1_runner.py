"""The tracker made of SAM v1: the tiny model with random weights end to end, and scripted answers where the masks have to be known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from sam1_reference import HEIGHT, IMGSZ, TINY, WIDTH, BoolMask, make_ours, make_package, rectangle  # noqa: E402

from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, Clip, Frame, Masks, Prompt, RunnerError  # noqa: E402
from runners.sam1.model import ENCODERS  # noqa: E402
from runners.sam1.motion import Motion  # noqa: E402
from runners.sam1.preprocessing import InputFrame  # noqa: E402
from runners.sam1.runner import Sam1Runner  # noqa: E402
from runners.sam1.tracked_object import FOUND_IOU, ModelPrompt, prompt_of_mask  # noqa: E402

FRAMES = 4


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module", autouse=True)
def _tiny_encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "tiny", TINY)
        yield


def options(**changed: Any) -> BuildOptions:
    return BuildOptions(**{"config": "tiny", "device": "cpu", **changed})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("weights") / "sam_vit_tiny.pth"
    torch.save(make_ours().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def runner(checkpoint: Path) -> Sam1Runner:
    return Sam1Runner(options(weights=checkpoint))


def make_frames(count: int = FRAMES, step: int = 4) -> list[Frame]:
    """A red rectangle that moves to the right over still noise."""
    background = np.random.default_rng(0).integers(0, 120, (HEIGHT, WIDTH, 3), np.uint8)
    red = np.array([220, 40, 40], np.uint8)
    return [np.where(rectangle(30 + step * index, 20, 40, 30)[..., None], red, background) for index in range(count)]


PROMPTS = {
    "points": Prompt(1, "points", points_n2=np.array([[50, 35]], np.float32)),
    "clicks": Prompt(1, "points", points_n2=np.array([[50, 35], [40, 30]], np.float32)),
    "bbox": Prompt(1, "bbox", box_4=np.array([30, 20, 69, 49], np.float32)),
    "mask": Prompt(1, "mask", mask_hw=rectangle(30, 20, 40, 30)),
}


def run_clip(runner: Sam1Runner, prompts: list[Prompt], frames: list[Frame] | None = None) -> list[Masks]:
    frames = make_frames() if frames is None else frames
    runner.open(Clip("clip", len(frames), HEIGHT, WIDTH), frames[0])
    return [runner.prompt(0, frames[0], prompts), *(runner.track(index, frames[index]) for index in range(1, len(frames)))]


# The real model -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROMPTS)
def test_masks_at_video_resolution(runner: Sam1Runner, kind: str) -> None:
    masks = run_clip(runner, [PROMPTS[kind]])
    assert [mask.shape for mask in masks] == [(1, HEIGHT, WIDTH)] * FRAMES
    assert all(mask.dtype == np.bool_ for mask in masks)
    report = runner.inspect()
    assert list(report.parts_ms) == ["preprocess_ms", "model_ms", "output_ms"]
    assert all(part > 0 for part in report.parts_ms.values())
    assert report.finite


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox"])
def test_first_answer_is_the_packages(runner: Sam1Runner, kind: str) -> None:
    predictor = pytest.importorskip("segment_anything", reason="needs the package segment-anything").SamPredictor(
        make_package(runner._model)
    )
    frame = make_frames()[0]
    predictor.set_image(frame)
    points, box = PROMPTS[kind].points_n2, PROMPTS[kind].box_4
    labels = None if points is None else np.ones(len(points), np.int32)
    theirs, scores, _ = predictor.predict(points, labels, box, multimask_output=kind == "points")
    assert 0 < theirs[scores.argmax()].mean() < 1  # an empty or full mask would equal anything
    runner.open(Clip("clip", 1, HEIGHT, WIDTH), frame)
    mask_hw = runner.prompt(0, frame, [PROMPTS[kind]])[0]
    # logits within 2e-5 of each other may differ in sign near 0
    assert (mask_hw != theirs[scores.argmax()]).mean() < 1e-3


def test_next_frame_is_asked_with_box_point_and_logits_of_the_last_mask(runner: Sam1Runner) -> None:
    predictor = pytest.importorskip("segment_anything", reason="needs the package segment-anything").SamPredictor(
        make_package(runner._model)
    )
    frames = make_frames()
    masks = run_clip(runner, [PROMPTS["bbox"]], frames[:2])
    predictor.set_image(frames[0])
    _, _, logits = predictor.predict(box=PROMPTS["bbox"].box_4, multimask_output=False)
    carried = prompt_of_mask(masks[0][0], torch.from_numpy(logits))
    predictor.set_image(frames[1])
    theirs, _, _ = predictor.predict(carried.points_n2, np.ones(1, np.int32), carried.box_4, logits, multimask_output=False)
    assert 0 < theirs.mean() < 1
    assert (masks[1][0] != theirs[0]).mean() < 1e-3


def test_a_given_mask_is_reported_as_it_is(runner: Sam1Runner) -> None:
    assert np.array_equal(run_clip(runner, [PROMPTS["mask"]])[0][0], rectangle(30, 20, 40, 30))


def test_a_clip_leaves_nothing_to_the_next(runner: Sam1Runner) -> None:
    first = run_clip(runner, [PROMPTS["mask"]])
    run_clip(runner, [Prompt(1, "mask", mask_hw=rectangle(80, 5, 20, 20))])
    assert np.array_equal(np.stack(first), np.stack(run_clip(runner, [PROMPTS["mask"]])))


def test_objects_share_the_encoding_and_do_not_touch_each_other(runner: Sam1Runner) -> None:
    other = Prompt(2, "bbox", box_4=np.array([80, 5, 100, 30], np.float32))
    alone = [run_clip(runner, [PROMPTS["mask"]]), run_clip(runner, [other])]
    encoded: list[Any] = []
    hook = runner._model.image_encoder.register_forward_pre_hook(lambda *called: encoded.append(called))
    both = run_clip(runner, [PROMPTS["mask"], other])
    hook.remove()
    assert len(encoded) == FRAMES
    for index, masks in enumerate(both):
        for mask, expected in zip(masks, (alone[0][index][0], alone[1][index][0]), strict=True):
            assert (mask != expected).mean() < 1e-3


def test_an_object_may_join_later_and_be_prompted_again(runner: Sam1Runner) -> None:
    frames = make_frames(5)
    runner.open(Clip("clip", 5, HEIGHT, WIDTH), frames[0])
    joined_hw, again_hw = rectangle(80, 5, 20, 20), rectangle(10, 40, 20, 20)
    counts = [len(runner.prompt(0, frames[0], [PROMPTS["mask"]])), len(runner.track(1, frames[1]))]
    masks = runner.prompt(2, frames[2], [Prompt(7, "mask", mask_hw=joined_hw)])
    counts.append(len(masks))
    assert np.array_equal(masks[1], joined_hw)
    assert np.array_equal(runner.prompt(3, frames[3], [Prompt(1, "mask", mask_hw=again_hw)])[0], again_hw)
    counts.append(len(runner.track(4, frames[4])))
    assert counts == [1, 1, 2, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(runner: Sam1Runner, dtype: Any) -> None:
    with torch.amp.autocast("cpu", dtype):
        masks = run_clip(runner, [PROMPTS["points"]])
    assert runner.inspect().finite
    assert runner._outputs[1].dtype == dtype
    assert masks[-1].dtype == np.bool_


@pytest.mark.parametrize("where", ["image_encoder.pos_embed", "mask_decoder.iou_prediction_head.layers.2.bias"])
def test_nan_is_reported(checkpoint: Path, where: str) -> None:
    runner = Sam1Runner(options(weights=checkpoint))
    with torch.no_grad():
        runner._model.get_parameter(where).fill_(float("nan"))
    run_clip(runner, [PROMPTS["bbox"]])
    assert not runner.inspect().finite


@pytest.mark.parametrize("method", ["bias", "augmented", "chunked"])
def test_the_way_attention_is_computed_does_not_change_masks(runner: Sam1Runner, method: str) -> None:
    usual = np.stack(run_clip(runner, [PROMPTS["mask"]]))
    assert 0 < usual[1:].mean() < 1
    try:
        runner.use_attention(method)
        assert (np.stack(run_clip(runner, [PROMPTS["mask"]])) != usual).mean() < 1e-3
    finally:
        runner.use_attention("auto")
    with pytest.raises(ValueError, match="flash: not a way"):
        runner.use_attention("flash")


# Scripted answers: what is carried, lost and found --------------------------------------------------------------------------------------


class Script:
    """Stands in for the decoder: gives the masks and estimates it is told to, and notes what it is asked."""

    def __init__(self, runner: Sam1Runner, answers: list[tuple[BoolMask, float]]) -> None:
        self._where = InputFrame(HEIGHT, WIDTH, IMGSZ)
        self._answers = iter(answers)
        self.asked: list[ModelPrompt] = []

    def __call__(self, embedding: Any, group: list[ModelPrompt]) -> tuple[Any, Any]:
        self.asked += group
        mask_hw, iou = next(self._answers)
        return self._where.logits_of_mask(torch.from_numpy(mask_hw))[None], torch.tensor([[iou]])


@pytest.fixture
def script(runner: Sam1Runner, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[tuple[BoolMask, float]]], Script]:
    def give(answers: list[tuple[BoolMask, float]]) -> Script:
        decoder = Script(runner, answers)
        monkeypatch.setattr(runner, "_decode", decoder)
        return decoder

    return give


NOTHING = np.zeros((HEIGHT, WIDTH), np.bool_)


def test_each_mask_becomes_the_next_prompt(runner: Sam1Runner, script: Callable[..., Script]) -> None:
    decoder = script([(rectangle(32, 20, 40, 28), 0.9), (rectangle(40, 20, 40, 28), 0.1)])
    run_clip(runner, [PROMPTS["bbox"]], make_frames(2))
    first, second = decoder.asked
    assert (first.points_n2, first.logits_1hw) == (None, None)
    assert np.array_equal(first.box_4, PROMPTS["bbox"].box_4)  # type: ignore[arg-type]
    # the mask went through 32 x 32 logits, each of 4 pixels
    assert np.abs(second.box_4 - [32, 20, 71, 47]).max() <= 1  # type: ignore[operator]
    assert second.points_n2 is not None
    (x, y), expected_y = second.points_n2[0], 33.5
    assert 32 + 12 <= x <= 72 - 12
    assert abs(y - expected_y) <= 1.5
    assert second.logits_1hw.shape == (1, 32, 32)  # type: ignore[union-attr]


def test_a_lost_object_is_looked_for_where_it_was_and_found_when_the_model_is_sure(
    runner: Sam1Runner, script: Callable[..., Script]
) -> None:
    seen, back = rectangle(32, 20, 40, 28), rectangle(60, 24, 40, 28)
    answers = [(seen, 0.5), (NOTHING, 0.99), (back, FOUND_IOU - 0.01), (back, float("nan")), (back, FOUND_IOU + 0.01), (back, 0.2)]
    decoder = script(answers)
    masks = run_clip(runner, [PROMPTS["points"]], make_frames(6))
    assert [bool(mask.any()) for mask in masks] == [True, False, False, False, True, True]
    boxes = [None if prompt.box_4 is None else prompt.box_4.tolist() for prompt in decoder.asked]
    # frames 1 to 4 are asked with the mask of frame 0, frame 5 with that of frame 4
    assert boxes[1] == boxes[2] == boxes[3] == boxes[4] != boxes[5]
    assert boxes[0] is None
    assert masks[4][0][28:48, 64:96].all()


def test_an_object_that_was_never_seen_is_asked_for_as_by_the_user(runner: Sam1Runner, script: Callable[..., Script]) -> None:
    decoder = script([(NOTHING, 0.9), (NOTHING, 0.9), (rectangle(32, 20, 40, 28), 0.95)])
    masks = run_clip(runner, [PROMPTS["points"]], make_frames(3))
    assert [bool(mask.any()) for mask in masks] == [False, False, True]
    assert all(np.array_equal(prompt.points_n2, [[50, 35]]) and prompt.is_ambiguous for prompt in decoder.asked)  # type: ignore[arg-type]


def test_one_click_takes_the_best_of_three_masks(runner: Sam1Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    where, masks = InputFrame(HEIGHT, WIDTH, IMGSZ), [rectangle(0, 0, 8, 8), rectangle(32, 20, 40, 28), NOTHING]
    logits = torch.stack([where.logits_of_mask(torch.from_numpy(mask_hw)) for mask_hw in masks], dim=1)
    monkeypatch.setattr(runner, "_decode", lambda embedding, group: (logits, torch.tensor([[0.2, 0.7, 0.6]])))
    mask_hw = run_clip(runner, [PROMPTS["points"]], make_frames(1))[0][0]
    assert mask_hw[24:44, 36:68].all()
    assert not mask_hw[:8, :8].any()


def test_flow_moves_the_prompt_of_what_is_not_lost(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Sam1Runner(options(weights=checkpoint, move_with_flow=True))
    assert any("flow" in note for note in runner.applied.notes)
    monkeypatch.setattr(Motion, "move", lambda self, logits_1hw: logits_1hw.roll(4, dims=2))
    seen = rectangle(32, 20, 40, 28)
    decoder = Script(runner, [(seen, 0.9), (NOTHING, 0.9), (NOTHING, 0.9)])
    monkeypatch.setattr(runner, "_decode", decoder)
    run_clip(runner, [PROMPTS["bbox"]], make_frames(3))
    xs = [prompt.box_4[0] for prompt in decoder.asked if prompt.box_4 is not None]
    assert abs(xs[1] - 48) <= 1  # 4 cells of 4 pixels further
    assert xs[2] == xs[1]  # lost: no further


# Building and refusing -----------------------------------------------------------------------------------------------------------------


def test_registry() -> None:
    assert {name: (spec.config, spec.checkpoint) for name, spec in RUNNERS.items() if spec.family == "sam1"} == {
        "sam1_base": ("vit_b", "sam_vit_b_01ec64.pth"),
        "sam1_large": ("vit_l", "sam_vit_l_0b3195.pth"),
        "sam1_huge": ("vit_h", "sam_vit_h_4b8939.pth"),
    }
    spec = RUNNERS["sam1_base"]
    assert (spec.imgsz, spec.prompts) == (1024, ("points", "bbox", "mask"))


def test_the_registered_base_model_runs_small() -> None:
    runner = RUNNERS["sam1_base"].build(options(config="vit_b", imgsz=64))
    assert (runner.applied.imgsz, runner.applied.weights, runner.applied.parameters) == (64, "random", 93_735_472)
    assert "position embeddings resampled from 1024 to 64 pixels" in runner.applied.notes
    masks = run_clip(runner, [PROMPTS["mask"]], make_frames(2))  # type: ignore[arg-type]
    assert masks[1].shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize(("imgsz", "near"), [(0, 16), (100, 96), (1000, 992)])
def test_sizes_it_cannot_run_are_refused_by_name(imgsz: int, near: int) -> None:
    with pytest.raises(RunnerError, match=f"sam1: {imgsz} is not a size it can run; use a multiple of 16, for example {near}"):
        Sam1Runner(options(imgsz=imgsz))


@pytest.mark.parametrize("imgsz", [16, 48, 160])
def test_multiples_of_16_run(checkpoint: Path, imgsz: int) -> None:
    runner = Sam1Runner(options(imgsz=imgsz, weights=checkpoint, move_with_flow=True))
    assert len(run_clip(runner, [PROMPTS["mask"]])) == FRAMES
    assert runner.inspect().finite


def test_an_encoder_that_is_none_is_refused() -> None:
    with pytest.raises(RunnerError, match="there is no encoder vit_s; use vit_b, vit_l, vit_h"):
        Sam1Runner(options(config="vit_s"))


def test_the_seed_decides_random_weights() -> None:
    def first(seed: int) -> Any:
        return next(Sam1Runner(options(seed=seed))._model.parameters())

    assert torch.equal(first(7), first(7))
    assert not torch.equal(first(7), first(8))


def test_a_checkpoint_is_a_plain_state_dict_and_fits_strictly(checkpoint: Path, runner: Sam1Runner, tmp_path: Path) -> None:
    assert runner.applied.weights == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    state = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in runner._model.state_dict().items())
    changed = tmp_path / "changed.pth"
    del state["image_encoder.blocks.0.attn.rel_pos_h"]
    state["extra"] = torch.zeros(1)
    torch.save(state, changed)
    with pytest.raises(RunnerError, match=r"1 missing: image_encoder\.blocks\.0\.attn\.rel_pos_h; 1 unexpected: extra"):
        Sam1Runner(options(weights=changed))


def test_calls_out_of_order_are_refused(runner: Sam1Runner) -> None:
    frames = make_frames()
    runner.close()
    with pytest.raises(RunnerError, match="open a clip"):
        runner.prompt(0, frames[0], [PROMPTS["mask"]])
    runner.open(Clip("clip", 3, HEIGHT, WIDTH), frames[0])
    with pytest.raises(RunnerError, match="prompt an object before tracking"):
        runner.track(0, frames[0])
    with pytest.raises(RunnerError, match="give at least one prompt"):
        runner.prompt(0, frames[0], [])
    runner.prompt(0, frames[0], [PROMPTS["mask"]])
    with pytest.raises(RunnerError, match="frame 1 was due and frame 2 was fed"):
        runner.track(2, frames[2])
    runner.track(1, frames[1])
    with pytest.raises(RunnerError, match=r"frame 2 has shape \(72, 64, 3\)"):
        runner.track(2, frames[2][:, :64])
    runner.track(2, frames[2])
    with pytest.raises(RunnerError, match="behind the end"):
        runner.track(3, frames[3])
    runner.close()
    runner.close()


def test_masks_it_cannot_take_are_refused(runner: Sam1Runner) -> None:
    frames = make_frames()
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    with pytest.raises(RunnerError, match="the mask of object 4 is empty"):
        runner.prompt(0, frames[0], [Prompt(4, "mask", mask_hw=NOTHING)])
    with pytest.raises(RunnerError, match=r"a mask of \(5, 5\) pixels for a clip of \(72, 128\)"):
        runner.prompt(0, frames[0], [Prompt(4, "mask", mask_hw=np.ones((5, 5), np.bool_))])
    runner.close()
