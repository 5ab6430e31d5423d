"""A run with keyframes, from the command to rows, comparison, report and the best K; around a baseline, which needs no torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_split import TinySplit, rectangle

import jetson_benchmark
from savbench.results.csv_rows import read_rows
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = TinySplit(tmp_path_factory.mktemp("split"))
    split.write_video("alpha", 9, {"000": [rectangle(4, 2, 8, 8)] * 3})
    (split.root / "sav_tiny.txt").write_text("alpha\n")
    out = tmp_path_factory.mktemp("results") / "run"
    arguments = ("--split_dir", split.root, "--models", "static_mask", "--keyframe", "1,3:hold", "--realtime", "24", "--power", "none")
    assert jetson_benchmark.main([*map(str, arguments), "--out_dir", str(out)]) == 0
    return out


def test_rows_tell_the_keyframe_and_the_latency_of_both_kinds(run: Path) -> None:
    plain, skipping = read_rows(SummaryRow, run / "summary.csv")
    assert (plain.keyframe, skipping.keyframe) == ("", "3:hold")
    assert (plain.key_frames, plain.key_latency_p50_ms) == (None, None)
    assert (skipping.frames, skipping.key_frames) == (8, 2)
    assert skipping.key_latency_p50_ms is not None
    assert skipping.between_latency_p50_ms is not None
    assert (plain.between_frames_scored, skipping.between_frames_scored) == (None, 1), (
        "annotated are 0, 4 and 8, scored is 4, key are 3 and 6"
    )
    assert skipping.notes.startswith("the model runs on one of 3 frames fed")
    assert skipping.streaming_JandF is not None
    frames = read_rows(FrameRow, run / "frames.csv")
    assert {row.frame_kind for row in frames if row.arm_id == plain.arm_id} == {""}
    assert [row.frame for row in frames if row.frame_kind == "key"] == [3, 6]


def test_validate_holds_the_row_against_its_frames(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["validate", str(run)]) == 0
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    text = (copy / "summary.csv").read_text(encoding="utf-8")
    (copy / "summary.csv").write_text(
        re.sub(r'""between_latency_p50_ms"":[^,}]*', '""between_latency_p50_ms"":9.5', text), encoding="utf-8"
    )
    capsys.readouterr()
    assert jetson_benchmark.main(["validate", str(copy)]) == 1
    assert "between_latency_p50_ms 9.5, frames.csv gives" in capsys.readouterr().out


def test_compare_pairs_rows_over_keyframes_and_says_what_percentiles_mix(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["compare", str(run), "--force"]) == 0
    said = capsys.readouterr().out
    assert "compared: keyframe" in said
    assert "3:hold against baseline 1" in said
    assert "3:hold: its percentiles mix two kinds of frames: p50 " in said


def test_the_report_draws_each_kind_by_itself(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    assert jetson_benchmark.main(["report", str(run), "-o", str(tmp_path / "report.html"), "--force"]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "keyframe 3:hold, key frames" in page
    assert "keyframe 3:hold, between frames" in page
    assert "its percentiles mix two kinds of frames" in page


def test_the_best_of_a_run_is_named_by_the_script(run: Path) -> None:
    # the machine of a test may be disturbed: take its rows as simulated ones
    summary = (run / "summary.csv").read_text(encoding="utf-8").replace('""streaming_clock"":""live""', '""streaming_clock"":""simulated""')
    (run / "copy.csv").write_text(summary, encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts/best_keyframe.py"), str(run / "copy.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "static mask, camera 24 FPS, 1 object" in done.stdout
    assert "best for a camera of 24 FPS: --keyframe 1, streaming J&F 1.000" in done.stdout


def test_a_score_that_no_frame_between_enters_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = TinySplit(tmp_path / "split")
    split.write_video("alpha", 9, {"000": [rectangle(4, 2, 8, 8)] * 3})
    (split.root / "sav_tiny.txt").write_text("alpha\n")
    arguments = ("--split_dir", split.root, "--models", "static_mask", "--keyframe", "2:hold,3:hold", "--power", "none")
    assert jetson_benchmark.main([*map(str, arguments), "--out_dir", str(tmp_path / "run")]) == 0
    assert [row.between_frames_scored for row in read_rows(SummaryRow, tmp_path / "run" / "summary.csv")] == [0, 1]
    blind = "keyframe 2:hold: every scored frame is a key frame, so J and F say nothing of those between"
    assert f"static_mask {blind}" in capsys.readouterr().out
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    assert jetson_benchmark.main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "report.md"), "--force"]) == 0
    assert blind in (tmp_path / "report.md").read_text(encoding="utf-8")
