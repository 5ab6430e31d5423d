"""A model whose stages run as exported graphs: the same masks as torch's, from the same predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from nano_clip import score_split

torch = pytest.importorskip("torch", reason="needs torch")
for package in ("sam2", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package} (requirements-onnx.txt)")

from runners import PROMPT_KINDS, RUNNERS, SHIPPED_WEIGHTS  # noqa: E402
from runners.base import BuildOptions, PromptKind, RunnerError  # noqa: E402
from runners.exported import CALIBRATION_FRAMES, ort, variants  # noqa: E402
from runners.exported.boundary import SIGNATURES, Boundary  # noqa: E402
from runners.exported.graphs import examples  # noqa: E402
from runners.exported.ort import OrtStage, check_placement, placement  # noqa: E402
from runners.sam2 import Sam2Runner  # noqa: E402
from savbench.data.dataset import open_split  # noqa: E402
from savbench.data.demo.split import generate_demo_split  # noqa: E402
from savbench.measure.calibration import calibration_frames  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SPEC = RUNNERS["sam2_nano"]
TOLERANCE = 2e-4
"""Of a stage's output, relative to its largest value; 1e-5 was seen."""


def options(**changed: Any) -> BuildOptions:
    weights = SHIPPED_WEIGHTS / "sam2_nano.pt"
    return BuildOptions(**{"imgsz": SPEC.imgsz, "config": SPEC.config, "device": "cpu", "weights": weights, **changed})


