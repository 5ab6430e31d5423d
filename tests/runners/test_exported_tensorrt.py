"""TensorRT where it is not installed: what is said, and with a stand-in for the package, what a graph that it refuses leads to.

`tests/gpu/test_gpu_runtimes.py` runs the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners.base import RunnerError  # noqa: E402
from runners.exported import ort, trt  # noqa: E402


class StandIn:
    """What `runners.exported.trt` uses of the package `tensorrt` to build an engine.

    Attributes:
        faults: what the parser reports, as node and text; empty: it parses every graph.
        engine: what the builder returns; None: it fails.
        has_bf16: whether this release knows bfloat16.
    """

    __version__ = "10.3.0"

    def __init__(self, faults: tuple[tuple[str, str], ...] = (), engine: bytes | None = b"engine", *, has_bf16: bool = True) -> None:
        self.asked: dict[str, Any] = {"flags": [], "cleared": [], "shapes": {}}
        flags = {"TF32": "TF32", **({"BF16": "BF16"} if has_bf16 else {})}
        self.BuilderFlag = SimpleNamespace(**flags)
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.Logger = lambda level: None
        self.Logger.ERROR = 1  # type: ignore[attr-defined]
        listed = [SimpleNamespace(node_name=lambda node=node: node, desc=lambda text=text: text) for node, text in faults]
        self.OnnxParser = lambda network, logger: SimpleNamespace(
            parse_from_file=lambda path: not faults, num_errors=len(listed), get_error=listed.__getitem__
        )
        config = SimpleNamespace(
            set_flag=self.asked["flags"].append, clear_flag=self.asked["cleared"].append, add_optimization_profile=lambda profile: None
        )
        profile = SimpleNamespace(set_shape=lambda name, *shapes: self.asked["shapes"].update({name: shapes}))
        self.Builder = lambda logger: SimpleNamespace(
            create_network=lambda typed: self.asked.update(typed=typed),
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=lambda network, config: engine,
        )


def build(monkeypatch: pytest.MonkeyPatch, folder: Path, stand_in: StandIn, dtype: str = "float32") -> StandIn:
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    shapes = {"memories": ([1, 144, 1, 32], [7, 144, 1, 32], [8, 144, 1, 32])}
    trt.build_engine("memory_attention", folder / "graph.onnx", folder / "engine", dtype, shapes)
    return stand_in


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RunnerError, match=r"cannot import tensorrt .*python3-libnvinfer.* or use --runtime onnx"):
        trt.import_tensorrt()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_engine_computes_in_the_dtypes_of_the_graph_for_the_range_of_shapes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dtype: str
) -> None:
    asked = build(monkeypatch, tmp_path, StandIn(), dtype).asked
    assert (asked["typed"], asked["flags"], asked["cleared"]) == (2, [], ["TF32"])
    assert asked["shapes"] == {"memories": ((1, 144, 1, 32), (7, 144, 1, 32), (8, 144, 1, 32))}
    assert (tmp_path / "engine").read_bytes() == b"engine"


def test_bfloat16_is_tensorrt_s_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = build(monkeypatch, tmp_path, StandIn(), "bfloat16").asked
    assert (asked["typed"], asked["flags"]) == (0, ["BF16"])


def test_a_node_that_cannot_be_parsed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        RunnerError, match=r"10.3.0 cannot run all nodes of the stage memory_attention \(node_pow: no\s+importer for Pow; the"
    ):
        build(monkeypatch, tmp_path, StandIn(faults=(("node_pow", "no\n importer for Pow"), ("", "more"))))
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize(
    ("stand_in", "dtype", "problem"),
    [
        (StandIn(engine=None), "float16", "cannot build an engine of the stage memory_attention in float16"),
        (StandIn(has_bf16=False), "bfloat16", "TensorRT 10.3.0 does not have it; use float16 or float32"),
    ],
)
def test_what_cannot_be_built_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stand_in: StandIn, dtype: str, problem: str
) -> None:
    with pytest.raises(RunnerError, match=problem):
        build(monkeypatch, tmp_path, stand_in, dtype)


def test_an_engine_s_name_holds_version_and_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", StandIn())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Orin (nvgpu)")
    name = trt.engine_name("image_encoder", "float16", torch.device("cuda:0"))
    assert name == "image_encoder.float16.tensorrt-10.3.0.Orin__nvgpu_.engine"


def test_the_provider_s_options_say_range_and_cache(tmp_path: Path) -> None:
    shapes = {"points": ([1, 1, 2], [1, 1, 2], [1, 16, 2]), "labels": ([1, 1], [1, 1], [1, 16])}
    options = ort.tensorrt_options(tmp_path, "float16", shapes)
    assert options["trt_profile_max_shapes"] == "points:1x16x2,labels:1x16"
    assert (options["trt_fp16_enable"], options["trt_engine_cache_path"]) == ("1", str(tmp_path))
    assert ort.tensorrt_options(tmp_path, "float32", {}).keys() == {"trt_engine_cache_enable", "trt_engine_cache_path", "trt_fp16_enable"}
