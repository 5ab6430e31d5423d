"""check-model on a GPU: clocks, memory and masks by the paths that a CPU does not have."""

from __future__ import annotations

import pytest

import jetson_benchmark

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs sam2")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_the_nano_model_passes_on_the_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    status = jetson_benchmark.main(["check-model", "sam2_nano", "--device", "cuda"])
    said = capsys.readouterr().out
    assert status == 0, said
    assert "ok              clocks: latency and a synchronised clock" in said
    assert "ok              memory: flat over a long clip" in said
