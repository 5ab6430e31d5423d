"""The official SAM 2.1 predictor driven frame by frame, with random weights at a small size."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs the sam2 package")

from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, Clip, Frame, Masks, Prompt, RunnerError  # noqa: E402
from runners.preprocessing import FramePreprocessor  # noqa: E402
from runners.sam2 import Sam2Runner  # noqa: E402

HEIGHT, WIDTH, FRAMES = 90, 120, 10
SPEC = RUNNERS["sam2_tiny"]
NANO = {"config": RUNNERS["sam2_nano"].config}
"""Options of a smaller one, for what the size of the model does not change."""

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def options(**changed: object) -> BuildOptions:
    return BuildOptions(**{"imgsz": 128, "config": SPEC.config, "device": "cpu", **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runner() -> Sam2Runner:
    return Sam2Runner(options())


@pytest.fixture(scope="module")
def nano() -> Sam2Runner:
    return Sam2Runner(options(**NANO))


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index in range(FRAMES):
        frame = np.roll(background, index, axis=1)
        frame[30:60, 20 + 4 * index : 50 + 4 * index] = (200, 40, 40)
        Image.fromarray(frame).save(folder / f"{index:05d}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def frames(clip_dir: Path) -> list[Frame]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(clip_dir.iterdir())]


def square(index: int = 0) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[30:60, 20 + 4 * index : 50 + 4 * index] = True
    return mask


PROMPTS = {
    "points": Prompt(1, "points", points_n2=np.array([[35, 45], [25, 40]], np.float32)),
    "bbox": Prompt(1, "bbox", box_4=np.array([20, 30, 49, 59], np.float32)),
    "mask": Prompt(1, "mask", mask_hw=square()),
}


def run(runner: Sam2Runner, frames: list[Frame], prompt: Prompt, start: int = 0) -> list[Masks]:
    runner.open(Clip("clip", len(frames), HEIGHT, WIDTH), frames[0])
    masks = [runner.prompt(start, frames[start], [prompt])]
    masks += [runner.track(index, frames[index]) for index in range(start + 1, len(frames))]
    runner.close()
    return masks


def upstream(runner: Sam2Runner, clip_dir: Path, prompt: Prompt, start: int = 0) -> list[Masks]:
    """The predictor as its documentation uses it, with its own loader of a whole clip."""
    predictor = runner._predictor
    state = predictor.init_state(str(clip_dir))
    if prompt.mask_hw is not None:
        predictor.add_new_mask(state, start, 1, prompt.mask_hw)
    elif prompt.box_4 is not None:
        predictor.add_new_points_or_box(state, start, 1, box=prompt.box_4)
    else:
        assert prompt.points_n2 is not None
        labels = np.ones(len(prompt.points_n2), np.int32)
        predictor.add_new_points_or_box(state, start, 1, points=prompt.points_n2, labels=labels)
    return [(logits[:, 0] > 0).numpy() for _, _, logits in predictor.propagate_in_video(state)]


@pytest.mark.parametrize("kind", sorted(PROMPTS))
@pytest.mark.parametrize("start", [0, 4])
def test_masks_are_upstreams_to_the_last_bit(runner: Sam2Runner, clip_dir: Path, frames: list[Frame], kind: str, start: int) -> None:
    ours, theirs = run(runner, frames, PROMPTS[kind], start), upstream(runner, clip_dir, PROMPTS[kind], start)
    assert len(ours) == len(theirs) == FRAMES - start
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert (mine.shape, mine.dtype) == ((1, HEIGHT, WIDTH), np.dtype(np.bool_))
    # Masks that are all empty or all full would equal anything.
    assert any(0 < mask.sum() < mask.size for mask in ours)


@pytest.fixture(scope="module")
def beside_upstreams() -> dict[str, tuple[Sam2Runner, Any]]:
    """For postprocessing on and off our runner, and upstream's predictor with its weights.

    Off is how the official evaluation script builds the predictor, on how it does with --apply_postprocessing.
    """
    from sam2.build_sam import build_sam2_video_predictor

    pairs = {}
    for setting in ("on", "off"):
        runner = Sam2Runner(options(postprocessing=setting))
        reference = build_sam2_video_predictor(
            SPEC.config, device="cpu", hydra_overrides_extra=["++model.image_size=128"], apply_postprocessing=setting == "on"
        )
        reference.load_state_dict(runner._predictor.state_dict())
        pairs[setting] = runner, reference
    return pairs


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(PROMPTS))
def test_postprocessing_is_upstreams_in_both_settings(
    beside_upstreams: dict[str, tuple[Sam2Runner, Any]], clip_dir: Path, frames: list[Frame], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = {}
    for setting, (runner, reference) in beside_upstreams.items():
        masks[setting] = run(runner, frames, PROMPTS[kind])
        with monkeypatch.context() as patch:
            patch.setattr(runner, "_predictor", reference)
            np.testing.assert_array_equal(masks[setting], upstream(runner, clip_dir, PROMPTS[kind]))
        assert runner.applied.hole_filling == ("opencv" if setting == "on" else "off")
    assert (np.array(masks["on"]) != np.array(masks["off"])).any()


@pytest.fixture(scope="module")
def long_clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer than any memory: 7 frames of features, 16 of pointers."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(1)
    background = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index in range(26):
        Image.fromarray(np.roll(background, 3 * index, axis=1)).save(folder / f"{index:05d}.jpg", quality=95)
    return folder


@pytest.mark.parametrize(("num_maskmem", "stride"), [(7, 1), (7, 3), (3, 2), (2, 1), (1, 1)])
def test_forgetting_changes_no_mask_and_memory_stays_flat(long_clip_dir: Path, num_maskmem: int, stride: int) -> None:
    runner = Sam2Runner(options(imgsz=64, **NANO))
    predictor = runner._predictor
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(long_clip_dir.iterdir())]
    predictor.num_maskmem, predictor.memory_temporal_stride_for_eval = num_maskmem, stride
    theirs = upstream(runner, long_clip_dir, PROMPTS["mask"], start=2)
    runner.open(Clip("clip", len(frames), HEIGHT, WIDTH), frames[0])
    np.testing.assert_array_equal(runner.prompt(2, frames[2], [PROMPTS["mask"]]), theirs[0])
    kept, features = [], []
    for index in range(3, len(frames)):
        np.testing.assert_array_equal(runner.track(index, frames[index]), theirs[index - 2])
        (store,) = runner._output_stores()
        kept.append(len(store["non_cond_frame_outputs"]))
        features.append(sum(output["maskmem_features"] is not None for output in store["non_cond_frame_outputs"].values()))
    assert max(kept) <= max(15, stride * (num_maskmem - 1) + 1)
    assert max(features) <= max(1, stride * (num_maskmem - 1) + 1)
    assert len({mask.tobytes() for mask in theirs}) > 10


def test_as_many_memories_as_it_has_change_nothing_and_fewer_do(nano: Sam2Runner, frames: list[Frame]) -> None:
    whole = run(nano, frames, PROMPTS["mask"])
    for mine, other in zip(run(Sam2Runner(options(num_maskmem=7, **NANO)), frames, PROMPTS["mask"]), whole, strict=True):
        np.testing.assert_array_equal(mine, other)
    fewer = Sam2Runner(options(num_maskmem=2, **NANO))
    changed = [bool((mine != other).any()) for mine, other in zip(run(fewer, frames, PROMPTS["mask"]), whole, strict=True)]
    # With the prompted frame and one more the first two frames see all there is.
    assert changed[:3] == [False, False, False]
    assert any(changed[3:])


def test_temporal_encodings_stay_with_what_they_were_trained_for(nano: Sam2Runner) -> None:
    seven, three = nano._predictor.maskmem_tpos_enc, Sam2Runner(options(num_maskmem=3, **NANO))._predictor.maskmem_tpos_enc
    assert torch.equal(three, torch.stack([seven[0], seven[1], seven[6]]))


def test_frames_are_prepared_as_upstream_loads_them(clip_dir: Path, frames: list[Frame]) -> None:
    from sam2.utils.misc import load_video_frames

    images, height, width = load_video_frames(str(clip_dir), 128, offload_video_to_cpu=True, compute_device=torch.device("cpu"))
    assert (height, width) == (HEIGHT, WIDTH)
    prepare = FramePreprocessor(128, torch.device("cpu"))
    for image_chw, frame_hwc in zip(images, frames, strict=True):
        assert torch.equal(prepare(frame_hwc), image_chw)


def test_an_object_added_in_mid_clip_does_not_change_the_others(nano: Sam2Runner, frames: list[Frame]) -> None:
    alone_1 = run(nano, frames, PROMPTS["mask"])
    second = Prompt(2, "mask", mask_hw=np.roll(square(), 15, axis=0))
    alone_2 = run(nano, frames, Prompt(1, "mask", mask_hw=second.mask_hw), start=3)
    nano.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    together = [nano.prompt(0, frames[0], [PROMPTS["mask"]])]
    together += [nano.track(index, frames[index]) for index in (1, 2)]
    together.append(nano.prompt(3, frames[3], [second]))
    together += [nano.track(index, frames[index]) for index in range(4, FRAMES)]
    nano.close()
    for index, masks in enumerate(together):
        np.testing.assert_array_equal(masks[0], alone_1[index][0])
        if index >= 3:
            np.testing.assert_array_equal(masks[1], alone_2[index - 3][0])


def test_the_seed_decides_random_weights() -> None:
    def first(seed: int) -> Any:
        return next(Sam2Runner(options(seed=seed, **NANO))._predictor.parameters())

    assert torch.equal(first(7), first(7))
    assert not torch.equal(first(7), first(8))


def test_applied_says_what_runs(runner: Sam2Runner) -> None:
    applied = runner.applied
    assert (applied.imgsz, applied.device, applied.weights) == (128, "cpu", "random")
    assert applied.implementation.startswith("sam2 1.")
    assert 38e6 < applied.parameters < 40e6


@pytest.mark.parametrize("imgsz", [0, 100, 1000])
def test_sizes_it_cannot_run_are_refused_by_name(imgsz: int) -> None:
    with pytest.raises(RunnerError, match=f"sam2: {imgsz} is not a size it can run; use a multiple of 32"):
        Sam2Runner(options(imgsz=imgsz))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_autocast_runs(runner: Sam2Runner, frames: list[Frame], dtype: Any) -> None:
    with torch.amp.autocast("cpu", dtype=dtype):
        masks = run(runner, frames[:4], PROMPTS["mask"])
    assert len(masks) == 4


def test_parts_cover_the_call_and_finite_output_is_reported(runner: Sam2Runner, frames: list[Frame]) -> None:
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [PROMPTS["points"]])
    runner.track(1, frames[1])
    report = runner.inspect()
    assert list(report.parts_ms) == ["preprocess_ms", "model_ms", "output_ms"]
    assert all(value > 0 for value in report.parts_ms.values())
    assert report.finite


def test_each_object_has_the_score_that_upstream_stores(runner: Sam2Runner, frames: list[Frame]) -> None:
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    assert runner.inspect().object_scores == ()
    runner.prompt(0, frames[0], [PROMPTS["points"], replace(PROMPTS["bbox"], object_id=2)])
    masks_nhw = runner.track(1, frames[1])
    stored = [outputs["non_cond_frame_outputs"][1] for outputs in runner._opened()["output_dict_per_obj"].values()]
    scores = runner.inspect().object_scores
    assert scores == tuple(float(output["object_score_logits"]) for output in stored)
    # an object that the model says is not there has no mask
    assert all(score > 0 or not mask_hw.any() for score, mask_hw in zip(scores, masks_nhw, strict=True))


@pytest.mark.parametrize("where", ["sam_mask_decoder.pred_obj_score_head", "memory_attention", "obj_ptr_proj"])
def test_nan_is_found_also_where_upstream_hides_it(frames: list[Frame], where: str) -> None:
    runner = Sam2Runner(options(**NANO))
    with torch.no_grad():
        for weight in runner._predictor.get_submodule(where).parameters():  # of one alone, kernels of torch 2.5 on a CPU lose the NaN
            weight.fill_(float("nan"))
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [PROMPTS["mask"]])
    runner.track(1, frames[1])
    assert not runner.inspect().finite


def test_calls_out_of_order_are_refused(runner: Sam2Runner, frames: list[Frame]) -> None:
    runner.close()
    with pytest.raises(RunnerError, match="open a clip"):
        runner.prompt(0, frames[0], [PROMPTS["mask"]])
    runner.open(Clip("clip", 3, HEIGHT, WIDTH), frames[0])
    with pytest.raises(RunnerError, match="prompt an object"):
        runner.track(1, frames[1])
    runner.prompt(0, frames[0], [PROMPTS["mask"]])
    with pytest.raises(RunnerError, match="without a gap"):
        runner.track(2, frames[2])
    runner.close()


def test_tracking_past_the_end_is_refused(runner: Sam2Runner, frames: list[Frame]) -> None:
    runner.open(Clip("clip", 2, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], [PROMPTS["mask"]])
    runner.track(1, frames[1])
    with pytest.raises(RunnerError, match="behind the end"):
        runner.track(2, frames[2])
    runner.close()


# ---- weights


@pytest.fixture(scope="module")
def checkpoint(runner: Sam2Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": runner._predictor.state_dict()}, path)
    return path


def test_a_checkpoint_gives_its_weights_whatever_the_seed(runner: Sam2Runner, checkpoint: Path, frames: list[Frame]) -> None:
    loaded = Sam2Runner(options(weights=checkpoint, seed=99))
    assert loaded.applied.weights == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for mine, other in zip(run(loaded, frames, PROMPTS["bbox"]), run(runner, frames, PROMPTS["bbox"]), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_keys_that_do_not_fit_are_named(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    del state["no_mem_embed"]
    state["extra"] = torch.zeros(1)
    state["maskmem_tpos_enc"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "changed.pt")
    with pytest.raises(RunnerError, match=r"1 missing: no_mem_embed; 1 unexpected: extra; 1 of another shape: maskmem_tpos_enc"):
        Sam2Runner(options(weights=tmp_path / "changed.pt"))


@pytest.mark.parametrize("content", ["truncated", "html", "empty", "other"])
def test_damaged_files_are_refused_with_the_remedy(checkpoint: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "damaged.pt"
    if content == "other":
        path.write_bytes(b"12345678")
    else:
        path.write_bytes({"truncated": checkpoint.read_bytes()[:100_000], "html": b"<html>404</html>", "empty": b""}[content])
    with pytest.raises(RunnerError, match=r"damaged\.pt.*download_weights\.sh"):
        Sam2Runner(options(weights=path))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('code was run')",))

    torch.save({"model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(RunnerError, match="reading that would run code"):
        Sam2Runner(options(weights=tmp_path / "trap.pt"))


# ---- package and device


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="not a checkout"):
        Sam2Runner(options(source_dir=tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_with_the_remedy() -> None:
    with pytest.raises(RunnerError, match=r"--device cuda: torch .* sees no GPU; use --device cpu"):
        Sam2Runner(options(device="cuda"))


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(RunnerError, match="not a device"):
        Sam2Runner(options(device=device))