@pytest.fixture(scope="module")
def split_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip with four objects, some of which come late."""
    return generate_demo_split(tmp_path_factory.mktemp("nano") / "split", seed=20, videos=1, frames=24)


@pytest.fixture(scope="module")
def native() -> Sam2Runner:
    return Sam2Runner(options())


@pytest.fixture(scope="module")
def exported(exported_dir: Path) -> Sam2Runner:
    return Sam2Runner(options(runtime="onnx", exported_dir=exported_dir))


@pytest.fixture(scope="module")
def stages(exported_dir: Path, exported: Sam2Runner) -> Mapping[str, OrtStage]:
    """The graphs that the runner has put into the cache, loaded once more."""
    (folder,) = exported_dir.glob(f"sam2_nano-{SPEC.imgsz}px-*")
    inputs = examples(Boundary(exported._predictor))
    return {name: OrtStage(name, folder / f"{name}.onnx", torch.device("cpu"), inputs[name]) for name in SIGNATURES}


@pytest.mark.parametrize("prompt", PROMPT_KINDS)
def test_scores_are_torch_s(native: Sam2Runner, exported: Sam2Runner, split_dir: Path, prompt: PromptKind) -> None:
    with torch.inference_mode():
        expected, found = (score_split(runner, split_dir, prompt) for runner in (native, exported))
    assert found == pytest.approx(expected, abs=1e-4)
    assert expected > 0.5


def test_the_row_learns_what_ran_where(exported: Sam2Runner, native: Sam2Runner) -> None:
    report = exported.applied.runtime
    assert report is not None
    assert report.version.startswith("onnxruntime 1.")
    counted = dict(part.split(" CPU ") for part in report.placement.split(" | "))
    assert list(counted) == list(SIGNATURES)
    assert all(float(part.split()[1]) < TOLERANCE for part in report.difference.split(" | "))
    assert all(int(nodes) > 50 for nodes in counted.values())
    assert report.export_s > 1
    assert report.size_mib == pytest.approx(9.5, abs=2)
    assert native.applied.runtime is None


@pytest.mark.parametrize("memories", range(1, 8))
@pytest.mark.parametrize("pointers", [1, 2, 16])
def test_memory_attention_takes_any_number_of_memories_and_pointers(
    native: Sam2Runner, stages: Mapping[str, OrtStage], memories: int, pointers: int
) -> None:
    features, position, memory, _, pointer, _ = examples(Boundary(native._predictor))["memory_attention"]
    tokens = pointers * native._predictor.hidden_dim // native._predictor.mem_dim
    held = [torch.randn(memories, *memory.shape[1:]) for _ in range(2)] + [torch.randn(tokens, *pointer.shape[1:]) for _ in range(2)]
    agree(native, stages, "memory_attention", (features, position, *held))


@pytest.mark.parametrize("points", [1, 2, 5])
@pytest.mark.parametrize("has_mask", [False, True])
def test_the_mask_decoder_takes_any_number_of_points_with_and_without_a_mask(
    native: Sam2Runner, stages: Mapping[str, OrtStage], points: int, has_mask: bool
) -> None:
    *features, _, _, mask, _ = examples(Boundary(native._predictor))["mask_decoder"]
    labels = torch.tensor([[1, -1, 0, 2, 3]], dtype=torch.int32)[:, :points]
    agree(native, stages, "mask_decoder", (*features, torch.rand(1, points, 2) * 192, labels, mask, torch.tensor([has_mask])))


def agree(native: Sam2Runner, stages: Mapping[str, OrtStage], stage: str, inputs: tuple[Any, ...]) -> None:
    with torch.inference_mode():
        expected = Boundary(native._predictor).torch_stages()[stage](*inputs)
    for wanted, found, name in zip(expected, stages[stage](*inputs), SIGNATURES[stage].outputs, strict=True):
        assert found.dtype == wanted.dtype
        assert float((found - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max()), name


def test_float16_scores_nearly_the_same_and_its_points_stay_in_float32(native: Sam2Runner, exported_dir: Path, split_dir: Path) -> None:
    runner = Sam2Runner(options(runtime="onnx", autocast_dtype="float16", exported_dir=exported_dir))
    assert runner.applied.runtime is not None
    within = [float(part.split()[1]) for part in runner.applied.runtime.difference.split(" | ")]
    assert 1e-6 < max(within) < 0.01
    with torch.inference_mode():
        expected = score_split(native, split_dir, "points")
        with torch.autocast("cpu", torch.float16):
            found = score_split(runner, split_dir, "points")
    assert found == pytest.approx(expected, abs=0.02)
    onnx = pytest.importorskip("onnx")
    (folder,) = exported_dir.glob(f"sam2_nano-{SPEC.imgsz}px-*")
    kept = variants._nodes_of_points(onnx.load(folder / "mask_decoder.onnx").graph)
    kinds = {node.name: node.op_type for node in onnx.load(folder / "mask_decoder.onnx").graph.node}
    assert {"Sin", "Cos"} <= {kinds[name] for name in kept}
    assert 10 < len(kept) < len(kinds) / 2


@pytest.mark.slow
def test_int8_quantises_the_encoder_alone_on_the_frames_it_is_given(native: Sam2Runner, exported_dir: Path, split_dir: Path) -> None:
    split = open_split(split_dir)
    runner = Sam2Runner(options(runtime="onnx-int8", exported_dir=exported_dir, calibration=lambda: calibration_frames(split)))
    report = runner.applied.runtime
    assert report is not None
    within = {stage: float(value) for stage, value in (part.split() for part in report.difference.split(" | "))}
    assert within.pop("image_encoder") > 1e-3 > max(within.values())
    with torch.inference_mode():
        assert score_split(runner, split_dir, "points") == pytest.approx(score_split(native, split_dir, "points"), abs=0.1)


def test_int8_without_frames_says_what_is_missing(exported_dir: Path) -> None:
    with pytest.raises(RunnerError, match="onnx-int8: has no frames to calibrate on; give a split"):
        Sam2Runner(options(runtime="onnx-int8", exported_dir=exported_dir))


def test_calibration_frames_are_spread_over_the_split(split_dir: Path, tmp_path: Path) -> None:
    assert len(calibration_frames(open_split(split_dir))) == CALIBRATION_FRAMES
    several = generate_demo_split(tmp_path / "several", videos=3, frames=24, height=64, width=96)
    assert [frame.shape for frame in calibration_frames(open_split(several), 2)] == [(64, 96, 3)] * 2
    assert len(calibration_frames(open_split(several), 7)) == 7


@pytest.mark.parametrize("runtime", ["tensorrt", "onnx-tensorrt", "tensorrt-int8"])
def test_a_runtime_of_gpus_on_the_cpu_says_which_to_use(exported_dir: Path, runtime: str) -> None:
    with pytest.raises(RunnerError, match="runs on NVIDIA GPUs only, not on cpu; use --runtime onnx"):
        Sam2Runner(options(runtime=runtime, exported_dir=exported_dir))


def test_results_are_the_caller_s(stages: Mapping[str, OrtStage], native: Sam2Runner) -> None:
    """A stage's next call must not write where the predictor still reads."""
    image, other = torch.zeros(1, 3, 192, 192), torch.ones(1, 3, 192, 192)
    first = stages["image_encoder"](image)
    kept = [tensor.clone() for tensor in first]
    stages["image_encoder"](other)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_other_families_say_who_can(exported_dir: Path) -> None:
    with pytest.raises(RunnerError, match="sam1 has no exported stages, only edgetam and sam2 have; use --runtime torch"):
        RUNNERS["sam1_base"].build(BuildOptions(runtime="onnx", exported_dir=exported_dir))


