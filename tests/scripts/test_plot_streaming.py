"""scripts/plot_streaming.py on rows known by heart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow

ROOT = Path(__file__).resolve().parents[2]
PLOT = ROOT / "scripts/plot_streaming.py"


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
