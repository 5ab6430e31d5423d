"""The official EdgeTAM, and that transformers' is the same model.

Needs its code, as scripts/get_edgetam.sh gets it, in $EDGETAM_DIR or ./EdgeTAM. With a clone and PyPI's package in EDGETAM_DIR=CLONE:PYPI
the masks of both are compared too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgetam_clip  # noqa: E402
from edgetam_clip import (  # noqa: E402
    FRAMES,
    HEIGHT,
    IMGSZ,
    ROOT,
    WIDTH,
    checkout,
    checkouts,
    count_for,
    left_by_prompt,
    make_prompt,
    run_clip,
)

from runners.base import BuildOptions  # noqa: E402
from runners.implementations import build_edgetam as build  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def run_official(source_dir: Path, out: Path) -> Path:
    """Run the official implementation in a process of its own. Returns the folder with edgetam.pt, logits.npz, report.json."""
    pytest.importorskip("timm", reason="needs timm, EdgeTAM's image encoder")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(edgetam_clip.__file__), str(source_dir), str(out)]
    done = subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the official implementation gave."""
    source_dir = checkout()
    if source_dir is None:
        pytest.skip("no code of EdgeTAM in $EDGETAM_DIR or ./EdgeTAM; scripts/get_edgetam.sh --pypi gets it")
    return run_official(source_dir, tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def report(official: Path) -> dict[str, Any]:
    return dict(json.loads((official / "report.json").read_text()))


@pytest.fixture(scope="module")
def official_logits(official: Path) -> dict[str, Any]:
    with np.load(official / "logits.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def same_weights(official: Path) -> Any:
    """The transformers implementation with the official implementation's weights."""
    pytest.importorskip("transformers")
    pytest.importorskip("timm")
    return build(BuildOptions(imgsz=IMGSZ, weights=official / "edgetam.pt"))


@pytest.mark.slow
def test_official_runs_from_the_checkout(report: dict[str, Any]) -> None:
    assert report["class"] == "EdgeTamRunner"
    assert Path(report["package"]).parents[1].resolve() == checkout()
    assert report["applied"]["implementation"].startswith(("EdgeTAM checkout (commit ", "EdgeTAM of edgetam-dimos "))
    assert report["applied"]["parameters"] == 13_895_794
    assert report["same_seed_same_weights"]


def test_official_raises_no_warning(report: dict[str, Any]) -> None:
    assert report["warnings"] == []


def test_official_masks(report: dict[str, Any]) -> None:
    for kind in ("points", "clicks", "bbox", "mask"):
        assert report[f"masks_{kind}"] == ["bool", 1, HEIGHT, WIDTH]
        assert report[f"finite_{kind}"]
    assert report["finite_bfloat16"]
    assert report["finite_float16"]


def test_official_objects_in_one_session_equal_sessions_of_their_own(official_logits: dict[str, Any]) -> None:
    alone = np.concatenate([official_logits["mask"][:FRAMES], official_logits["one"]], axis=1)
    assert np.abs(official_logits["both"] - alone).max() < 1e-5


def test_official_forgets_nothing_that_it_reads(report: dict[str, Any]) -> None:
    assert len(report["memory_modes_agree"]) == 5
    assert all(report["memory_modes_agree"].values()), report["memory_modes_agree"]


def test_official_takes_no_object_while_it_tracks(report: dict[str, Any]) -> None:
    assert "give object 9 a clip of its own" in report["late_object"]


def test_official_checkpoint_is_strict(report: dict[str, Any]) -> None:
    assert "1 missing: no_obj_ptr" in report["missing_key"]


def test_the_package_on_pypi_gives_the_checkout_s_masks(official: Path, official_logits: dict[str, Any], tmp_path: Path) -> None:
    others = checkouts()[1:]
    if not others:
        pytest.skip("a single folder with EdgeTAM; EDGETAM_DIR=CLONE:PYPI compares two")
    for other in others:
        run_official(other, tmp_path)
        with np.load(tmp_path / "logits.npz") as arrays:
            assert set(arrays) == set(official_logits)
            for kind, logits in official_logits.items():
                np.testing.assert_array_equal(arrays[kind], logits)
        assert json.loads((tmp_path / "report.json").read_text())["warnings"] == []


# Parity --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox", "mask"])
def test_both_implementations_agree(same_weights: Any, official_logits: dict[str, Any], kind: str) -> None:
    logits = np.stack(run_clip(same_weights, [make_prompt(kind)], count=count_for(kind))[1])
    assert logits.std() > 0.01  # an absent object would agree whatever the weights
    assert np.abs(logits - official_logits[kind]).max() < 3e-6


@pytest.mark.parametrize("kind", ["points", "mask"])
def test_both_agree_without_postprocessing(official: Path, official_logits: dict[str, Any], kind: str) -> None:
    plain = build(BuildOptions(imgsz=IMGSZ, weights=official / "edgetam.pt", postprocessing="off"))
    assert plain.applied.hole_filling == "off"
    logits = np.stack(run_clip(plain, [make_prompt(kind)])[1])
    assert np.abs(logits - official_logits[f"plain_{kind}"]).max() < 3e-6
    assert np.abs(logits - official_logits[kind][:FRAMES]).max() > 1e-3


@pytest.mark.parametrize("kind", ["points", "clicks", "bbox", "mask"])
def test_both_remember_the_same_of_a_prompt(same_weights: Any, official_logits: dict[str, Any], kind: str) -> None:
    pointer, memory = left_by_prompt(same_weights, make_prompt(kind))
    assert np.abs(pointer - official_logits[f"pointer_{kind}"]).max() < 1e-5
    # Two roundings to bfloat16 of numbers that differ in the last bit of float32 may fall on either side.
    differing = memory != official_logits[f"memory_{kind}"]
    assert differing.mean() < 0.001
    assert np.allclose(memory, official_logits[f"memory_{kind}"], rtol=2**-7, atol=1e-3)


def test_both_agree_on_a_prompt_inside_the_clip(same_weights: Any, official_logits: dict[str, Any]) -> None:
    logits = np.stack(run_clip(same_weights, [make_prompt("mask")], start=2)[1])
    assert np.abs(logits - official_logits["late"]).max() < 1e-5


def test_both_agree_under_autocast(same_weights: Any, official_logits: dict[str, Any]) -> None:
    with torch.amp.autocast("cpu", torch.bfloat16):
        logits = np.stack(run_clip(same_weights, [make_prompt("points")], count=2)[1])
    # not everywhere: rounding may make a hole one pixel larger or smaller, and whether it is filled is then decided otherwise
    assert np.mean(np.abs(logits - official_logits["bfloat16"]) < 0.03) > 0.999


@pytest.mark.parametrize("imgsz", [512, 768])
def test_both_agree_at_larger_sizes(official: Path, official_logits: dict[str, Any], imgsz: int) -> None:
    larger = build(BuildOptions(imgsz=imgsz, weights=official / "edgetam.pt"))
    logits = np.stack(run_clip(larger, [make_prompt("points")], count=2)[1])
    assert np.abs(logits - official_logits[f"at_{imgsz}"]).max() < 1e-5


def test_a_checkout_needs_no_transformers() -> None:
    code = "import sys; sys.modules['transformers'] = None; import runners.edgetam_official, runners.implementations"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
