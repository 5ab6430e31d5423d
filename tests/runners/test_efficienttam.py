"""EfficientTAM's runner: over a stand-in with SAM 2's code everywhere, over the official code where there is a checkout.

The checkout: scripts/get_efficienttam.sh, in $EFFICIENTTAM_DIR or ./EfficientTAM. PyPI has no package of it, so that CI runs the stand-in.
"""

from __future__ import annotations

import sys
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

from attention_clip import kernels_of_a_frame  # noqa: E402
from edgetam_clip import HEIGHT, MANY, WIDTH, make_frames, make_prompt, other_mask, run_clip  # noqa: E402
from efficienttam_code import PACKAGE, checkout, make_stand_in  # noqa: E402

from runners import RUNNERS, SHIPPED_WEIGHTS, compiling, sources  # noqa: E402
from runners.base import BuildOptions, Clip, Frame, Prompt, RunnerError  # noqa: E402
from runners.efficienttam import EfficientTamRunner  # noqa: E402
from runners.sam2 import Sam2Runner  # noqa: E402
from runners.sizes import check_size  # noqa: E402

TINY = RUNNERS["efficienttam_ti"]
IMGSZ = 64
VARIANTS = ("ti", "ti_1", "ti_2")

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is imported anew, and leaves nothing behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == PACKAGE}
    for name in before:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    sys.modules.update(before)


# Without its code -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "refused", "taken"), [("ti", 40, 48), ("s_512x512", 1000, 1008), ("ti_1", 48, 64), ("s_2", 1008, 1024)]
)
def test_sizes_are_multiples_of_the_patch_and_of_two_with_pooled_memories(variant: str, refused: int, taken: int) -> None:
    spec = RUNNERS[f"efficienttam_{variant}"]
    check_size(spec.family, taken, spec.config)
    with pytest.raises(RunnerError, match=rf"^efficienttam: {refused} is not a size it can run; use a multiple of (16|32), for example"):
        check_size(spec.family, refused, spec.config)
    check_size(spec.family, int(spec.imgsz or 0), spec.config)


@pytest.mark.usefixtures("forgotten")
def test_missing_code_is_named_with_what_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(RunnerError, match=r"cannot import efficient_track_anything .*scripts/get_efficienttam\.sh"):
        TINY.build(BuildOptions(imgsz=IMGSZ, config=TINY.config))
    with pytest.raises(RunnerError, match="not a checkout with a efficient_track_anything package"):
        TINY.build(BuildOptions(imgsz=IMGSZ, config=TINY.config, source_dir=tmp_path))


