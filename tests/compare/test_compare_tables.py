"""Output against files in golden/, which were looked at by eye. `python tests/compare/test_compare_tables.py` writes them anew."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from compare_files import QUICK, row, rows, write

from savbench.compare.cli import rendered
from savbench.compare.comparison import compare
from savbench.compare.exports import render_csv, render_json
from savbench.compare.findings import Comparison
from savbench.compare.tables import render_table
from savbench.results.foreign import load_results

GOLDEN = Path(__file__).parent / "golden"
OUTPUTS: dict[str, dict[str, Any]] = {
    "compare.txt": {"form": "table", "explain": True},
    "compare_80.txt": {"form": "table", "width": 80},
    "paper.md": {"form": "markdown"},
    "details.md": {"form": "markdown", "details": True},
    "paper.tex": {"form": "latex"},
    "details.tex": {"form": "latex", "details": True},
}
"""Files in golden/, and how each is rendered."""


def example(folder: Path) -> Comparison:
    """Two runs with a trained and an untrained model, lost objects, and an arm that only one of them has."""
    untrained = {"model": "edgetam", "weights": "random", "prompt": "points"}
    before = rows(8, 1) + rows(8, 1, **untrained) + [row("v9", latency_ms=None, status="oom", error="out of memory")]
    after = [row(r.video, r.object, J=(r.J or 0) - 0.03 * (n % 3), latency_ms=(r.latency_ms or 0) * 0.8) for n, r in enumerate(rows(8, 1))]
    after = (
        after[:-1]
        + rows(3, 1, torch_version="2.6", **untrained)
        + rows(2, 1, model="static", autocast_dtype="none", imgsz=None, weights="none")
    )
    return compare(load_results([write(folder / "before.csv", before), write(folder / "after.csv", after)]), QUICK)


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_is_as_it_was_looked_at(tmp_path: Path, name: str) -> None:
    assert rendered(example(tmp_path), **OUTPUTS[name]) == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_the_terminal_and_name_the_columns_left_out(tmp_path: Path, width: int) -> None:
    text = render_table(example(tmp_path), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert ("not shown in 80 columns: p99 ms'" in text) == (width == 80)
    assert "J&F" in text
    assert "verdict" in text


def test_a_long_label_gives_way_in_the_middle_and_never_to_the_same_text(tmp_path: Path) -> None:
    name = "orin_nano_super_15W_jetpack_6_2_first_of_three_"
    comparison = compare(load_results([write(tmp_path / f"{name}{end}.csv", rows(2)) for end in "ab"]), QUICK)
    table = render_table(comparison, width=80)
    assert max(map(len, table.splitlines())) <= 80
    labels = [line.split("  ")[0] for line in table.splitlines() if line.startswith("orin") and "..." in line]
    assert len(labels) == len(set(labels)) == 2
    assert f"{name}a (baseline)" in render_table(comparison)


def test_how_to_read_comes_when_it_is_asked_for(tmp_path: Path) -> None:
    comparison = example(tmp_path)
    assert render_table(comparison).endswith("\n\nhow to read this: --explain\n")
    assert "bootstrap over videos" not in render_table(comparison)
    assert "bootstrap over videos" in render_table(comparison, explain=True)


def test_many_intervals_come_with_a_warning(tmp_path: Path) -> None:
    def table(*models: str) -> str:
        listed = [r for model in models for r in rows(6, 1, model=model)]
        return render_table(compare(load_results([write(tmp_path / f"{name}.csv", listed) for name in "AB"]), QUICK), explain=True)

    assert "intervals are shown" not in table("m")
    assert "18 intervals are shown: about 1 of them miss the truth by chance alone." in table("m", "n")


def test_csv_has_a_line_per_arm_and_measure(tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(render_csv(example(tmp_path)))))
    (latency,) = [x for x in lines if (x["arm"], x["measure"], x["model"]) == ("after", "latency_ms", "sam2_tiny")]
    assert latency["kind"] == "ratio"
    assert float(latency["change"]) == pytest.approx(0.8)
    assert (latency["pairs"], latency["wins"], latency["verdict"], latency["baseline"]) == ("7", "7", "better", "before")
    (alone,) = [x for x in lines if (x["model"], x["measure"]) == ("static", "J")]
    assert (alone["objects"], alone["change"], alone["baseline"]) == ("2", "", "")
    (untrained,) = [x for x in lines if (x["arm"], x["measure"], x["model"]) == ("after", "JandF", "edgetam")]
    assert (untrained["weights_random"], untrained["verdict"], untrained["low"]) == ("1", "meaningless", "")


def test_json_has_everything(tmp_path: Path) -> None:
    comparison = example(tmp_path)
    data = json.loads(render_json(comparison))
    pair = data["blocks"][0]["comparisons"][0]
    assert {entry["reason"]: entry["objects"] for entry in pair["unpaired"]} == {
        "missing in after": ["v7/000"],
        "oom in before, missing in after": ["v9/000"],
    }
    assert {entry["measure"] for entry in pair["changes"]} >= {"J", "F", "JandF", "fps", "latency_p99_ms", "gpu_peak_alloc_MiB"}
    assert data["compared"] == ["file"]
    assert "NaN" not in render_json(comparison)


if __name__ == "__main__":
    import tempfile

    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        found = example(Path(temporary))
    for name, how in OUTPUTS.items():
        (GOLDEN / name).write_text(rendered(found, **how), encoding="utf-8")
    sys.exit(0)
