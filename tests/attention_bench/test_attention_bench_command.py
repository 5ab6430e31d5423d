"""`jetson_benchmark.py attention`: its tables, and the command as a user meets it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jetson_benchmark
from savbench.attention_bench import cli
from savbench.attention_bench.rows import AccuracyRow, CallRow
from savbench.attention_bench.table import call_tables
from savbench.results.csv_rows import read_rows
from savbench.results.dictionary import dictionary

ROOT = Path(__file__).parents[2]


# ---- tables


def call_row(attention: str, **changes: Any) -> CallRow:
    settings: dict[str, Any] = {
        "model": "sam2_tiny", "imgsz": 1024, "num_maskmem": 7, "autocast_dtype": "float32", "attention": attention,
        "part": "memory attention, cross", "query": "1x1x4096x256", "key": "1x1x28736x256", "value": "1x1x28736x256", "dtypes": "float32",
        "calls": 4, "kernel": "flash_cpu", "samples": 3, "time_p50_ms": 100.0, "time_p90_ms": 110.0, "per_frame_ms": 400.0,
        "frame_share": 0.4, "GFLOP": 120.5, "GFLOP_per_s": 1205.0, "peak_MiB": 12.5, "max_diff": 2e-7, "max_value": 0.5, "frame_ms": 1000.0,
    }  # fmt: skip
    return CallRow(**{**settings, **changes})


def line_of(text: str, *words: str) -> str:
    (line,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return " ".join(line.split())


def test_the_tables_say_what_a_choice_costs() -> None:
    part = {
        "part": "mask decoder",
        "query": "1x8x8x16",
        "key": "1x8x64x16",
        "calls": 2,
        "per_frame_ms": 10.0,
        "time_p50_ms": 5.0,
        "time_p90_ms": 5.5,
        "frame_share": 0.01,
    }
    rows = [
        call_row("auto"),
        call_row("auto", **part, max_diff=1e-7),
        call_row("manual", kernel="manual", per_frame_ms=800.0, frame_ms=1500.0, peak_MiB=900.0),
        call_row("manual", kernel="manual", **part, frame_ms=1500.0),
        call_row("cudnn", status="unavailable", error="the CPU has no cudnn kernel", frame_ms=None),
        call_row("cudnn", status="unavailable", error="the CPU has no cudnn kernel", frame_ms=None, **part),
    ]
    text = call_tables(rows, top=1)
    assert line_of(text, "auto", "flash_cpu", "1.00x") == "sam2_tiny 1024 7 float32 auto flash_cpu 6 410 1000 41.0% 1.00x 12.5 4e-07"
    assert line_of(text, "manual", "1.50x") == "sam2_tiny 1024 7 float32 manual manual 6 810 1500 54.0% 1.50x 900.0 4e-07"
    assert line_of(text, "cudnn", "6 of 6") == "sam2_tiny 1024 7 float32 cudnn 6 of 6 unavailable"
    assert "cudnn: the CPU has no cudnn kernel" in text
    memory = line_of(text, "cross", "482.0")
    assert memory == "cross sam2_tiny 1024 7 float32 4096x28736 256 4 482.0 400 800 unavailable"
    assert line_of(text, "1 more distinct calls").startswith("1 more distinct calls take 1.0% of the frame under auto")
    assert "spread widely" not in text
    assert "half a unit in the last place" in call_tables(rows, top=1, explain=True)
    assert "half a unit in the last place" not in text


@pytest.mark.parametrize("width", [80, 160])
def test_the_tables_fit_the_terminal(width: int) -> None:
    rows = [call_row("auto"), call_row("flash", status="unavailable", error="needs a GPU", frame_ms=None)]
    text = call_tables(rows, top=3, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert ("not shown in 80 columns: " in text) == (width == 80)
    assert line_of(text, "sam2_tiny", "float32", "flash", "unavailable")


def test_a_result_that_is_not_finite_is_seen() -> None:
    text = call_tables([call_row("auto"), call_row("auto", part="mask decoder", max_diff=float("nan"))], top=5)
    assert line_of(text, "sam2_tiny", "1.00x").endswith("NaN")


def test_unsteady_times_and_failed_models_are_mentioned() -> None:
    text = call_tables([call_row("auto", time_p90_ms=200.0), CallRow(model="edgetam", status="oom", error="too large")], top=1)
    assert "the times of 1 of 1 calls vary widely" in text
    assert "longer by themselves" not in text
    assert "edgetam: oom: too large" in text
    text = call_tables([call_row("auto", frame_share=0.6), call_row("auto", part="mask decoder", frame_share=0.5)], top=1)
    assert "sam2_tiny, float32, auto: the calls alone took longer than the whole frame" in text


def test_the_dictionary_of_columns_is_in_step() -> None:
    readme = (ROOT / "savbench" / "attention_bench" / "README.md").read_text(encoding="utf-8")
    for schema in (CallRow, AccuracyRow):
        assert dictionary(schema) in readme, "bring it up to date with savbench.results.rows.dictionary"


# ---- the command


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jetson_benchmark.py"), "attention", *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def scripted_child(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A child process that reads its job and does what the script says with `say(event)`."""
    head = (
        "import json, os, signal, sys\n"
        "job = json.loads(sys.stdin.readline())\n"
        "events = os.fdopen(int(sys.argv[2]), 'w')\n"
        "def say(**event): print(json.dumps(event), file=events, flush=True)\n"
    )
    monkeypatch.setattr(cli, "CHILD_COMMAND", (sys.executable, "-c", head + script))