# Over a stand-in ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("postprocessing", ["on", "off"])
def test_over_sam2_s_code_masks_are_sam2_s(tmp_path: Path, postprocessing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nano = RUNNERS["sam2_nano"]
    options = BuildOptions(
        imgsz=nano.imgsz, config=nano.config, weights=SHIPPED_WEIGHTS / str(nano.checkpoint), postprocessing=postprocessing
    )
    known = Sam2Runner(options)
    source_dir = make_stand_in(tmp_path / "EfficientTAM")
    runner: Any = TINY.build(replace(options, config=TINY.config, source_dir=source_dir, stages=True))
    assert isinstance(runner, EfficientTamRunner)
    assert capsys.readouterr().out == ""
    assert runner.applied.implementation == "EfficientTAM checkout (commit unknown)"
    assert (runner.applied.imgsz, runner.applied.parameters) == (nano.imgsz, known.applied.parameters)
    assert runner.applied.hole_filling == ("opencv" if postprocessing == "on" else "off")
    assert any(note.startswith("image encoder compiled only with --compile") for note in runner.applied.notes)
    prompts = [make_prompt("bbox"), other_mask(2)]
    for ours, theirs in zip(run_clip(runner, prompts)[1], run_clip(known, prompts)[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.std() > 0
    frames = make_frames(2)
    runner.open(Clip("square", 2, HEIGHT, WIDTH), frames[0])
    runner.prompt(0, frames[0], prompts)
    runner.track(1, frames[1])
    stages_ms = runner.inspect().stages_ms
    holes = {"hole_filling"} if postprocessing == "on" else set()
    spent = {"image_encoder", "memory_attention", "memory_encoder", "mask_decoder", "resize_copy", "other"} | holes
    assert {stage for stage, ms in stages_ms.items() if ms > 0} == spent
    Sam2Runner(options)  # Hydra finds the others' configurations again


@pytest.mark.usefixtures("forgotten")
def test_a_checkpoint_is_read_from_under_its_key_and_must_fit(tmp_path: Path) -> None:
    options = {"imgsz": IMGSZ, "config": TINY.config, "source_dir": make_stand_in(tmp_path)}
    state = TINY.build(BuildOptions(**options, seed=1))._predictor.state_dict()  # type: ignore[attr-defined, arg-type]
    torch.save({"model": state}, tmp_path / "efficienttam_ti.pt")
    loaded: Any = TINY.build(BuildOptions(**options, weights=tmp_path / "efficienttam_ti.pt"))  # type: ignore[arg-type]
    assert all(torch.equal(state[key], value) for key, value in loaded._predictor.state_dict().items())
    assert len(loaded.applied.weights) == 64
    torch.save({"model": {key: value for key, value in state.items() if key != "no_mem_embed"}}, tmp_path / "short.pt")
    with pytest.raises(RunnerError, match="1 missing: no_mem_embed"):
        TINY.build(BuildOptions(**options, weights=tmp_path / "short.pt"))  # type: ignore[arg-type]


@pytest.mark.usefixtures("forgotten")
def test_only_what_is_asked_for_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    options = BuildOptions(imgsz=IMGSZ, config=TINY.config, source_dir=make_stand_in(tmp_path))
    built: dict[Any, Any] = {scope: TINY.build(replace(options, compile=scope)) for scope in ("off", "encoder", "full")}
    assert [len(runner._compiler._parts) for runner in built.values()] == [0, 1, 5]
    assert [type(runner._predictor).__name__.endswith("VOS") for runner in built.values()] == [False, False, True]
    run_clip(built["encoder"], [make_prompt("mask")], count=3)
    report = built["encoder"]._compiler.report()
    assert (report.fallback, report.graphs) == ("", 1)


@pytest.mark.usefixtures("forgotten")
def test_another_package_of_the_name_in_the_process_is_an_error(tmp_path: Path) -> None:
    sources.import_package(PACKAGE, "build_efficienttam", make_stand_in(tmp_path / "one"), "")
    with pytest.raises(RunnerError, match="each model family needs its own process"):
        sources.import_package(PACKAGE, "build_efficienttam", make_stand_in(tmp_path / "two"), "")


# Over the official code -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official() -> Path:
    found = checkout()
    if found is None:
        pytest.skip("no checkout of EfficientTAM in $EFFICIENTTAM_DIR or ./EfficientTAM; scripts/get_efficienttam.sh gets it")
    return found


@pytest.fixture(scope="module")
def runners(official: Path) -> dict[str, Any]:
    built = {}
    for variant in VARIANTS:
        spec = RUNNERS[f"efficienttam_{variant}"]
        built[variant] = with_objects_present(spec.build(BuildOptions(imgsz=IMGSZ, config=spec.config, source_dir=official, seed=3)))
    return built


def with_objects_present(runner: Any) -> Any:
    """Of an object judged absent, logits are constant, and would equal anything."""
    with torch.no_grad():
        runner._predictor.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 1.0
    return runner


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clip")
    for index, frame_hwc in enumerate(make_frames(MANY + 1)):
        Image.fromarray(frame_hwc).save(folder / f"{index:05d}.jpg", quality=95)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def frames(files: list[Path]) -> list[Frame]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in files]


def upstream(predictor: Any, folder: Path, prompts: list[Prompt]) -> list[Any]:
    """The predictor as its documentation uses it, with its own loader of the whole clip. Logits by frame, float32."""
    state = predictor.init_state(str(folder))
    for prompt in prompts:
        if prompt.mask_hw is not None:
            predictor.add_new_mask(state, 0, prompt.object_id, prompt.mask_hw)
        elif prompt.box_4 is not None:
            predictor.add_new_points_or_box(state, 0, prompt.object_id, box=prompt.box_4)
        elif prompt.points_n2 is not None:
            labels_n = np.ones(len(prompt.points_n2), np.int32)
            predictor.add_new_points_or_box(state, 0, prompt.object_id, points=prompt.points_n2, labels=labels_n)
    return [logits.numpy() for _, _, logits in predictor.propagate_in_video(state)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_upstream_s_to_the_last_bit_longer_than_the_memory(
    runners: dict[str, Any], files: list[Path], frames: list[Frame], variant: str
) -> None:
    runner = runners[variant]
    kind = {"ti": "points", "ti_1": "bbox", "ti_2": "mask"}[variant]
    prompts = [make_prompt(kind), other_mask(2)]
    runner.open(Clip("clip", len(frames), HEIGHT, WIDTH), frames[0])
    kept = []
    for index, frame_hwc in enumerate(frames):
        masks_nhw = runner.track(index, frame_hwc) if index else runner.prompt(0, frame_hwc, prompts)
        logits_n1hw = runner._logits_n1hw.numpy().copy()
        np.testing.assert_array_equal(masks_nhw, logits_n1hw[:, 0] > 0)
        kept.append(logits_n1hw)
    stores = [store["non_cond_frame_outputs"] for store in runner._output_stores()]
    assert max(map(len, stores)) <= runner.applied.memory_frames  # flat, however long the clip
    runner.close()
    known = upstream(runner._predictor, files[0].parent, prompts)
    np.testing.assert_array_equal(np.stack(kept), np.stack(known))
    assert any(0 < (logits > 0).sum() < logits.size for logits in kept)


def test_what_runs_is_the_published_architecture(runners: dict[str, Any]) -> None:
    assert runners["ti"].applied.parameters == 17_866_018  # 18 M in the paper; its float32 take 71.5 of the file's 71.6 MB
    assert runners["ti"].applied.takes_late_objects
    kinds = [type(runners[variant]._predictor.memory_attention.layers[0].cross_attn_image).__name__ for variant in VARIANTS]
    assert kinds == ["RoPEAttention", "EfficientRoPEAttention1", "EfficientRoPEAttention2"]
    assert not hasattr(runners["ti"]._predictor.image_encoder.forward, "_torchdynamo_orig_callable")
    assert [any("whatever --attention" in note for note in runners[variant].applied.notes) for variant in VARIANTS] == [False, True, False]


@pytest.mark.parametrize(("variant", "calls"), [("ti", 27), ("ti_1", 23), ("ti_2", 27)])
@pytest.mark.parametrize(("choice", "kernel"), [("auto", "flash_cpu"), ("math", "math"), ("manual", "manual")])
def test_calls_go_through_the_choice(runners: dict[str, Any], variant: str, calls: int, choice: str, kernel: str) -> None:
    """12 of the image encoder, 8 of the memory attention (4 by matrix products in `_1`), 7 of the mask decoder."""
    assert kernels_of_a_frame(runners[variant], choice, "bfloat16") == {kernel: calls}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lower_precisions_stay_finite(runners: dict[str, Any], dtype: str) -> None:
    for variant in VARIANTS:
        with torch.amp.autocast("cpu", getattr(torch, dtype)):
            _, logits, finite = run_clip(runners[variant], [make_prompt("bbox")], count=3)
        assert all(finite)
        assert np.stack(logits).std() > 0


def test_upstream_s_memory_mode_gives_the_same_masks(
    official: Path, runners: dict[str, Any], files: list[Path], frames: list[Frame]
) -> None:
    options = BuildOptions(imgsz=IMGSZ, config=TINY.config, source_dir=official, seed=3, memory="upstream")
    whole = with_objects_present(TINY.build(options))
    masks = []
    for runner in (whole, runners["ti"]):
        runner.open(Clip("clip", 4, HEIGHT, WIDTH, tuple(files[:4])), frames[0])
        masks.append([runner.prompt(0, frames[0], [make_prompt("mask")]), *(runner.track(i, frames[i]) for i in range(1, 4))])
        runner.close()
    np.testing.assert_array_equal(np.stack(masks[0]), np.stack(masks[1]))
