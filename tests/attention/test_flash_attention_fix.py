"""FLASH_ATTENTION_FIX.md: its commands about attention are run, and what it states is held against the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_split import TinySplit

import jetson_benchmark
from attention import CHOICES
from savbench.attention_bench.rows import AccuracyRow, CallRow
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.schema import values_of

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "FLASH_ATTENTION_FIX.md").read_text(encoding="utf-8")
SECTION = DOCUMENT[DOCUMENT.index("## Flash attention") : DOCUMENT.index('## "cannot import name')]

SHORT_RUN = (
    "--models sam2_tiny_points --random_weights --imgsz 64 --device cpu --limit_videos 1 --limit_objects 1 --max_frames 5 --warmup_frames 1"
)
SHORT_ATTENTION = "--models sam2_tiny --imgsz 64 --device cpu --repeats 1 --min_time 0 --max_frames 4"
"""Written behind the arguments of the document, where they win."""


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", SECTION, flags=re.DOTALL)
    return [shlex.split(line) for line in "\n".join(blocks).replace("\\\n", " ").splitlines() if line.strip()]


def command(start: str) -> list[str]:
    """Arguments of the one command with this among them."""
    (words,) = [words for words in commands() if start in " ".join(words)]
    assert words[:2] == [".venv/bin/python", "jetson_benchmark.py"]
    return words[2:]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jetson_benchmark.py"), *arguments],
        check=False, capture_output=True, text=True, cwd=folder, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_every_command_can_be_given_as_it_stands() -> None:
    found = commands()
    assert len(found) == 4
    for words in found:
        jetson_benchmark.parse(words[2:])


@pytest.fixture
def split(tiny_split: TinySplit, tmp_path: Path) -> TinySplit:
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs the sam2 package")
    return tiny_split


def test_the_run_under_flash_and_what_its_csv_proves(split: TinySplit, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    arguments = [str(split.root) if word == "/data/sav_val" else word for word in command("--attention flash")]
    done = run([*arguments, *SHORT_RUN.split()], tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = read_rows(SummaryRow, tmp_path / "results" / "flash" / "summary.csv")
    assert (row.autocast_dtype, row.attention, row.sdpa_kernels, row.attention_calls) == ("bfloat16", "flash", "flash_cpu:27", 27)
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "flash_cpu:27" in said


def test_the_run_with_fallback(split: TinySplit, tmp_path: Path) -> None:
    arguments = [str(split.root) if word == "/data/sav_val" else word for word in command("--attention fallback")]
    done = run([*arguments, *SHORT_RUN.split()], tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = read_rows(SummaryRow, tmp_path / "results" / "fallback" / "summary.csv")
    assert (row.autocast_dtype, row.attention, row.attention_fallbacks) == ("float16", "fallback", 0)
    assert "memory features stored in float32" in row.notes


@pytest.mark.slow
def test_the_microbenchmark(split: TinySplit, tmp_path: Path) -> None:
    done = run([*command("--out results/attention.csv"), *SHORT_ATTENTION.split(), "--autocast_dtype", "bfloat16"], tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = read_rows(CallRow, tmp_path / "results" / "attention.csv")
    by_choice = {
        choice: {row.status for row in rows if row.attention == choice} for choice in command("results/attention.csv")[6].split(",")
    }
    assert by_choice == {
        "auto": {"ok"}, "flash": {"ok"}, "efficient": {"unavailable"}, "cudnn": {"unavailable"}, "math": {"ok"}, "manual": {"ok"},
    }  # fmt: skip
    for choice, kernel in (("flash", "flash_cpu"), ("math", "math"), ("manual", "manual")):
        assert {row.kernel for row in rows if row.attention == choice} == {kernel}


def test_the_comparison_of_masks(split: TinySplit, tmp_path: Path) -> None:
    arguments = [str(split.root) if word == "/data/sav_val" else word for word in command("--accuracy")]
    place = arguments.index("--weights_dir")
    done = run([*arguments[:place], *arguments[place + 2 :], *SHORT_ATTENTION.split(), "--out", "accuracy.csv"], tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = {(row.autocast_dtype, row.attention): row for row in read_rows(AccuracyRow, tmp_path / "accuracy.csv")}
    assert set(rows) == {(dtype, choice) for dtype in ("float32", "bfloat16") for choice in ("auto", "manual")}
    assert rows["float32", "auto"].J_min == 1.0
    assert (rows["float32", "manual"].J_mean or 0) >= 0.999


def test_names_that_the_document_uses_exist() -> None:
    table = SECTION[SECTION.index("### What each choice trades") :]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)[: len(CHOICES)] == list(CHOICES)
    known = {name for schema in (SummaryRow, CallRow) for value in values_of(schema) for name in (value.name, value.column)}
    for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", SECTION):
        assert name in known or name in {"scaled_dot_product_attention", "flash_cpu"}, name
    for heading in re.findall(r"\]\(#([\w-]+)\)", SECTION):
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", SECTION, re.MULTILINE)}
        assert heading in anchors
    for path in re.findall(r"\]\(([^)#]+)\)", SECTION):
        assert (ROOT / path).exists(), path
