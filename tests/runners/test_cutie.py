"""Cutie with random weights, against a loop of our own over the package as it is installed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("cutie.inference", reason="needs rf-cutie (requirements-cutie.txt)")

from cutie.inference.inference_core import InferenceCore  # noqa: E402

from attention.choice import using_attention  # noqa: E402
from runners import RUNNERS, compiling  # noqa: E402
from runners.base import STAGES, BuildOptions, Clip, Frame, Masks, Prompt, PromptKind, RunnerError  # noqa: E402
from runners.cutie_official import CutieRunner, most_probable  # noqa: E402
from runners.sizes import check_size  # noqa: E402
from savbench.data.demo.split import make_clip  # noqa: E402
from savbench.data.prompts import make_prompt  # noqa: E402

SPEC = RUNNERS["cutie"]
HEIGHT, WIDTH, FRAMES = 130, 200, 8
IMGSZ = 96
LATE = 3
FILE_BYTES = 140_443_788
"""Of the published cutie-base-mega.pth."""

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def options(**changed: Any) -> BuildOptions:
    return BuildOptions(**{"imgsz": IMGSZ, "config": SPEC.config, "device": "cpu", **changed})


@pytest.fixture(scope="module")
def runner() -> CutieRunner:
    built = SPEC.build(options())
    assert isinstance(built, CutieRunner)
    return built


@pytest.fixture(scope="module")
def drawn() -> Any:
    return make_clip(18, FRAMES, HEIGHT, WIDTH, roles=("stay", "stay"), distractors=0)


def prompt(drawn: Any, number: int, frame: int = 0, kind: PromptKind = "mask") -> Prompt:
    return make_prompt(kind, drawn.masks_nthw[number, frame], object_id=number + 1)


def play(runner: CutieRunner, frames: Sequence[Frame], prompts: dict[int, list[Prompt]]) -> list[Masks]:
    height, width = frames[0].shape[:2]
    runner.open(Clip("drawn", len(frames), height, width), frames[0])
    try:
        return [
            runner.prompt(index, frame, prompts[index]) if index in prompts else runner.track(index, frame)
            for index, frame in enumerate(frames)
        ]
    finally:
        runner.close()


@torch.inference_mode()  # type: ignore[untyped-decorator]
def upstream(runner: CutieRunner, frames: Sequence[Frame], prompts: dict[int, list[Prompt]]) -> list[Masks]:
    """The loop of upstream's example, which resizes inside its step, with the runner's network and settings."""
    settings = runner._settings.copy()
    settings.max_internal_size = IMGSZ
    core = InferenceCore(runner._network, settings)
    given, masks = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for index, frame in enumerate(frames):
            image_chw = torch.from_numpy(frame).permute(2, 0, 1) / 255.0
            if index in prompts:
                ids = [one.object_id for one in prompts[index]]
                numbered_hw = torch.zeros(frame.shape[:2], dtype=torch.int64)
                for one in prompts[index]:
                    numbered_hw[torch.from_numpy(one.mask_hw)] = one.object_id
                output_nhw = core.step(image_chw, numbered_hw, objects=ids)
                given += len(ids)
            else:
                output_nhw = core.step(image_chw)
            numbers_hw = core.output_prob_to_mask(output_nhw).numpy()
            masks.append(np.stack([numbers_hw == number for number in range(1, given + 1)]))
    return masks


@pytest.mark.parametrize("when", [{0: [0]}, {0: [0, 1]}, {0: [0], LATE: [1]}], ids=["one object", "two objects", "a late object"])
def test_masks_equal_those_of_upstream_s_loop(runner: CutieRunner, drawn: Any, when: dict[int, list[int]]) -> None:
    prompts = {frame: [prompt(drawn, number, frame) for number in numbers] for frame, numbers in when.items()}
    ours, theirs = (one(runner, drawn.frames_thwc, prompts) for one in (play, upstream))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert len(ours[-1]) == sum(map(len, when.values()))
    assert 0 < ours[-1][0].mean() < 1


def test_the_prompted_mask_is_returned_and_frames_differ(runner: CutieRunner, drawn: Any) -> None:
    masks = play(runner, drawn.frames_thwc[:2], {0: [prompt(drawn, 0)]})
    truth_hw = drawn.masks_nthw[0, 0]
    assert (masks[0][0] & truth_hw).sum() / (masks[0][0] | truth_hw).sum() > 0.9
    assert not np.array_equal(masks[0], masks[1])


def test_a_small_frame_keeps_its_size(runner: CutieRunner, drawn: Any) -> None:
    small = [frame[:IMGSZ, : IMGSZ + 20].copy() for frame in drawn.frames_thwc[:2]]
    mask_hw = np.zeros(small[0].shape[:2], np.bool_)
    mask_hw[20:60, 30:70] = True
    masks = play(runner, small, {0: [Prompt(1, "mask", mask_hw=mask_hw)]})
    assert np.array_equal(masks[0][0], mask_hw)


def test_of_overlapping_prompts_the_smaller_object_keeps_the_pixels(runner: CutieRunner, drawn: Any) -> None:
    large_hw, small_hw = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    large_hw[20:120, 20:180] = True
    small_hw[40:90, 60:140] = True
    given = [Prompt(7, "mask", mask_hw=small_hw), Prompt(3, "mask", mask_hw=large_hw)]
    (masks,) = play(runner, drawn.frames_thwc[:1], {0: given})
    assert masks[0][45:85, 65:135].all()
    assert not masks[1][45:85, 65:135].any()
    assert masks[1][25:35, 25:175].all()


def test_the_most_probable_of_equals_is_the_first() -> None:
    levels = torch.randint(0, 3, (4, 50, 60), generator=torch.Generator().manual_seed(0)).float()
    best_hw = levels.argmax(0)
    assert torch.equal(most_probable(levels)[:, 0], torch.stack([best_hw == number for number in (1, 2, 3)]))


def test_memory_is_bounded_by_upstream_s_own_rule(runner: CutieRunner, drawn: Any) -> None:
    """The prompted frame and the last four of every fifth: nothing grows once they are there."""
    frames = [*drawn.frames_thwc, *drawn.frames_thwc[::-1]] * 2
    sizes = []
    runner.open(Clip("drawn", len(frames), HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [prompt(drawn, 0)])
    cells = 6 * 10
    for index in range(1, len(frames)):
        runner.track(index, frames[index])
        memory = runner._core.memory
        assert len(runner._core.image_feature_store) == 0
        assert memory.work_mem.get_v_size(1) == memory.work_mem.size(0)
        assert not memory.use_long_term
        sizes.append(memory.work_mem.size(0) // cells)
    assert sizes == [min(1 + index // 5, 5) for index in range(1, len(frames))]
    assert runner.applied.memory_frames == 20
    runner.close()
    assert runner._core is None


@pytest.mark.parametrize(("frames_kept", "expected"), [(1, [1, 1, 1]), (2, [1, 2, 2])])
def test_num_maskmem_counts_the_frames_of_the_memory(drawn: Any, frames_kept: int, expected: list[int]) -> None:
    runner = CutieRunner(options(num_maskmem=frames_kept))
    frames = [*drawn.frames_thwc, *drawn.frames_thwc][:11]
    runner.open(Clip("drawn", 11, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [prompt(drawn, 0)])
    found = []
    for index in range(1, 11):
        runner.track(index, frames[index])
        found.append(runner._core.memory.work_mem.size(0) // 60)
    assert [found[0], found[4], found[9]] == expected
    assert runner.applied.memory_frames == 5 * (frames_kept - 1)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "give at least one prompt"),
        (["points"], "takes masks alone, object 1 was prompted with points; use cutie_mask"),
        (["bbox"], "takes masks alone"),
        ([np.zeros((HEIGHT, WIDTH), np.bool_)], "the mask of object 1 is empty"),
        ([np.ones((WIDTH, HEIGHT), np.bool_)], "resize the mask"),
    ],
)
def test_a_prompt_it_cannot_take_is_refused(runner: CutieRunner, drawn: Any, prompts: list[Any], said: str) -> None:
    given = [prompt(drawn, 0, kind=one) if isinstance(one, str) else Prompt(1, "mask", mask_hw=one) for one in prompts]  # type: ignore[arg-type]
    runner.open(Clip("drawn", FRAMES, HEIGHT, WIDTH), drawn.frames_thwc[0])
    with pytest.raises(RunnerError, match=said):
        runner.prompt(0, drawn.frames_thwc[0], given)
    runner.close()


def test_calls_out_of_order_are_refused(runner: CutieRunner, drawn: Any) -> None:
    frame = drawn.frames_thwc[0]
    with pytest.raises(RunnerError, match="open a clip"):
        runner.track(0, frame)
    runner.open(Clip("drawn", 3, HEIGHT, WIDTH), frame)
    with pytest.raises(RunnerError, match="prompt an object"):
        runner.track(0, frame)
    runner.prompt(0, frame, [prompt(drawn, 0)])
    with pytest.raises(RunnerError, match="frame 1 was due and frame 2 was fed"):
        runner.track(2, frame)
    with pytest.raises(RunnerError, match="tracked already; prompt it once"):
        runner.prompt(1, frame, [prompt(drawn, 0)])
    with pytest.raises(RunnerError, match=r"has shape \(200, 130, 3\)"):
        runner.track(1, frame.transpose(1, 0, 2))
    runner.close()


def test_sizes_that_the_memory_cannot_read_are_refused(runner: CutieRunner, drawn: Any) -> None:
    for imgsz in (80, 100):
        with pytest.raises(RunnerError, match="use a multiple of 16 from 96 on, for example 96"):
            check_size("cutie", imgsz)
    tiny = drawn.frames_thwc[0][:48, :64]
    with pytest.raises(RunnerError, match=r"64x48 have 12 cells of 16 pixels .* use larger frames"):
        runner.open(Clip("tiny", 2, 48, 64), tiny)


def test_building_downloads_nothing_and_follows_the_seed(runner: CutieRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(torch.utils.model_zoo, "load_url", no_network)
    first, other = (CutieRunner(options(seed=seed))._network.state_dict() for seed in (0, 1))
    assert all(torch.equal(value, first[name]) for name, value in runner._network.state_dict().items())
    assert not torch.equal(first["key_proj.key_proj.weight"], other["key_proj.key_proj.weight"])
    assert runner.applied.parameters == 35_024_186
    assert runner.applied.weights == "random"


def test_weights_of_the_published_names_and_shapes_load(runner: CutieRunner, drawn: Any, tmp_path: Path) -> None:
    assert SPEC.checkpoint is not None
    file = tmp_path / SPEC.checkpoint
    state = CutieRunner(options(seed=5))._network.state_dict()
    torch.save(state, file)
    assert abs(file.stat().st_size - FILE_BYTES) < 65_536, "one convolution of 1x1 with 256 channels alone would take 262,144"
    loaded = CutieRunner(options(weights=file))
    assert loaded.applied.weights == hashlib.sha256(file.read_bytes()).hexdigest()
    prompts = {0: [prompt(drawn, 0)]}
    ours, random = (play(one, drawn.frames_thwc[:3], prompts) for one in (loaded, runner))
    assert np.array_equal(ours[-1], play(CutieRunner(options(seed=5)), drawn.frames_thwc[:3], prompts)[-1])
    assert not np.array_equal(ours[-1], random[-1])
    del state["object_transformer.query_init.weight"]
    torch.save(state, file)
    with pytest.raises(RunnerError, match=r"1 missing: object_transformer\.query_init\.weight"):
        CutieRunner(options(weights=file))


@pytest.mark.parametrize("choice", ["manual", "math", "fallback"])
def test_attention_choices_reach_the_object_transformer(runner: CutieRunner, drawn: Any, choice: str) -> None:
    frames, prompts = drawn.frames_thwc[:3], {0: [prompt(drawn, 0)]}
    native = play(runner, frames, prompts)
    with using_attention(choice, "cpu") as state:
        chosen = play(runner, frames, prompts)
    assert state.calls == 2 * 6, "three blocks read pixels and queries; attention among the 16 queries is computed without the function"
    assert np.mean(native[-1] != chosen[-1]) < 0.001


def test_every_dtype_gives_finite_masks_without_a_warning(runner: CutieRunner, drawn: Any) -> None:
    reference = play(runner, drawn.frames_thwc[:6], {0: [prompt(drawn, 0)], LATE: [prompt(drawn, 1, LATE)]})
    for dtype in (torch.bfloat16, torch.float16):
        with warnings.catch_warnings(), torch.amp.autocast("cpu", dtype):
            warnings.simplefilter("error")
            masks = play(runner, drawn.frames_thwc[:6], {0: [prompt(drawn, 0)], LATE: [prompt(drawn, 1, LATE)]})
        assert np.mean(masks[1] != reference[1]) < 0.05


def test_not_a_number_is_told(drawn: Any) -> None:
    runner = CutieRunner(options())
    with torch.no_grad():
        runner._network.mask_decoder.pred.weight.fill_(float("nan"))
    runner.open(Clip("drawn", 2, HEIGHT, WIDTH), drawn.frames_thwc[0])
    runner.prompt(0, drawn.frames_thwc[0], [prompt(drawn, 0)])
    assert runner.inspect().finite
    runner.track(1, drawn.frames_thwc[1])
    assert not runner.inspect().finite


def test_stages_and_parts(drawn: Any) -> None:
    runner = CutieRunner(options(stages=True))
    runner.open(Clip("drawn", 6, HEIGHT, WIDTH), drawn.frames_thwc[0])
    runner.prompt(0, drawn.frames_thwc[0], [prompt(drawn, 0)])
    seen = [runner.inspect().stages_ms]
    for index in range(1, 6):
        runner.track(index, drawn.frames_thwc[index])
        seen.append(runner.inspect().stages_ms)
    assert list(seen[0]) == [stage for stage in STAGES if stage != "hole_filling"]
    assert seen[0]["memory_attention"] == 0 < seen[0]["memory_encoder"]
    assert seen[1]["memory_attention"] > 0 == seen[1]["memory_encoder"]
    assert seen[5]["memory_encoder"] > 0
    report = runner.inspect()
    assert sum(report.stages_ms.values()) == pytest.approx(sum(report.parts_ms.values()), rel=0.05, abs=1.0)


@pytest.mark.slow
def test_compiled_parts_compute_the_same(runner: CutieRunner, drawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    compiled = CutieRunner(options(compile="full"))
    prompts = {0: [prompt(drawn, 0)], 2: [prompt(drawn, 1, 2)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(play(compiled, drawn.frames_thwc[:4], prompts)[-1], play(runner, drawn.frames_thwc[:4], prompts)[-1])
    report = compiled.inspect().compiled
    assert report is not None
    assert report.fallback == ""
    assert report.graphs >= 5
    torch._dynamo.reset()
