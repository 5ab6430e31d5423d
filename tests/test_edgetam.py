"""EdgeTAM's two implementations, and that they are one model.

The official one is tested where a checkout of facebookresearch/EdgeTAM is at hand: $EDGETAM_DIR or ./EdgeTAM. Its package is called `sam2`
like SAM 2's, so it runs in a process of its own: this file, run as a script, does the jobs and saves what came out.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from runners.base import BuildOptions, Clip, Frame, Masks, Prompt, RunnerError  # noqa: E402
from runners.edgetam import EdgeTamRunner, build, check_size  # noqa: E402

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, FRAMES = 90, 160, 18
IMGSZ = 256


def make_frames(count: int = FRAMES) -> list[Frame]:
    """A textured background that moves right under a bright square that moves left."""
    rng = np.random.default_rng(0)
    texture_hwc = rng.integers(0, 256, (HEIGHT // 10, WIDTH // 5, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    frames = []
    for index in range(count):
        frame_hwc = texture_hwc[:, 2 * index : 2 * index + WIDTH].copy()
        frame_hwc[30:60, 100 - 2 * index : 130 - 2 * index] = (250, 240, 60)
        frames.append(frame_hwc)
    return frames


def make_prompt(kind: str, object_id: int = 1) -> Prompt:
    if kind == "points":
        return Prompt(object_id, "points", points_n2=np.array([[114.0, 44.0]], np.float32))
    if kind == "clicks":
        return Prompt(object_id, "points", points_n2=np.array([[114.0, 44.0], [104.0, 34.0]], np.float32))
    if kind == "bbox":
        return Prompt(object_id, "bbox", box_4=np.array([100, 30, 129, 59], np.float32))
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[30:60, 100:130] = True
    mask_hw[40:46, 110:117] = False
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def other_mask(object_id: int) -> Prompt:
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[5:80, 10:60] = True
    return Prompt(object_id, "mask", mask_hw=mask_hw)


def run_clip(runner: Any, prompts: Sequence[Prompt], start: int = 0, count: int = FRAMES) -> tuple[list[Masks], list[Any], list[bool]]:
    """Masks, (objects, height, width) float32 logits, and whether all was finite, of each frame from the prompted one on."""
    frames = make_frames(count)
    masks, logits, finite = [], [], []
    runner.open(Clip("square", count, HEIGHT, WIDTH), frames[0])
    for index in range(start, count):
        masks.append(runner.prompt(index, frames[index], prompts) if index == start else runner.track(index, frames[index]))
        outputs = runner._outputs[0] if hasattr(runner, "_outputs") else runner._logits_n1hw
        logits.append(outputs[:, 0].float().cpu().numpy().copy())
        finite.append(runner.inspect().finite)
    runner.close()
    return masks, logits, finite


def lively_weights(model: Any) -> dict[str, Any]:
    """The model's own random weights, moved away from the initial zeros and ones that would hide a wrong mapping, objects present."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            state[key] = value.clone()
        elif "running_var" in key:
            state[key] = value * (1 + 0.2 * torch.rand(value.shape, generator=generator))
        else:
            scale = 0.1 if value.ndim <= 1 or key.startswith("no_") or "tpos" in key else 0.0
            state[key] = value + scale * torch.randn(value.shape, generator=generator)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 1.0
    return state


# The other process ---------------------------------------------------------------------------------------------------------------------


