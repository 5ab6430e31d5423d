"""A run with exported graphs from the command line to the page: its rows, and how they stand beside torch's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulated_board import jtop_service

import jetson_benchmark
from savbench.data.demo.split import generate_demo_split
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).parents[1]
TINY = ("--limit_videos", "1", "--limit_objects", "2", "--max_frames", "9", "--warmup_frames", "2", "--device", "cpu")
NANO = ("--models", "sam2_nano_points", "--autocast_dtype", "float32")


def benchmark(folder: Path, *arguments: str) -> str:
    words = [sys.executable, str(ROOT / "jetson_benchmark.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=folder, env=environment, timeout=600)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, exported_dir: Path) -> Path:
    """A folder with a run of torch and a run of exported graphs over the same objects, offline and at a camera's pace."""
    folder = tmp_path_factory.mktemp("runtimes")
    generate_demo_split(folder / "demo", videos=1, frames=24, height=96, width=128)
    for runtime in ("torch", "onnx"):
        arms = (*NANO, "--runtime", runtime, "--exported_dir", str(exported_dir), "--power", "none")
        benchmark(folder, "--split_dir", "demo", *arms, *TINY, "--stages", "--realtime", "24", "--out_dir", runtime)
    return folder


def rows_of(desk: Path, run: str) -> list[SummaryRow]:
    return list(read_rows(SummaryRow, desk / run / "summary.csv"))


@pytest.mark.slow
def test_rows_say_what_ran_and_score_like_torch_s(desk: Path) -> None:
    native, exported = rows_of(desk, "torch"), rows_of(desk, "onnx")
    assert [row.status for row in exported] == ["ok", "ok"]
    assert {(row.runtime, row.runtime_version.split()[0]) for row in exported} == {("onnx", "onnxruntime")}
    assert {(row.runtime, row.runtime_version, row.runtime_export_s) for row in native} == {("torch", "", None)}
    for row in exported:
        assert all(f"{stage} CPU " in row.runtime_placement for stage in ("image_encoder", "memory_attention", "mask_decoder"))
        assert None not in (row.runtime_export_s, row.runtime_load_s, row.runtime_MiB)
        # the stages' graphs run inside the calls that are timed as stages
        assert min(row.stages_ms[stage] for stage in ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")) > 0
    assert [row.JandF for row in exported] == pytest.approx([row.JandF for row in native], abs=1e-3)
    assert {row.arm_id for row in native}.isdisjoint(row.arm_id for row in exported)


def test_graphs_run_at_a_camera_s_pace(desk: Path) -> None:
    native, exported = rows_of(desk, "torch"), rows_of(desk, "onnx")
    for row in (*native, *exported):
        assert row.streaming_fps is not None
        assert row.streaming_JandF is not None
        assert 0 < row.streaming_JandF <= 1
    lines = (desk / "onnx" / "streaming.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 9  # a line for each frame of both objects


@pytest.mark.alone
def test_energy_of_graphs_is_read_from_the_jtop_service(desk: Path, exported_dir: Path) -> None:
    with jtop_service():
        arms = (*NANO, "--runtime", "onnx", "--exported_dir", str(exported_dir), "--power", "jtop")
        benchmark(desk, "--split_dir", "demo", *arms, *TINY, "--limit_objects", "1", "--max_frames", "24", "--out_dir", "energy")
    (row,) = rows_of(desk, "energy")
    assert (row.status, row.runtime, row.power_source) == ("ok", "onnx", "jtop")
    assert row.energy_gross_j_per_frame is not None
    assert row.power_mean_w is not None
    # a frame's energy is the mean power over its time
    assert row.latency_ms is not None
    assert row.energy_gross_j_per_frame == pytest.approx(row.power_mean_w * row.latency_ms / 1e3, rel=0.02)


def test_export_makes_what_a_run_takes(desk: Path, exported_dir: Path) -> None:
    said = benchmark(desk, "export", "sam2_nano", "--out", str(exported_dir))
    assert "making " not in said  # the run has made them
    assert "image_encoder CPU " in said
    assert f"--runtime onnx --autocast_dtype float32 --exported_dir {exported_dir}" in said
    (folder,) = exported_dir.glob("sam2_nano-192px-*")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {"weights", "config", "imgsz", "opset", "torch", "onnx"} <= manifest["identity"].keys()
    assert {"image_encoder.onnx", "memory_attention.onnx", "mask_decoder.onnx", "memory_encoder.onnx"} <= manifest["files"].keys()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sam1_base"], "sam1_base: no model with exported stages; did you mean sam2_base?; use sam2_nano, sam2_tiny"),
        (["sam2_nano", "--imgsz", "200"], "200 is not a size it can run; use a multiple of 32"),
        (["sam2_nano", "--autocast_dtype", "bfloat16"], "bfloat16"),
        (["sam2_nano", "--weights_dir", "nowhere"], "nowhere"),
        (["edgetam", "--random_weights", "--edgetam_dir", "nowhere"], "--edgetam_dir nowhere: has no sam2 package; give the top folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["export", *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_the_run_is_valid_compared_and_on_the_page(desk: Path) -> None:
    assert "no problems" in benchmark(desk, "validate", "onnx")
    assert "runtime torch -> onnx" in benchmark(desk, "compare", "torch", "onnx", "--force")
    benchmark(desk, "report", "torch", "onnx", "-o", "page.html")
    page = (desk / "page.html").read_text(encoding="utf-8")
    assert "runtime onnx" in page
