"""The table of a paper: its rows, marks and caption, and that LaTeX sets it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from compare_files import QUICK, rows, write

from savbench.compare.comparison import compare
from savbench.compare.findings import Comparison, Options
from savbench.compare.paper import PaperTable, paper_table, render_latex, render_paper_markdown
from savbench.results.foreign import load_results
from savbench.results.rows import SummaryRow

NONE = {"autocast_dtype": "none", "imgsz": None, "weights": "none", "attention": "none"}


def models_by_dtypes() -> list[SummaryRow]:
    power = {"power_mean_w": 15.0, "energy_j_per_frame": 0.25, "nvpmodel": "MAXN"}
    listed = rows(3, 1, J=0.70, autocast_dtype="float32", **power) + rows(3, 1, J=0.70, latency_ms=10.0, autocast_dtype="bfloat16", **power)
    listed += rows(3, 1, J=0.6, model="edgetam", latency_ms=5.0, autocast_dtype="bfloat16", **power | {"power_mean_w": 12.0})
    return listed + rows(3, 1, J=0.5, model="static", latency_ms=1.0, **NONE, nvpmodel="MAXN")


def compared(folder: Path, listed: list[SummaryRow], *by: str, force: bool = False) -> Comparison:
    return compare(load_results([write(folder / "run.csv", listed)]), Options(by=by, force=force, resamples=1000))


def lines(table: PaperTable) -> list[str]:
    return [" ".join(row) for row in table.grid.rows]


def test_models_by_dtypes_with_every_line_once(tmp_path: Path) -> None:
    table = paper_table(compared(tmp_path, models_by_dtypes(), "autocast_dtype"))
    assert table.grid.header == ["Model", "Precision", "J&F", "J", "F", "FPS", "W", "J/frame"]
    assert lines(table) == [
        "sam2_tiny float32 71.0 71.0 71.0 47.6 15.0 0.250",
        "sam2_tiny bfloat16 71.0 71.0 71.0 90.9 15.0 0.250",
        "static -- 51.0 51.0 51.0 500 -- --",
        "edgetam bfloat16 61.0 61.0 61.0 167 12.0 0.250",
    ]
    assert [row[2] for row in table.marks] == ["best", "best", "", "second"]
    assert [row[5] for row in table.marks] == ["", "", "best", "second"]
    assert [row[6] for row in table.marks] == ["second", "second", "", "best"]  # fewer watts are better
    assert {row[7] for row in table.marks} == {""}  # all are equal
    assert table.caption.startswith("Split sav_val, 3 objects of 3 videos, mask prompt, input 1024 px, Orin, power mode MAXN. J&F,")
    assert table.caption.endswith("best bold, second underlined.")


def test_power_is_weighted_by_time(tmp_path: Path) -> None:
    listed = rows(1, 1, latency_ms=10.0, power_mean_w=10.0) + rows(2, 1, latency_ms=29.0, power_mean_w=20.0)[1:]
    (row,) = paper_table(compared(tmp_path, listed)).grid.rows
    assert row[-1] == "17.5"  # 10 frames of 10 ms at 10 W, 10 of 30 ms at 20 W


def test_nothing_is_marked_over_different_objects(tmp_path: Path) -> None:
    listed = rows(4, 1) + rows(2, 1, model="edgetam", prompt="points")
    table = paper_table(compared(tmp_path, listed, "attention"))
    assert {mark for row in table.marks for mark in row} == {""}
    assert "2 to 4 objects of 2 to 4 videos" in table.caption
    assert "none is marked best" in table.caption


def test_boards_are_a_column_and_runs_only_where_nothing_else_tells_rows_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.csv", rows(2, device_name=name)) for name in ("Orin Nano", "AGX Orin")]
    assert paper_table(compare(load_results(paths), QUICK)).grid.header[:2] == ["Model", "Board"]
    paths = [write(tmp_path / f"{name}.csv", rows(2)) for name in ("before", "after")]
    table = paper_table(compare(load_results(paths), QUICK))
    assert table.grid.header[:2] == ["Model", "Run"]
    assert [row[1] for row in table.grid.rows] == ["before", "after"]


def test_untrained_scores_and_invalid_times_are_left_out_and_said(tmp_path: Path) -> None:
    listed = rows(2, 1, weights="random", model="edgetam") + rows(2, 1, validity="throttled (tj)")
    table = paper_table(compared(tmp_path, listed, "model"))
    assert lines(table) == ["edgetam -- -- -- 48.8", "sam2_tiny 40.5 40.5 40.5 --"]
    assert {"scores of untrained weights are left out", "times and power of rows marked invalid are left out"} <= set(table.notes)


def test_markdown_has_the_table_its_caption_and_with_details_the_rest(tmp_path: Path) -> None:
    comparison = compared(tmp_path, models_by_dtypes(), "autocast_dtype")
    text = render_paper_markdown(comparison)
    assert " **71.0** |" in text
    assert " <u>61.0</u> |" in text
    assert "interval" not in text
    assert "95% interval" in render_paper_markdown(comparison, details=True)


def test_latex_sets_it(tmp_path: Path) -> None:
    """Hostile names, and what no font has, go through pdflatex."""
    names = (r"50%_of #1 & $x$ {y} ~^ \input{z} <a|b>", "Jetson\x1b[31m 写 µ°", "\\")
    listed = [made for name in names for made in rows(8, 1, device_name=name)]
    text = render_latex(compared(tmp_path, listed, "device_name"), details=True, explain=True)
    assert r"50\%\_of \#1 \& \$x\$ \{y\} \textasciitilde{}\textasciicircum{} \textbackslash{}input\{z\}" in text
    assert r"\toprule" in text
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex: apt-get install texlive-latex-base texlive-latex-recommended")
    document = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n" + text + "\\end{document}\n"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 5000