def official_main(source_dir: str, out_dir: str) -> None:
    """Save random weights, run every kind of prompt with them, and write down what happened."""
    torch.set_num_threads(1)
    out = Path(out_dir)
    options = BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), seed=3)
    runner: Any = build(options)
    predictor = runner._predictor
    report: dict[str, Any] = {"class": type(runner).__name__, "package": sys.modules["sam2"].__file__, "applied": vars(runner.applied)}
    again: Any = build(options)
    report["same_seed_same_weights"] = all(
        torch.equal(a, b) for a, b in zip(predictor.state_dict().values(), again._predictor.state_dict().values(), strict=True)
    )
    torch.save({"model": lively_weights(predictor)}, out / "edgetam.pt")
    options = BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), weights=out / "edgetam.pt")
    runner = build(options)
    arrays = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in ("points", "clicks", "bbox", "mask"):
            masks, logits, finite = run_clip(runner, [make_prompt(kind)])
            arrays[kind] = np.stack(logits)
            report[f"finite_{kind}"] = all(finite)
            report[f"masks_{kind}"] = [str(masks[0].dtype), *masks[0].shape]
        arrays["late"] = np.stack(run_clip(runner, [make_prompt("mask")], start=4)[1])
        arrays["one"] = np.stack(run_clip(runner, [other_mask(2)])[1])
        arrays["both"] = np.stack(run_clip(runner, [make_prompt("mask"), other_mask(2)])[1])
        with torch.amp.autocast("cpu", torch.bfloat16):
            _, logits, finite = run_clip(runner, [make_prompt("points")], count=4)
        arrays["bfloat16"] = np.stack(logits)
        report["finite_bfloat16"] = all(finite)
    report["warnings"] = [str(warning.message) for warning in caught]
    frames = make_frames(4)
    runner.open(Clip("square", 4, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [make_prompt("bbox")])
    runner.track(1, frames[1])
    try:
        runner.prompt(2, frames[2], [make_prompt("bbox", object_id=9)])
    except RunnerError as error:
        report["late_object"] = str(error)
    for imgsz in (512, 768):
        larger: Any = build(BuildOptions(imgsz=imgsz, source_dir=Path(source_dir), weights=out / "edgetam.pt"))
        arrays[f"at_{imgsz}"] = np.stack(run_clip(larger, [make_prompt("points")], count=2)[1])
    state = torch.load(out / "edgetam.pt", weights_only=True)
    del state["model"]["no_obj_ptr"]
    torch.save(state, out / "short.pt")
    try:
        build(BuildOptions(imgsz=IMGSZ, source_dir=Path(source_dir), weights=out / "short.pt"))
    except RunnerError as error:
        report["missing_key"] = str(error)
    np.savez(out / "logits.npz", **arrays)
    (out / "report.json").write_text(json.dumps(report, default=str))


# Fixtures ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def hf() -> Any:
    """The module of the transformers implementation; importing it takes seconds, so nothing above does."""
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    return importlib.import_module("runners.edgetam_hf")


@pytest.fixture(scope="module")
def runner(hf: Any) -> Any:
    return build(BuildOptions(imgsz=IMGSZ, seed=3))


def checkout() -> Path | None:
    for path in (os.environ.get("EDGETAM_DIR"), str(ROOT / "EdgeTAM")):
        if path and (Path(path) / "sam2" / "modeling" / "perceiver.py").is_file():
            return Path(path)
    return None


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what the official implementation gave: edgetam.pt, logits.npz, report.json."""
    source_dir = checkout()
    if source_dir is None:
        pytest.skip("no checkout of facebookresearch/EdgeTAM: neither $EDGETAM_DIR nor ./EdgeTAM")
    out = tmp_path_factory.mktemp("official")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__)), str(source_dir), str(out)]
    done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def report(official: Path) -> dict[str, Any]:
    return dict(json.loads((official / "report.json").read_text()))


@pytest.fixture(scope="module")
def official_logits(official: Path) -> dict[str, Any]:
    with np.load(official / "logits.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def same_weights(hf: Any, official: Path) -> Any:
    """The transformers implementation with the official implementation's weights."""
    return build(BuildOptions(imgsz=IMGSZ, weights=official / "edgetam.pt"))


# Both implementations ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("imgsz", [0, 64, 320, 640, 960, 1280])
def test_refuses_other_sizes_by_name(imgsz: int) -> None:
    with pytest.raises(RunnerError, match=rf"^edgetam: {imgsz} is not a size it can run; use 256, 512, 768 or 1024$"):
        build(BuildOptions(imgsz=imgsz, source_dir=Path("nowhere")))


@pytest.mark.parametrize("imgsz", [256, 512, 768, 1024])
def test_takes_the_sizes_that_work(imgsz: int) -> None:
    check_size(imgsz)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_gpu_is_refused(hf: Any) -> None:
    with pytest.raises(RunnerError, match="sees no GPU"):
        build(BuildOptions(imgsz=IMGSZ, device="cuda"))


def test_a_folder_without_the_package_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="not a checkout"):
        build(BuildOptions(imgsz=IMGSZ, source_dir=tmp_path))


