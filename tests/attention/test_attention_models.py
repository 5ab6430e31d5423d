"""Every family goes through the chosen attention, and the manual one gives the same masks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import attention_clip  # noqa: E402
from attention_clip import ON_CPU, kernels_of_a_frame, refused  # noqa: E402
from edgetam_clip import ROOT, checkout  # noqa: E402

from attention.choice import using_attention  # noqa: E402
from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, Clip, Masks, Prompt  # noqa: E402
from savbench.data.dataset import open_split  # noqa: E402
from savbench.data.ground_truth import first_prompt  # noqa: E402
from savbench.finish.metrics import score_frame  # noqa: E402

CALLS = {"sam2_tiny": 27, "edgetam": 19}
"""Attention calls of a tracked frame."""


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def built(model: str, imgsz: int) -> Any:
    return RUNNERS[model].build(BuildOptions(imgsz=imgsz, config=RUNNERS[model].config, seed=3))


@pytest.fixture(scope="module")
def sam2_tiny() -> Any:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    return built("sam2_tiny", 128)


@pytest.fixture(scope="module")
def edgetam() -> Any:
    pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("timm", reason="needs timm")
    return built("edgetam", 256)


@pytest.mark.parametrize("choice", sorted(ON_CPU))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sam2_goes_through_the_choice(sam2_tiny: Any, choice: str, dtype: str) -> None:
    assert kernels_of_a_frame(sam2_tiny, choice, dtype) == {ON_CPU[choice]: CALLS["sam2_tiny"]}


@pytest.mark.parametrize("choice", sorted(ON_CPU))
def test_edgetam_of_transformers_goes_through_the_choice(edgetam: Any, choice: str) -> None:
    # float32 alone makes the profiler follow 60000 events of the CPU's convolutions
    assert kernels_of_a_frame(edgetam, choice, "bfloat16") == {ON_CPU[choice]: CALLS["edgetam"]}


def test_a_missing_kernel_ends_the_frame(sam2_tiny: Any, edgetam: Any) -> None:
    for runner in (sam2_tiny, edgetam):
        assert refused(runner).startswith("--attention flash: cannot serve query (")


@pytest.mark.slow
def test_official_edgetam_goes_through_the_choice(tmp_path: Path) -> None:
    """Its own flash-only context would refuse float32 on a GPU, and its `except Exception` would go on with every kernel."""
    source_dir = checkout()
    if source_dir is None:
        pytest.skip("no code of EdgeTAM in $EDGETAM_DIR or ./EdgeTAM; scripts/get_edgetam.sh --pypi gets it")
    pytest.importorskip("timm", reason="needs timm, EdgeTAM's image encoder")
    out = tmp_path / "report.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(attention_clip.__file__), str(source_dir), str(out)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(out.read_text())
    assert report.pop("refused").startswith("--attention flash: cannot serve query (")
    assert report.pop("after") == {"math": CALLS["edgetam"]}
    assert report == {choice: {kernel: CALLS["edgetam"]} for choice, kernel in ON_CPU.items()}


def test_manual_masks_of_a_real_clip_equal_native_ones(davis_sav: Path) -> None:
    """float32, random weights. The logits are compared too: random weights attend so evenly that a scale wrong by 1% moves J by 0.0007."""
    pytest.importorskip("sam2", reason="needs the sam2 package")
    runner = built("sam2_tiny", 256)
    video = open_split(davis_sav, None).video("blackswan")
    size_hw = video.read_size()
    start, mask_hw = first_prompt(video.object(next(iter(video.object_names))), size_hw)
    reader = video.frames.reader(size_hw)
    frames = [reader.read(index) for index in range(start, start + 4)]

    def track(choice: str) -> list[tuple[Masks, Any]]:
        results = []
        with using_attention(choice, "cpu"):
            runner.open(Clip("blackswan", len(frames), *size_hw), frames[0])
            for index, frame in enumerate(frames):
                prompts = [Prompt(1, "mask", mask_hw=mask_hw)]
                masks_1hw = runner.track(index, frame) if index else runner.prompt(index, frame, prompts)
                results.append((masks_1hw, runner._logits_n1hw.clone()))
        runner.close()
        return results

    for (native_1hw, native_logits), (manual_1hw, manual_logits) in zip(track("auto"), track("manual"), strict=True):
        assert 0 < native_1hw.sum() < native_1hw.size  # an empty mask would equal any other empty one
        assert score_frame(manual_1hw[0], native_1hw[0]).J >= 0.999
        assert float((manual_logits - native_logits).abs().max()) < 1e-5
