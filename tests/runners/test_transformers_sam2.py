"""SAM 2.1 of transformers against the official predictor, with the shipped trained weights, and checkpoints in both formats."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="needs transformers")

from attention_clip import ON_CPU, kernels_of_a_frame  # noqa: E402
from edgetam_clip import HEIGHT, MANY, WIDTH, make_frames, make_prompt, other_mask, run_clip  # noqa: E402

from runners import RUNNERS, SHIPPED_WEIGHTS, compiling  # noqa: E402
from runners.base import STAGES, BuildOptions, Clip, RunnerError  # noqa: E402
from runners.implementations import build_sam2  # noqa: E402

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]

OPTIONS = BuildOptions(imgsz=192, config="sam2_nano.yaml", weights=SHIPPED_WEIGHTS / "sam2_nano.pt", implementation="transformers")
SHORT = 5
"""Fewer frames than a clip needs for all object pointers."""


@pytest.fixture(scope="module")
def family() -> Any:
    return importlib.import_module("runners.transformers.sam2")


@pytest.fixture(scope="module")
def runner() -> Any:
    return build_sam2(OPTIONS)


@pytest.fixture(scope="module")
def official() -> Any:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    return build_sam2(dataclasses.replace(OPTIONS, implementation="official"))


def compare(mine: Any, theirs: Any, prompts: list[Any], **clip: int) -> None:
    """Every mask equal, and logits as close as memories that are rounded to bfloat16 let them be."""
    with torch.inference_mode():
        masks, logits, finite = run_clip(mine, prompts, **clip)
        masks_theirs, logits_theirs, _ = run_clip(theirs, prompts, **clip)
    np.testing.assert_array_equal(masks, masks_theirs)
    assert all(finite)
    assert any(mask.any() for mask in masks)
    assert np.abs(np.stack(logits) - np.stack(logits_theirs)).max() < 5e-3


@pytest.mark.parametrize(
    ("kind", "clip"),
    [
        ("mask", {"count": MANY + 3}),
        ("points", {"count": MANY + 3}),
        ("points", {"count": SHORT}),
        ("clicks", {"count": SHORT}),
        ("bbox", {"count": SHORT}),
        ("mask", {"count": SHORT + 2, "start": 2}),
    ],
)
def test_masks_are_the_official_predictors(runner: Any, official: Any, kind: str, clip: dict[str, int]) -> None:
    compare(runner, official, [make_prompt(kind)], **clip)


def test_two_objects_have_the_official_masks(runner: Any, official: Any) -> None:
    compare(runner, official, [make_prompt("points", 5), other_mask(2)], count=SHORT)


def test_a_late_object_does_not_change_the_others(runner: Any, official: Any) -> None:
    frames = make_frames(SHORT)
    masks = []
    for one in (runner, official):
        with torch.inference_mode():
            one.open(Clip("square", SHORT, HEIGHT, WIDTH), frames[0])
            first = [one.prompt(0, frames[0], [make_prompt("points")]), one.track(1, frames[1])]
            later = [one.prompt(2, frames[2], [other_mask(2)]), one.track(3, frames[3]), one.track(4, frames[4])]
            one.close()
        masks.append(np.concatenate([mask[:1] for mask in first + later] + [mask[1:] for mask in later]))
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0][:SHORT, None], run_clip(runner, [make_prompt("points")], count=SHORT)[0])


@pytest.mark.parametrize("changed", [{"postprocessing": "off"}, {"num_maskmem": 2}], ids=str)
def test_settings_act_as_officially(official: Any, changed: dict[str, Any]) -> None:
    options = dataclasses.replace(OPTIONS, **changed)
    compare(build_sam2(options), build_sam2(dataclasses.replace(options, implementation="official")), [make_prompt("mask")], count=10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_differs_by_its_rounding(runner: Any, official: Any, dtype: Any) -> None:
    with torch.amp.autocast("cpu", dtype), torch.inference_mode():
        masks, logits, finite = run_clip(runner, [make_prompt("mask")], count=SHORT)
        _, theirs, _ = run_clip(official, [make_prompt("mask")], count=SHORT)
    assert all(finite)
    assert masks[0].dtype == np.bool_
    assert np.abs(np.stack(logits) - np.stack(theirs)).mean() < 0.03


@pytest.mark.parametrize("choice", sorted(ON_CPU))
def test_attention_goes_through_the_choice_call_by_call_as_officially(runner: Any, official: Any, choice: str) -> None:
    # with several threads or float32 the profiler follows many more events
    assert kernels_of_a_frame(runner, choice, "bfloat16") == kernels_of_a_frame(official, choice, "bfloat16")


@pytest.mark.slow
def test_compiled_masks_are_those_of_the_model(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    compiled: Any = build_sam2(dataclasses.replace(OPTIONS, compile="full"))
    frames = make_frames(SHORT)
    with torch.inference_mode():
        compiled.open(Clip("square", SHORT, HEIGHT, WIDTH), frames[0])
        masks = [compiled.prompt(0, frames[0], [make_prompt("points")]), *(compiled.track(i, frames[i]) for i in range(1, SHORT))]
    report = compiled.inspect().compiled
    assert (report.graphs > 0, report.graph_breaks, report.fallback) == (True, 0, "")
    np.testing.assert_array_equal(masks, run_clip(runner, [make_prompt("points")], count=SHORT)[0])


def test_stages_cover_the_call_and_change_nothing(runner: Any) -> None:
    staged: Any = build_sam2(dataclasses.replace(OPTIONS, stages=True))
    prompts = [make_prompt("mask"), other_mask(2)]
    frames = make_frames(2)
    with torch.inference_mode():
        staged.open(Clip("square", 2, HEIGHT, WIDTH), frames[0])
        masks = [staged.prompt(0, frames[0], prompts), staged.track(1, frames[1])]
        report = staged.inspect()
    assert list(report.stages_ms) == list(STAGES)
    assert all(ms > 0 for ms in report.stages_ms.values())
    assert len(report.objects_ms) == 2
    # memories are encoded for all objects at once
    own = sum(report.stages_ms[stage] for stage in ("memory_attention", "mask_decoder"))
    assert own <= sum(report.objects_ms) <= sum(report.stages_ms.values()) - report.stages_ms["memory_encoder"]
    np.testing.assert_array_equal(masks, run_clip(runner, prompts, count=2)[0])


def test_memory_does_not_grow_with_the_clip(runner: Any) -> None:
    frames = make_frames(MANY + 3)
    kept = []
    with torch.inference_mode():
        runner.open(Clip("square", len(frames), HEIGHT, WIDTH), frames[0])
        for index, frame in enumerate(frames):
            _ = runner.prompt(0, frame, [make_prompt("mask"), other_mask(2)]) if index == 0 else runner.track(index, frame)
            kept.append(sum(_storages(vars(runner._session)).values()))
    assert kept[-1] == kept[-2] == max(kept)
    # of each object: memory features in bfloat16, the object pointer and the object score
    assert kept[2] - kept[1] == 2 * (12 * 12 * 32 * 2 + 96 * 4 + 4)
    runner.close()


def _storages(value: Any) -> dict[int, int]:
    """Bytes of every storage behind the tensors of a session, by address."""
    if isinstance(value, torch.Tensor):
        return {value.untyped_storage().data_ptr(): int(value.untyped_storage().nbytes())}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    if hasattr(value, "_vision_features"):
        parts = vars(value).values()
    return {address: count for part in parts for address, count in _storages(part).items()}


def test_says_what_runs(runner: Any, official: Any) -> None:
    assert runner.applied.implementation.startswith("transformers 5.")
    assert runner.applied.implementation.endswith(" Sam2VideoModel")
    for name in ("parameters", "weights", "imgsz", "memory_frames", "hole_filling"):
        assert getattr(runner.applied, name) == getattr(official.applied, name)


def test_auto_takes_the_official_package_where_it_is(official: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic = dataclasses.replace(OPTIONS, implementation="auto")
    assert type(build_sam2(automatic)) is type(official)
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "sam2" else found(name, *rest))
    assert "Sam2VideoModel" in build_sam2(automatic).applied.implementation
    with pytest.raises(RunnerError, match=r"--memory upstream: transformers' SAM 2 is fed frame by frame"):
        build_sam2(dataclasses.replace(automatic, memory="upstream"))


# Configurations and checkpoints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["sam2_tiny", "sam2_small", "sam2_base", "sam2_large"])
def test_published_sizes_have_the_official_widths_names_and_shapes(family: Any, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sam2 = pytest.importorskip("sam2", reason="needs the sam2 package")
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from runners.transformers.names import source_of

    config = RUNNERS[model].config
    assert config is not None
    file: Any = OmegaConf.load(Path(sam2.__path__[0]) / config)
    stated: Any = OmegaConf.to_container(file.model)
    widths = family.widths_of(config)
    assert widths == family.widths_in(stated)
    # of which the official trunk takes numbers, and meta tensors have none
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    with torch.device("meta"):
        mine = family._Model(family.configuration(widths, 512, postprocesses=True)).state_dict()
        theirs = instantiate(stated, image_size=512).state_dict()
    shapes: dict[str, list[int]] = {}
    for key, value in mine.items():
        source = source_of(key)
        for name in source.keys:
            shapes[name] = [value.shape[0] // len(source.keys), *value.shape[1:]]
    assert shapes == {name: list(value.shape) for name, value in theirs.items()}


def test_a_file_of_transformers_gives_the_same_weights(runner: Any, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = {name: value.contiguous().clone() for name, value in runner._model.state_dict().items()}
    # published files may hold the matrix that the model has twice once
    del state["shared_image_embedding.positional_embedding"]
    safetensors.save_file(state, tmp_path / "model.safetensors")
    loaded: Any = build_sam2(dataclasses.replace(OPTIONS, weights=tmp_path / "model.safetensors", seed=9))
    for name, value in runner._model.state_dict().items():
        assert torch.equal(value, loaded._model.state_dict()[name]), name
    del state["no_object_pointer"]
    state["memory_attention.layers.7.linear1.bias"] = torch.zeros(3)
    safetensors.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RunnerError, match=r"1 missing: no_object_pointer; 1 unexpected: memory_attention\.layers\.7\.linear1\.bias"):
        build_sam2(dataclasses.replace(OPTIONS, weights=tmp_path / "model.safetensors"))


def test_the_official_predictor_says_which_implementation_reads_a_file_of_transformers(runner: Any, official: Any, tmp_path: Path) -> None:
    torch.save(runner._model.state_dict(), tmp_path / "other.pt")
    with pytest.raises(RunnerError, match=r"the names are transformers'; run it with --implementation transformers"):
        build_sam2(dataclasses.replace(OPTIONS, implementation="official", weights=tmp_path / "other.pt"))
