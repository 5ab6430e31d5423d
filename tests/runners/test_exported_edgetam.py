"""The official EdgeTAM as exported graphs: torch's masks, from the same predictor. Needs its code, as `test_edgetam_official` does."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
for package in ("timm", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package} (requirements-edgetam.txt, requirements-onnx.txt)")

from edgetam_clip import checkout  # noqa: E402
from edgetam_exported import ON_CPU, report_of  # noqa: E402

from runners import RUNNERS  # noqa: E402
from runners.base import BuildOptions, RunnerError  # noqa: E402

STAGE_TOLERANCE = 1e-4
"""Of a stage's output, relative to its largest value; 1e-6 was seen."""
LOGIT_TOLERANCE = 1e-5
"""6e-7 was seen, of logits up to 10."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with the official code saw; 60 s of CPU time, most of it for exporting."""
    source_dir = checkout()
    if source_dir is None:
        pytest.skip("no code of EdgeTAM in $EDGETAM_DIR or ./EdgeTAM; scripts/get_edgetam.sh --pypi gets it")
    return report_of(source_dir, tmp_path_factory.mktemp("edgetam"), "cpu", *ON_CPU)


def differences(arm: dict[str, Any]) -> dict[str, float]:
    return {stage: float(value) for stage, value in (part.split() for part in arm["difference"].split(" | "))}


@pytest.mark.slow
def test_all_four_stages_are_graphs(report: dict[str, Any]) -> None:
    arm = report["arms"]["onnx float32"]
    within = differences(arm)
    assert list(within) == report["stages"]
    assert max(within.values()) < STAGE_TOLERANCE
    assert [part.split()[:2] for part in arm["placement"].split(" | ")] == [[stage, "CPU"] for stage in report["stages"]]
    assert "several objects of a session go through the exported graphs one by one" in arm["notes"]
    assert report["native"] is None


@pytest.mark.parametrize("session", ["points", "two"])
def test_masks_are_torch_s(report: dict[str, Any], session: str) -> None:
    seen = report["arms"]["onnx float32"][session]
    assert (seen["frames"], seen["objects"]) == {"points": (4, 1), "two": (11, 2)}[session]
    assert seen["foreground"] > 500
    assert seen["finite"]
    assert seen["logits"] < LOGIT_TOLERANCE
    assert seen["pixels"] <= 3  # those whose logit is 0 but for a rounding


def test_the_memory_was_full(report: dict[str, Any]) -> None:
    assert report["arms"]["onnx float32"]["memories"] == 7


def test_memory_attention_takes_any_number_of_memories_and_pointers(report: dict[str, Any]) -> None:
    assert len(report["sizes"]) == 4
    assert max(report["sizes"].values()) < STAGE_TOLERANCE, report["sizes"]


def test_only_the_latents_of_the_grid_have_places(report: dict[str, Any]) -> None:
    assert report["places"]["global"] < STAGE_TOLERANCE
    assert report["places"]["grid"] > 10 * STAGE_TOLERANCE


def test_the_cache_tells_it_from_sam_2(report: dict[str, Any]) -> None:
    assert report["folder"].startswith("edgetam-256px-")
    assert (report["identity"]["family"], report["identity"]["config"]) == ("edgetam", RUNNERS["edgetam"].config)


def test_float16_and_an_int8_encoder_come_near(report: dict[str, Any]) -> None:
    half, quantised = report["arms"]["onnx float16"], report["arms"]["onnx-int8 float32"]
    assert STAGE_TOLERANCE < max(differences(half).values()) < 0.01
    within = differences(quantised)
    assert within.pop("image_encoder") > 1e-3 > STAGE_TOLERANCE > max(within.values())
    for arm, share in ((half, 0.01), (quantised, 0.2)):
        assert arm["points"]["finite"]
        assert arm["points"]["pixels"] < share * arm["points"]["foreground"]


def test_without_the_official_code_it_says_how_to_get_it() -> None:
    with pytest.raises(RunnerError, match=r"edgetam: get the official code with scripts/get_edgetam.sh"):
        RUNNERS["edgetam"].build(BuildOptions(imgsz=256, runtime="onnx"))
