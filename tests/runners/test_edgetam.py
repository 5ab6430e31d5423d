"""EdgeTAM: what is refused, the transformers implementation, and its checkpoints."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgetam_clip import HEIGHT, IMGSZ, MANY, WIDTH, make_frames, make_prompt, other_mask, run_clip  # noqa: E402

from runners.base import BuildOptions, Clip, RunnerError  # noqa: E402
from runners.edgetam_official import EdgeTamRunner  # noqa: E402
from runners.implementations import build_edgetam as build  # noqa: E402
from runners.sizes import check_size  # noqa: E402
from runners.sources import commit_of  # noqa: E402
from runners.wheels import EDGETAM_WHEEL, unpacked_wheel  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def hf() -> Any:
    """The module of the transformers implementation; importing it takes seconds, so nothing above does."""
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    return importlib.import_module("runners.transformers.edgetam")


@pytest.fixture(scope="module")
def runner(hf: Any) -> Any:
    return build(BuildOptions(imgsz=IMGSZ, seed=3))


# What is refused ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("imgsz", [0, 64, 320, 640, 960, 1280])
def test_refuses_other_sizes_by_name(imgsz: int) -> None:
    with pytest.raises(RunnerError, match=rf"^edgetam: {imgsz} is not a size it can run; use 256, 512, 768 or 1024$"):
        build(BuildOptions(imgsz=imgsz, source_dir=Path("nowhere")))


@pytest.mark.parametrize("imgsz", [256, 512, 768, 1024])
def test_takes_the_sizes_that_work(imgsz: int) -> None:
    check_size("edgetam", imgsz)


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


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_of_a_checkout(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True).stdout

    (tmp_path / "archive").mkdir()
    assert commit_of(tmp_path) == "commit unknown"
    git("init")
    (tmp_path / "code.py").write_text("one\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD").strip()[:12]
    assert commit_of(tmp_path) == f"commit {commit}"
    assert commit_of(tmp_path / "archive") == "commit unknown"
    (tmp_path / "code.py").write_text("two\n")
    assert commit_of(tmp_path) == f"commit {commit} and local changes"


def test_an_unpacked_wheel_is_told_by_its_name_and_version(tmp_path: Path) -> None:
    assert unpacked_wheel(tmp_path, EDGETAM_WHEEL) is None
    (tmp_path / "edgetam_dimos-1.0.1.dist-info").mkdir()
    (tmp_path / "edgetam_dimos-1.0.1.dist-info" / "METADATA").write_text("Name: edgetam-dimos\nVersion: 1.0.1\n")
    assert unpacked_wheel(tmp_path, EDGETAM_WHEEL) == "edgetam-dimos 1.0.1"
    assert unpacked_wheel(tmp_path, "sam2") is None


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
    full = run_clip(runner, [make_prompt("bbox")], count=2)[1]
    with torch.amp.autocast("cpu", dtype), warnings.catch_warnings():
        warnings.simplefilter("error")
        masks, logits, finite = run_clip(runner, [make_prompt("bbox")], count=2)
    assert all(finite)
    assert masks[0].dtype == np.bool_
    assert not np.array_equal(np.stack(full), np.stack(logits))
    # Not everywhere: rounding may make a hole one pixel larger or smaller, and whether it is filled is then decided otherwise.
    assert np.mean(np.abs(np.stack(full) - np.stack(logits)) < 0.02) > 0.99


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
    frames = make_frames(MANY)
    runner.open(Clip("square", len(frames), HEIGHT, WIDTH), frames[0])
    kept, pruned = [], []
    for index, frame in enumerate(frames):
        _ = runner.prompt(0, frame, [make_prompt("mask")]) if index == 0 else runner.track(index, frame)
        pruned.append(runner._outputs[0][:, 0].numpy().copy())
        outputs = runner._session.output_dict_per_obj[0]["non_cond_frame_outputs"].values()
        kept.append((len(runner._session.processed_frames), len(outputs), sum("maskmem_features" in output for output in outputs)))
    assert kept[-1] == kept[-2] == (0, 15, 6)
    monkeypatch.setattr(hf.EdgeTamTransformersRunner, "_forget", lambda *_: None)
    whole = run_clip(runner, [make_prompt("mask")], count=len(frames))[1]
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
    from runners.transformers.names import source_of

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
    assert loaded.applied.weights == hashlib.sha256((tmp_path / "edgetam.pt").read_bytes()).hexdigest()
    assert all(torch.equal(a, b) for a, b in zip(runner._model.state_dict().values(), loaded._model.state_dict().values(), strict=True))


def test_checkpoint_faults_name_the_official_keys(official_state: dict[str, Any], hf: Any, tmp_path: Path) -> None:
    del official_state["spatial_perceiver.layers.1.attn.to_kv.weight"]
    del official_state["sam_prompt_encoder.point_embeddings.2.weight"]
    official_state["no_obj_embed_spatial"] = torch.zeros(1, 64)
    official_state["maskmem_tpos_enc"] = torch.zeros(6, 1, 1, 64)
    official_state["no_mem_embed"] = official_state["no_mem_embed"].to(torch.int64)
    torch.save({"model": official_state}, tmp_path / "edgetam.pt")
    with pytest.raises(RunnerError) as caught:
        build(BuildOptions(imgsz=IMGSZ, weights=tmp_path / "edgetam.pt"))
    message = str(caught.value)
    assert "2 missing: sam_prompt_encoder.point_embeddings.2.weight, spatial_perceiver.layers.1.attn.to_kv.weight" in message
    assert "1 unexpected: no_obj_embed_spatial" in message
    assert "1 of another shape: maskmem_tpos_enc" in message
    assert "1 of another type: no_mem_embed" in message


def test_truncated_checkpoint(official_state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "edgetam.pt"
    torch.save({"model": official_state}, path)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(RunnerError, match=r"edgetam\.pt: cannot be read"):
        build(BuildOptions(imgsz=IMGSZ, weights=path))


def test_missing_checkpoint_names_the_script(hf: Any, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"download_weights\.sh"):
        build(BuildOptions(imgsz=IMGSZ, weights=tmp_path / "edgetam.pt"))