def test_another_sam2_in_the_process_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "EdgeTAM" / "sam2").mkdir(parents=True)
    (tmp_path / "EdgeTAM" / "sam2" / "build_sam.py").touch()
    other = types.ModuleType("sam2")
    other.__path__ = [str(tmp_path / "site-packages" / "sam2")]
    other.build_sam = types.ModuleType("sam2.build_sam")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sam2", other)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", other.build_sam)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(RunnerError, match="each model family needs its own process"):
        build(BuildOptions(imgsz=IMGSZ, source_dir=tmp_path / "EdgeTAM"))


def test_official_without_checkout_says_where_to_get_it() -> None:
    with pytest.raises(RunnerError, match="--edgetam_dir"):
        EdgeTamRunner(BuildOptions(imgsz=IMGSZ))


# transformers --------------------------------------------------------------------------------------------------------------------------


def test_says_what_was_applied(runner: Any) -> None:
    assert runner.applied.implementation.startswith("transformers ")
    assert "EdgeTamVideoModel" in runner.applied.implementation
    assert (runner.applied.device, runner.applied.imgsz, runner.applied.weights) == ("cpu", IMGSZ, "random")
    assert runner.applied.parameters == 13_895_794  # the official model's
    assert any("holes" in note for note in runner.applied.notes)


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox", "mask"])
def test_masks_at_video_resolution(runner: Any, kind: str) -> None:
    masks, _, finite = run_clip(runner, [make_prompt(kind)], count=3)
    assert [mask.shape for mask in masks] == [(1, HEIGHT, WIDTH)] * 3
    assert all(mask.dtype == np.bool_ for mask in masks)
    assert all(finite)


def test_a_mask_prompt_comes_back_as_the_mask(runner: Any) -> None:
    prompt = make_prompt("mask")
    masks, _, _ = run_clip(runner, [prompt], count=1)
    # The mask went through imgsz / 4 = 64 pixels: its border may move by a pixel or two, no more.
    assert prompt.mask_hw is not None
    assert np.mean(masks[0][0] != prompt.mask_hw) < 0.03
    assert masks[0][0][33:37, 104:126].all()
    assert not masks[0][0][:25].any()


