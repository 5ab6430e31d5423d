"""Exported graphs on a GPU: ONNX Runtime's CUDA and TensorRT providers, and engines of the `tensorrt` package.

A case is skipped where its package is missing. Device memory is bound, so nothing goes through the host; the masks must be torch's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that this torch can use", allow_module_level=True)

from edgetam_clip import checkout  # noqa: E402
from edgetam_exported import report_of  # noqa: E402
from nano_clip import score_split  # noqa: E402

from runners import RUNNERS, SHIPPED_WEIGHTS  # noqa: E402
from runners.base import BuildOptions, VideoRunner  # noqa: E402
from savbench.data.dataset import open_split  # noqa: E402
from savbench.data.demo.split import generate_demo_split  # noqa: E402
from savbench.measure.calibration import calibration_frames  # noqa: E402
from savbench.measure.devices import TorchDevice  # noqa: E402

pytestmark = pytest.mark.slow

SPEC = RUNNERS["sam2_nano"]
CASES = [
    ("onnx", "float32", 1e-3),
    ("onnx", "float16", 0.02),
    ("onnx-tensorrt", "float32", 1e-3),
    ("onnx-tensorrt", "float16", 0.02),
    ("tensorrt", "float32", 1e-3),
    ("tensorrt", "float16", 0.02),
    ("tensorrt", "bfloat16", 0.04),
    ("tensorrt-int8", "float32", 0.1),
]
"""Runtime, dtype, and how far J&F may be from torch's float32."""
EDGETAM_CASES = [
    ("onnx", "float32", 0.01),
    ("onnx", "float16", 0.03),
    ("onnx-tensorrt", "float32", 0.01),
    ("onnx-tensorrt", "float16", 0.03),
    ("tensorrt", "float32", 0.01),
    ("tensorrt", "float16", 0.03),
    ("tensorrt", "bfloat16", 0.1),
    ("tensorrt-int8", "float32", 0.3),
]
"""Runtime, dtype, and how many pixels of untrained weights may differ from torch's float32, as a share of the mask."""


def require(runtime: str) -> None:
    """Skip where this machine has no such runtime."""
    if runtime.startswith("tensorrt"):
        pytest.importorskip("tensorrt", reason="needs tensorrt, JetPack's python3-libnvinfer")
        return
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime-gpu")
    wanted = "TensorrtExecutionProvider" if runtime == "onnx-tensorrt" else "CUDAExecutionProvider"
    if wanted not in ort.get_available_providers():
        pytest.skip(f"this onnxruntime has no {wanted}; needs onnxruntime-gpu")


@pytest.fixture(scope="module")
def edgetam_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all cases of EdgeTAM find the graphs of the first."""
    return tmp_path_factory.mktemp("edgetam")


@pytest.fixture(scope="module")
def split_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_demo_split(tmp_path_factory.mktemp("nano") / "split", seed=20, videos=1, frames=24)


def score(runner: VideoRunner, split_dir: Path, dtype: str) -> float:
    with torch.inference_mode(), TorchDevice(torch, "cuda:0").autocast(dtype):
        return score_split(runner, split_dir, "points")


def options(**changed: Any) -> BuildOptions:
    return BuildOptions(imgsz=SPEC.imgsz, config=SPEC.config, device="cuda", weights=SHIPPED_WEIGHTS / "sam2_nano.pt", **changed)


@pytest.mark.parametrize(("runtime", "dtype", "margin"), CASES)
def test_scores_are_torch_s(exported_dir: Path, split_dir: Path, runtime: str, dtype: str, margin: float) -> None:
    require(runtime)
    expected = score(SPEC.build(options()), split_dir, "float32")
    calibration = lambda: calibration_frames(open_split(split_dir))  # noqa: E731
    runner = SPEC.build(options(runtime=runtime, autocast_dtype=dtype, exported_dir=exported_dir, calibration=calibration))
    report = runner.applied.runtime
    assert report is not None
    assert "CPU" not in report.placement
    assert score(runner, split_dir, dtype) == pytest.approx(expected, abs=margin)


@pytest.mark.parametrize(("runtime", "dtype", "share"), EDGETAM_CASES)
def test_masks_of_edgetam_are_torch_s(edgetam_dir: Path, runtime: str, dtype: str, share: float) -> None:
    require(runtime)
    for package in ("timm", "onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"needs {package} (requirements-edgetam.txt, requirements-onnx.txt)")
    source_dir = checkout()
    if source_dir is None:
        pytest.skip("no code of EdgeTAM in $EDGETAM_DIR or ./EdgeTAM; scripts/get_edgetam.sh --pypi gets it")
    arm = report_of(source_dir, edgetam_dir, "cuda", f"{runtime}:{dtype}")["arms"][f"{runtime} {dtype}"]
    assert "CPU" not in arm["placement"]
    seen = arm["points"]
    assert seen["finite"]
    assert seen["foreground"] > 500
    assert seen["pixels"] <= share * seen["foreground"]