def test_rows_reach_the_file_and_decide_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "say(event='say', text='recording')\n"
        "say(event='row', row=dict(model=job['model'], attention='auto', query='1x1x2x8', key='1x1x2x8', calls=1, kernel='math'))\n"
        "say(event='row', row=dict(model=job['model'], attention='flash', query='1x1x2x8', key='1x1x2x8', calls=1, status='unavailable'))\n"
    )
    scripted_child(monkeypatch, script)
    out = tmp_path / "new" / "a.csv"
    assert jetson_benchmark.main(["attention", "--models", "sam2_tiny", "--out", str(out)]) == 0
    assert [row.status for row in read_rows(CallRow, out)] == ["ok", "unavailable"]
    said = capsys.readouterr()
    assert f"2 rows in {out}" in said.out
    assert "recording" in said.err
    assert jetson_benchmark.main(["attention", "--models", "sam2_tiny", "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_child_that_dies_leaves_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_child(monkeypatch, "print('the last words'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)\n")
    out = tmp_path / "a.csv"
    assert jetson_benchmark.main(["attention", "--models", "sam2_tiny,edgetam", "--out", str(out)]) == 1
    assert [(row.model, row.status) for row in read_rows(CallRow, out)] == [("sam2_tiny", "killed"), ("edgetam", "killed")]
    said = capsys.readouterr()
    assert "the last words" in said.err
    assert "SIGSEGV" in said.out


def test_the_parent_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys, jetson_benchmark\n"
        "status = jetson_benchmark.main(['attention', '--models', 'sam2_tiny', '--weights_dir', '/nowhere'])\n"
        "print(status, 'torch' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said.splitlines()[-1] == "2 False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "sam9"], "--models sam9: use sam2_nano, sam2_tiny, "),
        (["--models", "static"], "--models static: use sam2_nano, "),
        (["--models", ""], "--models '': the list is empty; name at least one"),
        (["--attention", "fast"], "--attention fast: use auto, flash, "),
        (["--attention", "auto,auto"], "names a value twice"),
        (["--autocast_dtype", "float8"], "--autocast_dtype float8"),
        (["--num_maskmem", "8"], "--num_maskmem 8: use 1 to 7"),
        (["--repeats", "0"], "--repeats 0: use 1 to 1000000"),
        (["--min_time", "nan"], "--min_time nan: use 0 to 3600 seconds"),
        (["--weights_dir", "/nowhere"], "is not in /nowhere"),
        (["--sam2_dir", "/nowhere"], "has no sam2 package"),
        (["--accuracy", "/nowhere"], "/nowhere: no such folder"),
        (["--out", "/dev/null/a.csv"], "cannot be written"),
    ],
)
def test_bad_arguments_end_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if "--out" not in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "a.csv")]
    assert jetson_benchmark.main(["attention", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.slow
def test_edgetam_from_end_to_end(tmp_path: Path) -> None:
    """Its compressed memory: 7 x 512 latents and 16 x 4 pointer tokens at every size."""
    for name in ("torch", "transformers", "timm"):
        pytest.importorskip(name, reason=f"needs {name}")
    out = tmp_path / "a.csv"
    done = run_command(
        "--models", "edgetam", "--imgsz", "256", "--device", "cpu", "--attention", "auto", "--repeats", "1", "--min_time", "0", "--out", out
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["calls"]) for row in rows) == 19
    cross = {(row["query"], row["key"], row["calls"]) for row in rows if row["part"] == "memory attention, cross"}
    assert cross == {("1x1x256x256", "1x1x3648x256", "2")}
    assert all(float(row["frame_ms"]) > 0 and row["kernel"] == "flash_cpu" for row in rows)
    assert "Memory attention, all calls of a frame together" in done.stdout
