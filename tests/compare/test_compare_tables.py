"""Output against files in golden/, which were looked at by eye. `python tests/compare/test_compare_tables.py` writes them anew."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from compare_files import QUICK, row, rows, write

from savbench.compare.cli import FORMATS
from savbench.compare.comparison import compare
from savbench.compare.exports import render_csv, render_json
from savbench.compare.findings import Comparison
from savbench.compare.tables import render_table
from savbench.results.foreign import load_results

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"table": "txt", "markdown": "md", "latex": "tex"}


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


@pytest.mark.parametrize("name", SUFFIXES)
def test_output_is_as_it_was_looked_at(tmp_path: Path, name: str) -> None:
    golden = (GOLDEN / f"compare.{SUFFIXES[name]}").read_text(encoding="utf-8")
    assert FORMATS[name](example(tmp_path)) == golden


def test_tables_fit_a_terminal_of_100_columns(tmp_path: Path) -> None:
    lines = render_table(example(tmp_path)).splitlines()
    assert max(map(len, lines)) <= 100


def test_a_long_label_gives_way_in_the_middle(tmp_path: Path) -> None:
    name = "orin_nano_super_15W_jetpack_6_2_first_of_three_"
    comparison = compare(load_results([write(tmp_path / f"{name}{end}.csv", rows(2)) for end in "ab"]), QUICK)
    table = render_table(comparison)
    assert "orin_nano_su...st_of_three_a" in table
    assert "orin_nano_su...st_of_three_b" in table
    assert max(map(len, table.splitlines())) <= 100


def test_many_intervals_come_with_a_warning(tmp_path: Path) -> None:
    def table(*models: str) -> str:
        listed = [r for model in models for r in rows(6, 1, model=model)]
        return render_table(compare(load_results([write(tmp_path / f"{name}.csv", listed) for name in "AB"]), QUICK))

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
    for format_name, suffix in SUFFIXES.items():
        (GOLDEN / f"compare.{suffix}").write_text(FORMATS[format_name](found), encoding="utf-8")
    sys.exit(0)