def test_parts_of_the_time(runner: Any) -> None:
    frames = make_frames(1)
    runner.open(Clip("square", 1, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [make_prompt("bbox")])
    parts = runner.inspect().parts_ms
    assert list(parts) == ["preprocess_ms", "model_ms", "output_ms"]
    assert all(part > 0 for part in parts.values())


def test_seed_fixes_random_weights(hf: Any, runner: Any) -> None:
    same, other = (build(BuildOptions(imgsz=IMGSZ, seed=seed)) for seed in (3, 4))
    logits = [np.stack(run_clip(r, [make_prompt("points")], count=3)[1]) for r in (runner, same, other)]
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_a_clip_leaves_nothing_to_the_next(runner: Any) -> None:
    first = run_clip(runner, [make_prompt("mask")], count=4)[1]
    run_clip(runner, [other_mask(7)], count=3)
    assert np.array_equal(np.stack(first), np.stack(run_clip(runner, [make_prompt("mask")], count=4)[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(runner: Any, dtype: Any) -> None:
    full = run_clip(runner, [make_prompt("bbox")], count=3)[1]
    with torch.amp.autocast("cpu", dtype), warnings.catch_warnings():
        warnings.simplefilter("error")
        masks, logits, finite = run_clip(runner, [make_prompt("bbox")], count=3)
    assert all(finite)
    assert masks[0].dtype == np.bool_
    assert not np.array_equal(np.stack(full), np.stack(logits))
    assert np.abs(np.stack(full) - np.stack(logits)).max() < 0.05


@pytest.mark.parametrize("where", ["memory_attention.layer_norm.weight", "object_pointer_proj.proj_out.bias"])
def test_nan_is_reported(runner: Any, where: str) -> None:
    weight = runner._model.get_parameter(where)
    saved = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0] = float("nan")
        finite = run_clip(runner, [make_prompt("points")], count=2)[2]
    finally:
        with torch.no_grad():
            weight.copy_(saved)
    assert not finite[1]


def test_memory_does_not_grow_with_the_clip_and_masks_stay_the_same(hf: Any, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(24)
    runner.open(Clip("square", 24, HEIGHT, WIDTH), frames[0])
    kept = []
    for index, frame in enumerate(frames):
        _ = runner.prompt(0, frame, [make_prompt("mask")]) if index == 0 else runner.track(index, frame)
        outputs = runner._session.output_dict_per_obj[0]["non_cond_frame_outputs"].values()
        kept.append((len(runner._session.processed_frames), len(outputs), sum("maskmem_features" in output for output in outputs)))
    assert kept[-1] == kept[-5] == (0, 15, 6)
    pruned = run_clip(runner, [make_prompt("mask")], count=24)[1]
    monkeypatch.setattr(hf.EdgeTamHfRunner, "_forget", lambda *_: None)
    whole = run_clip(runner, [make_prompt("mask")], count=24)[1]
    assert np.array_equal(np.stack(pruned), np.stack(whole))


def test_objects_share_a_session_without_touching_each_other(runner: Any) -> None:
    both = np.stack(run_clip(runner, [make_prompt("mask", 5), other_mask(2)], count=4)[1])
    first = np.stack(run_clip(runner, [make_prompt("mask", 5)], count=4)[1])
    second = np.stack(run_clip(runner, [other_mask(2)], count=4)[1])
    assert np.array_equal(both, np.concatenate([first, second], axis=1))


def test_an_object_may_join_later(runner: Any) -> None:
    frames = make_frames(4)
    runner.open(Clip("square", 4, HEIGHT, WIDTH), frames[0])
    masks = [runner.prompt(0, frames[0], [make_prompt("mask")]), runner.track(1, frames[1])]
    masks += [runner.prompt(2, frames[2], [other_mask(2)]), runner.track(3, frames[3])]
    assert [len(mask) for mask in masks] == [1, 1, 2, 2]
    alone = run_clip(runner, [make_prompt("mask")], count=4)[0]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(masks, alone, strict=True))


def test_wrong_order_of_calls(runner: Any) -> None:
    frames = make_frames(4)
    runner.close()
    with pytest.raises(RunnerError, match="open a clip"):
        runner.prompt(0, frames[0], [make_prompt("bbox")])
    runner.open(Clip("square", 3, HEIGHT, WIDTH), frames[0])
    with pytest.raises(RunnerError, match="prompt an object"):
        runner.track(0, frames[0])
    runner.prompt(0, frames[0], [make_prompt("bbox")])
    with pytest.raises(RunnerError, match="frame 1 was due and frame 2 was fed"):
        runner.track(2, frames[2])
    runner.track(1, frames[1])
    runner.track(2, frames[2])
    with pytest.raises(RunnerError, match="behind the end"):
        runner.track(3, frames[3])
    runner.close()
    runner.close()


# Checkpoints of the transformers implementation ----------------------------------------------------------------------------------------


@pytest.fixture
def official_state(hf: Any, runner: Any) -> dict[str, Any]:
    """Weights of the transformers model under the official names, put together by the mapping."""
    from runners.edgetam_weights import source_of

    parts: dict[str, Any] = {}
    for key, value in runner._model.state_dict().items():
        source = source_of(key)
        if source.half is not None:
            parts.setdefault(source.keys[0], [None, None])[source.half] = value
        else:
            parts.update(zip(source.keys, value.chunk(len(source.keys)) if len(source.keys) > 1 else [value], strict=True))
    return {key: torch.cat(value) if isinstance(value, list) else value for key, value in parts.items()}


def test_checkpoint_round_trip(official_state: dict[str, Any], runner: Any, tmp_path: Path) -> None:
    torch.save({"model": official_state}, tmp_path / "edgetam.pt")
    loaded: Any = build(BuildOptions(imgsz=IMGSZ, seed=99, weights=tmp_path / "edgetam.pt"))
    assert loaded.applied.weights == "file"
    assert all(torch.equal(a, b) for a, b in zip(runner._model.state_dict().values(), loaded._model.state_dict().values(), strict=True))


def test_checkpoint_faults_name_the_official_keys(official_state: dict[str, Any], hf: Any, tmp_path: Path) -> None:
    del official_state["spatial_perceiver.layers.1.attn.to_kv.weight"]
    del official_state["sam_prompt_encoder.point_embeddings.2.weight"]
    official_state["no_obj_embed_spatial"] = torch.zeros(1, 64)
    official_state["maskmem_tpos_enc"] = torch.zeros(6, 1, 1, 64)
    torch.save({"model": official_state}, tmp_path / "edgetam.pt")
    with pytest.raises(RunnerError) as caught:
        build(BuildOptions(imgsz=IMGSZ, weights=tmp_path / "edgetam.pt"))
    message = str(caught.value)
    assert "2 missing: sam_prompt_encoder.point_embeddings.2.weight, spatial_perceiver.layers.1.attn.to_kv.weight" in message
    assert "1 unexpected: no_obj_embed_spatial" in message
    assert "1 of another shape: maskmem_tpos_enc" in message


def test_truncated_checkpoint(official_state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "edgetam.pt"
    torch.save({"model": official_state}, path)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(RunnerError, match=r"edgetam\.pt: cannot be read"):
        build(BuildOptions(imgsz=IMGSZ, weights=path))


def test_missing_checkpoint_names_the_script(hf: Any, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"download_weights\.sh"):
        build(BuildOptions(imgsz=IMGSZ, weights=tmp_path / "edgetam.pt"))


# The official implementation -----------------------------------------------------------------------------------------------------------


def test_official_runs_from_the_checkout(report: dict[str, Any]) -> None:
    assert report["class"] == "EdgeTamRunner"
    assert Path(report["package"]).parents[1].resolve() == checkout()
    assert report["applied"]["implementation"].startswith("EdgeTAM checkout (commit ")
    assert report["applied"]["parameters"] == 13_895_794
    assert report["same_seed_same_weights"]


def test_official_raises_no_warning(report: dict[str, Any]) -> None:
    assert report["warnings"] == []


def test_official_masks(report: dict[str, Any]) -> None:
    for kind in ("points", "clicks", "bbox", "mask"):
        assert report[f"masks_{kind}"] == ["bool", 1, HEIGHT, WIDTH]
        assert report[f"finite_{kind}"]
    assert report["finite_bfloat16"]


def test_official_objects_in_one_session_equal_sessions_of_their_own(official_logits: dict[str, Any]) -> None:
    alone = np.concatenate([official_logits["mask"], official_logits["one"]], axis=1)
    assert np.abs(official_logits["both"] - alone).max() < 1e-5


def test_official_takes_no_object_while_it_tracks(report: dict[str, Any]) -> None:
    assert "give object 9 a clip of its own" in report["late_object"]


def test_official_checkpoint_is_strict(report: dict[str, Any]) -> None:
    assert "1 missing: no_obj_ptr" in report["missing_key"]


# Parity --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox", "mask"])
def test_both_implementations_agree(same_weights: Any, official_logits: dict[str, Any], kind: str) -> None:
    logits = np.stack(run_clip(same_weights, [make_prompt(kind)])[1])
    assert logits.std() > 0.01  # an absent object would agree whatever the weights
    assert np.abs(logits - official_logits[kind]).max() < 1e-5


def test_both_agree_on_a_prompt_inside_the_clip(same_weights: Any, official_logits: dict[str, Any]) -> None:
    logits = np.stack(run_clip(same_weights, [make_prompt("mask")], start=4)[1])
    assert np.abs(logits - official_logits["late"]).max() < 1e-5


def test_both_agree_under_autocast(same_weights: Any, official_logits: dict[str, Any]) -> None:
    with torch.amp.autocast("cpu", torch.bfloat16):
        logits = np.stack(run_clip(same_weights, [make_prompt("points")], count=4)[1])
    assert np.abs(logits - official_logits["bfloat16"]).max() < 0.03


@pytest.mark.parametrize("imgsz", [512, 768])
def test_both_agree_at_larger_sizes(hf: Any, official: Path, official_logits: dict[str, Any], imgsz: int) -> None:
    larger = build(BuildOptions(imgsz=imgsz, weights=official / "edgetam.pt"))
    logits = np.stack(run_clip(larger, [make_prompt("points")], count=2)[1])
    assert np.abs(logits - official_logits[f"at_{imgsz}"]).max() < 1e-5


if __name__ == "__main__":
    official_main(*sys.argv[1:])