def test_a_dtype_that_the_runtime_lacks_says_which_it_has(exported_dir: Path) -> None:
    with pytest.raises(RunnerError, match="has no bfloat16; use --autocast_dtype float32"):
        Sam2Runner(options(runtime="onnx", autocast_dtype="bfloat16", exported_dir=exported_dir))


def test_a_runtime_without_the_device_s_provider_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"on cuda:0: this onnxruntime [\d.]+ has no CUDAExecutionProvider, only .*CPU.*; install"):
        OrtStage("image_encoder", tmp_path / "none.onnx", torch.device("cuda:0"), ())


def test_a_graph_that_cannot_be_loaded_names_the_stage(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(RunnerError, match="cannot load the stage mask_decoder for CPUExecutionProvider"):
        OrtStage("mask_decoder", tmp_path / "bad.onnx", torch.device("cpu"), ())


def test_a_missing_package_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(RunnerError, match=r"cannot import onnxruntime .* requirements-onnx.txt, or use --runtime torch"):
        ort.import_runtime()


def event(name: str, op: str, provider: str, kind: str) -> dict[str, Any]:
    shapes = [{kind: [1, 4]}]
    args = {"op_name": op, "provider": provider, "input_type_shape": shapes, "output_type_shape": shapes}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": args}


def profile(folder: Path, *events: dict[str, Any]) -> Path:
    path = folder / "profile.json"
    path.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, *events]), encoding="utf-8")
    return path


CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_arithmetic_on_shapes_may_stay_on_the_cpu(tmp_path: Path) -> None:
    placed = placement(profile(tmp_path, event("conv", "Conv", CUDA, "float"), event("concat", "Concat", CPU, "int64")))
    assert {provider: nodes.total() for provider, nodes in placed.items()} == {CUDA: 1}
    check_placement("image_encoder", CUDA, placed)


def test_a_node_elsewhere_is_named(tmp_path: Path) -> None:
    placed = placement(profile(tmp_path, event("conv", "Conv", CUDA, "float16"), event("norm_3", "LayerNormalization", CPU, "float16")))
    with pytest.raises(RunnerError, match=r"1 nodes ran elsewhere \(LayerNormalization norm_3 on CPUExecutionProvider\)"):
        check_placement("image_encoder", CUDA, placed)


def test_a_provider_that_was_not_loaded_is_seen(tmp_path: Path) -> None:
    placed = placement(profile(tmp_path, *(event(f"conv_{n}", "Conv", CPU, "float") for n in range(7))))
    with pytest.raises(
        RunnerError, match=r"does not run all of the stage image_encoder: 7 nodes .*conv_4 on CPUExecutionProvider, \.\.\.\)"
    ):
        check_placement("image_encoder", CUDA, placed)
