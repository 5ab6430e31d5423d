"""certify on a GPU: half precision and fused kernels against float32 without TF32, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest

import jetson_benchmark
from savbench.data.demo.split import generate_demo_split

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs sam2")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("attention", ["auto", "manual"])
def test_half_precision_is_within_its_bounds_on_the_gpu(attention: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate_demo_split(tmp_path / "demo", videos=1, frames=24, height=96, width=128)
    arms = ("--models", "sam2_nano_mask", "--autocast_dtype", "float16,bfloat16", "--attention", attention, "--device", "cuda")
    status = jetson_benchmark.main(["certify", "--split_dir", str(tmp_path / "demo"), *arms, "--limit_objects", "1"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert said.count("certified: every stage within its bound on every frame") == 2
