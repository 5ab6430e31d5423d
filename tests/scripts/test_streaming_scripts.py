"""scripts/sweep_fps.sh with a program that stands for the benchmark, and scripts/plot_streaming.py on rows known by heart."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).resolve().parents[2]
SWEEP, PLOT = ROOT / "scripts/sweep_fps.sh", ROOT / "scripts/plot_streaming.py"

INTERPRETER = """\
#!/usr/bin/env bash
echo "${1##*/} $(printf '<%s>' "${@:2}")" >>"$LOG"
out=""
while (($#)); do if [[ $1 == --out_dir ]]; then out=$2; fi; shift; done
if [[ ${STATUS-0} -lt 2 && $out ]]; then mkdir -p "$out" && echo row >"$out/summary.csv"; fi
exit ${STATUS-0}
"""


class Desk:
    """A folder to work in, with an interpreter that writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self._log, self._python = folder / "log", folder / "python"
        self._python.write_text(INTERPRETER)
        self._python.chmod(0o755)
        self._folder = folder

    def sweep(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHON": str(self._python), "LOG": str(self._log), **environment}
        return subprocess.run([SWEEP, *arguments], cwd=self._folder, env=env, capture_output=True, text=True, timeout=60, check=False)

    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def benchmark(arguments: str, out_dir: str, *more: str) -> str:
    return f"jetson_benchmark.py <--split_dir></my split>{arguments}<--out_dir><{out_dir}>" + "".join(f"<{one}>" for one in more)


def test_measures_once_and_simulates_every_rate(desk: Desk) -> None:
    done = desk.sweep("/my split", "flow_mask", "--rates", "12,24", "--limit_videos", "2", "--out_dir", "a run")
    assert (done.returncode, done.stderr) == (0, "")
    models = "<--models><flow_mask><--limit_videos><2>"
    simulated = ("--realtime_from", "a run/measured/frames.csv")
    assert desk.calls() == [
        benchmark(models, "a run/measured"),
        benchmark(models, "a run/sweep", "--realtime", "12", *simulated),
        benchmark(models, "a run/sweep", "--realtime", "24", *simulated),
        "jetson_benchmark.py <compare><a run/sweep><--force>",
        "plot_streaming.py <a run/sweep><--out><a run/streaming.svg>",
    ]


def test_takes_the_latencies_of_another_board_or_none(desk: Desk) -> None:
    assert desk.sweep("/my split", "flow_mask", "--from=orin/frames.csv", "--rates=24", "--out_dir=o").returncode == 0
    assert desk.sweep("/my split", "flow_mask", "--live", "--rates", "23.976", "--out_dir", "l").returncode == 0
    assert [call for call in desk.calls() if "--models" in call] == [
        benchmark("<--models><flow_mask>", "o/sweep", "--realtime", "24", "--realtime_from", "orin/frames.csv"),
        benchmark("<--models><flow_mask>", "l/sweep", "--realtime", "23.976"),
    ]
    assert "jetson_benchmark.py <compare><l/sweep>" in desk.calls()


def test_rates_models_and_a_folder_by_default(desk: Desk) -> None:
    assert desk.sweep("/my split").returncode == 0
    calls = desk.calls()
    assert [re.findall(r"<--realtime><(\d+)>", call) for call in calls[1:-2]] == [["3"], ["6"], ["12"], ["24"], ["48"]]
    assert all("<--models><sam2_tiny_mask,edgetam_mask,static_mask>" in call for call in calls[:-2])
    assert re.search(r"<--out_dir><results/fps_2[^/]*/measured>", calls[0])


@pytest.mark.parametrize(("status", "calls"), [("1", 4), ("2", 1), ("130", 1)])
def test_failed_rows_are_a_result_and_anything_else_ends_the_sweep(desk: Desk, status: str, calls: int) -> None:
    done = desk.sweep("/my split", "--rates", "24", STATUS=status)
    assert (done.returncode, len(desk.calls())) == (int(status), calls)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the folder of the split"),
        (["/s", "--realtime", "24"], "--realtime is what this script sets"),
        (["/s", "--rates", "24,fast"], "fast is no number"),
        (["/s", "--rates"], "--rates needs a value"),
        (["/s", "--live", "--from", "f"], "give one of them"),
    ],
)
def test_wrong_usage_ends_with_2(desk: Desk, arguments: list[str], words: str) -> None:
    done = desk.sweep(*arguments)
    assert (done.returncode, words in done.stderr, desk.calls()) == (2, True, [])


def test_help_and_a_missing_interpreter(desk: Desk) -> None:
    done = desk.sweep("--help")
    assert (done.returncode, "Exit status:" in done.stdout) == (0, True)
    done = desk.sweep("/s", PYTHON="/nowhere/python")
    assert (done.returncode, "run 'make setup'" in done.stderr) == (1, True)


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck") or str(ROOT / ".venv/bin/shellcheck")
    if not Path(shellcheck).exists():
        pytest.skip("shellcheck is not installed")
    assert subprocess.run([shellcheck, str(SWEEP)], capture_output=True, text=True, timeout=60, check=False).stdout == ""


def row(model: str, fps: float, name: str, streaming: float, offline: float, **changes: Any) -> SummaryRow:
    return SummaryRow(
        **{
            "video": "v", "object": name, "model": model, "prompt": "mask", "camera_fps": fps, "streaming_JandF": streaming,
            "JandF": offline, "streaming_clock": "simulated orin/frames.csv", "streaming_device": "Orin", **changes,
        }
    )  # fmt: skip


def plot(folder: Path, rows: list[SummaryRow]) -> subprocess.CompletedProcess[str]:
    (folder / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, rows)))
    command: list[str | Path] = [sys.executable, PLOT, folder, "--out", folder / "figure.svg"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_figure_shows_means_over_the_objects_that_all_have(tmp_path: Path) -> None:
    # times of a busy machine do not matter where the clock is simulated
    rows = [
        row("flow", fps, name, score, 0.9, validity="background load") for fps, score in ((6, 0.8), (24, 0.4)) for name in ("000", "001")
    ]
    rows += [row("static", fps, "000", 0.3, 0.3) for fps in (6, 24)]
    rows += [row("static", 24, "002", 1.0, 1.0), row("static", 6, "001", 0.0, 0.0, status="oom", error="memory")]
    done = plot(tmp_path, rows)
    assert (done.returncode, done.stderr) == (0, "")
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "1 object, simulated clock, Orin" in texts
    assert {"6", "24", "offline", "flow  0.40", "static  0.30"} <= set(texts)
    (flow, static) = [element.get("points") or "" for element in svg.iter("{http://www.w3.org/2000/svg}polyline")]
    (x6, y6), (x24, y24) = ([float(part) for part in point.split(",")] for point in flow.split())
    assert x6 < x24
    # the scale runs from 0.3 to 0.9, and lower scores are lower in the picture
    height = float(static.split()[0].split(",")[1]) - y6
    assert (y24 - y6) / height == pytest.approx((0.8 - 0.4) / (0.8 - 0.3), abs=0.01)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("flow", 24, "000", 0.4, 0.9, streaming_JandF=None)], "run with --realtime"),
        ([row("flow", 24, "000", 0.4, 0.9, streaming_clock="live", validity="background load")], "no valid row"),
        ([row("flow", 24, "000", 0.4, 0.9)] * 2, "two rows of flow for v/000 at 24"),
        ([row("flow", 24, "000", 0.4, 0.9), row("static", 24, "001", 0.4, 0.9)], "no object is ok at every rate"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, rows: list[SummaryRow], words: str) -> None:
    done = plot(tmp_path, rows)
    assert (done.returncode, words in done.stderr) == (2, True)
    assert not (tmp_path / "figure.svg").exists()


def test_the_figure_in_the_readme_is_what_the_script_draws_from_its_data(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, PLOT, ROOT / "docs/streaming.csv", "--data", "five DAVIS clips"]
    command += ["--out", tmp_path / "figure.svg"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "figure.svg").read_text() == (ROOT / "docs/streaming.svg").read_text()
