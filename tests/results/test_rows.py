from __future__ import annotations

import csv
from pathlib import Path

import pytest

from savbench.results.csv_rows import ResultsError, header_line, read_rows, row_line
from savbench.results.dictionary import dictionary, with_dictionary
from savbench.results.rows import FrameRow, SummaryRow
from savbench.results.schema import columns
from savbench.results.sustained import SustainedRow
from savbench.results.telemetry import TelemetryRow

README = Path(__file__).parents[2] / "results" / "README.md"

FIRST_COLUMNS = (
    "video,object,model,imgsz,autocast_dtype,attention,frames,fps,latency_ms,gpu_peak_alloc_MiB,gpu_peak_reserved_MiB,"
    "cpu_peak_rss_MiB,J,F,JandF,setup_ms,overlay"
)


def test_columns_that_other_tools_read_come_first() -> None:
    assert header_line(SummaryRow).startswith(FIRST_COLUMNS + ",")


def test_rows_survive_the_file(tmp_path: Path) -> None:
    rows = [
        SummaryRow(video="a,b", object="000", fps=1 / 3, frames=7, error='say "no"', imgsz=512, arm_id="x"),
        SummaryRow(video="ö", object="001", status="oom", J=None, F=0.0),
    ]
    path = tmp_path / "summary.csv"
    path.write_text(header_line(SummaryRow) + "".join(map(row_line, rows)), encoding="utf-8")
    assert read_rows(SummaryRow, path) == rows


def test_missing_is_an_empty_cell_and_zero_is_zero() -> None:
    cells = next(csv.reader([row_line(FrameRow(frame=0, J=0.0))]))
    of = dict(zip(columns(FrameRow), cells, strict=True))
    assert of["J"] == "0.0"
    assert of["frame"] == "0"
    assert of["F"] == of["latency_ms"] == ""


def test_a_row_is_a_line_whatever_the_message() -> None:
    line = row_line(SummaryRow(error="first\nsecond\r\n  third"))
    assert line.count("\n") == 1
    assert "first second third" in line


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ":1:"),
        ("video,object\n", ":1:"),
        (header_line(FrameRow) + "x\n", ":2:"),
        (
            header_line(FrameRow) + row_line(FrameRow(frame=1)) + row_line(FrameRow(frame=1)).replace("1", "one"),
            ":3:.*'one' is not a number",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultsError, match=where):
        read_rows(FrameRow, path)


def test_readme_holds_the_dictionary_of_every_column() -> None:
    text = README.read_text(encoding="utf-8")
    tables = {
        "summary.csv": dictionary(SummaryRow),
        "frames.csv": dictionary(FrameRow),
        "sustained.csv": dictionary(SustainedRow),
        "telemetry.csv": dictionary(TelemetryRow),
    }
    for title, table in tables.items():
        assert f"## {title}\n\n{table}\n" in text, "bring it into step with: python -m savbench.results.rows"


def test_a_readme_out_of_step_is_brought_into_step() -> None:
    text = README.read_text(encoding="utf-8")
    stale = text.replace(dictionary(SummaryRow), "| column | meaning |\n|---|---|\n| `gone` | No more. |")
    assert stale != text
    assert with_dictionary(stale) == with_dictionary(text)
    assert "`gone`" not in with_dictionary(stale)
