"""SAM 3's tracker of transformers, its image encoder made small: prompts, memory, preparation of frames, names of the published file."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

from edgetam_clip import HEIGHT, MANY, WIDTH, make_frames, make_prompt, other_mask, run_clip  # noqa: E402

from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, Clip, RunnerError  # noqa: E402
from runners.checkpoints import read_checkpoint  # noqa: E402
from runners.implementations import build_sam3  # noqa: E402
from savbench.arguments.declared import ConfigError  # noqa: E402
from savbench.plan.arms import check_implementation  # noqa: E402

pytestmark = [pytest.mark.usefixtures("one_torch_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]

IMGSZ = 112
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "window_size": 4,
    "global_attn_indexes": [1],
}


@pytest.fixture(scope="module")
def family() -> Any:
    return importlib.import_module("runners.transformers.sam3")


@pytest.fixture(scope="module")
def runner(family: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "IMAGE_ENCODER", SMALL)
        built: Any = build_sam3(BuildOptions(imgsz=IMGSZ, seed=3))
    # untrained, it sees nothing anywhere
    with torch.no_grad():
        built._model.mask_decoder.pred_obj_score_head.proj_out.bias += 1
    return built


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox", "mask"])
def test_tracks_from_every_prompt(runner: Any, kind: str) -> None:
    masks, logits, finite = run_clip(runner, [make_prompt(kind)], count=3)
    assert [mask.shape for mask in masks] == [(1, HEIGHT, WIDTH)] * 3
    assert all(mask.dtype == np.bool_ for mask in masks)
    assert all(finite)
    assert np.array_equal(np.stack(logits), np.stack(run_clip(runner, [make_prompt(kind)], count=3)[1]))
    if kind == "mask":
        given = make_prompt("mask").mask_hw
        assert given is not None
        assert np.mean(masks[0][0] != given) < 0.05


def test_objects_do_not_change_each_other(runner: Any) -> None:
    frames = make_frames(4)
    runner.open(Clip("square", 4, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [make_prompt("points")])
    runner.track(1, frames[1])
    runner.prompt(2, frames[2], [other_mask(2)])
    runner.track(3, frames[3])
    late = runner._outputs[0][:, 0].numpy().copy()
    runner.close()
    alone = np.stack(run_clip(runner, [make_prompt("points")], count=4)[1])
    assert np.abs(late[0] - alone[3, 0]).max() < 1e-4
    assert late.shape[0] == 2


def test_memory_does_not_grow_with_the_clip(runner: Any) -> None:
    frames = make_frames(MANY + 2)
    runner.open(Clip("square", len(frames), HEIGHT, WIDTH), frames[0])
    kept = []
    for index, frame in enumerate(frames):
        _ = runner.prompt(0, frame, [make_prompt("mask")]) if index == 0 else runner.track(index, frame)
        tracked = runner._session.output_dict_per_obj[0]["non_cond_frame_outputs"].values()
        masks = sum(name in output for output in tracked for name in ("pred_masks", "high_res_masks"))
        kept.append((len(runner._session.processed_frames), len(tracked), sum("maskmem_features" in output for output in tracked), masks))
    runner.close()
    assert kept[-1] == kept[-2] == (0, 15, 6, 0)


def test_frames_are_prepared_as_officially(runner: Any) -> None:
    frame_hwc = make_frames(1)[0]
    resized_hwc = np.asarray(Image.fromarray(frame_hwc).resize((IMGSZ, IMGSZ)))
    expected_chw = ((resized_hwc / 255.0).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    np.testing.assert_array_equal(runner._preprocess(frame_hwc).numpy(), expected_chw.transpose(2, 0, 1))


def test_says_what_runs(runner: Any) -> None:
    applied = runner.applied
    assert applied.implementation == f"transformers {transformers.__version__} Sam3TrackerVideoModel"
    assert (applied.imgsz, applied.weights, applied.hole_filling, applied.memory_frames) == (IMGSZ, "random", "off", 16)
    assert RUNNERS["sam3"].licence.startswith("SAM License")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_runs(runner: Any, dtype: Any) -> None:
    with torch.amp.autocast("cpu", dtype), torch.inference_mode():
        assert all(run_clip(runner, [make_prompt("bbox")], count=3)[2])


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(RunnerError, match="sam3: 1024 is not a size it can run; use a multiple of 14, for example 1022"):
        build_sam3(BuildOptions(imgsz=1024))
    with pytest.raises(RunnerError, match=r"--memory upstream: transformers' SAM 3 is fed frame by frame.*use --memory bounded$"):
        build_sam3(BuildOptions(memory="upstream"))
    with pytest.raises(ConfigError, match="--implementation official: sam3 runs from transformers only"):
        check_implementation("sam3", "official")


# The published file -----------------------------------------------------------------------------------------------------------------


def test_the_published_names_and_shapes_are_those_of_the_tracker(family: Any) -> None:
    from runners.transformers.names import _tracker_of

    with torch.device("meta"):
        published = transformers.Sam3VideoModel(transformers.Sam3VideoConfig()).state_dict()
        mine = family._Model(family.configuration(1008, postprocesses=True)).state_dict()
    taken = _tracker_of(published)
    assert {name: value.shape for name, value in taken.items()} == {name: value.shape for name, value in mine.items()}
    assert sum(value.numel() for value in mine.values()) > 450_000_000


def test_a_file_of_these_names_gives_the_weights_that_transformers_takes(
    runner: Any, family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runners.transformers.names import is_tracked_with

    safetensors = pytest.importorskip("safetensors.torch")
    monkeypatch.setattr(family, "IMAGE_ENCODER", SMALL)
    state = {"detector_model.text_encoder.logit_scale": torch.ones(1)}
    for name, value in runner._model.state_dict().items():
        part = "detector_model." if name.startswith("vision_encoder.backbone.") else "tracker_model."
        state[f"{part}{name}".replace("tracker_model.vision_encoder.neck.", "tracker_neck.")] = value.contiguous().clone()
    safetensors.save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    config = {"model_type": "sam3_tracker_video", **runner._model.config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded: Any = build_sam3(BuildOptions(imgsz=IMGSZ, seed=8, weights=tmp_path / "model.safetensors"))
    theirs = transformers.Sam3TrackerVideoModel.from_pretrained(tmp_path).state_dict()
    assert "detector_model.text_encoder.logit_scale" not in read_checkpoint(tmp_path / "model.safetensors", is_tracked_with).state
    for name, value in runner._model.state_dict().items():
        assert torch.equal(loaded._model.state_dict()[name], value), name
        assert torch.equal(theirs[name], value), name
    del state["tracker_neck.fpn_layers.0.proj1.bias"]
    safetensors.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RunnerError, match=r"1 missing: vision_encoder\.neck\.fpn_layers\.0\.proj1\.bias"):
        build_sam3(BuildOptions(imgsz=IMGSZ, weights=tmp_path / "model.safetensors"))
