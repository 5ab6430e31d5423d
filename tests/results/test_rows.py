from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from runners.base import PARTS, STAGES
from savbench.results.cells import LONGEST_TEXT
from savbench.results.csv_rows import ResultsError, header_line, read_rows, row_line
from savbench.results.dictionary import dictionary, with_dictionary
from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import PARTS_MS, STAGES_MS, SummaryRow, without_figures
from savbench.results.schema import RowSchema, columns, values_of
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


DETAILED = SummaryRow(
    video="v",
    compile_ms=0.1 + 0.2,
    graph_breaks=0,
    compile_fallback='encoder: no "compiler"',
    stages_ms={"image_encoder": 1 / 3, "other": 0.0},
    rails_mean_w={"VDD_IN": 7.5, "VDD µ": 1.0},
    warning_lines="first\nsecond",
)


def test_details_lie_in_cells_and_survive_the_file(tmp_path: Path) -> None:
    cells = dict(zip(columns(SummaryRow), next(csv.reader([row_line(DETAILED)])), strict=True))
    assert json.loads(cells["compile_details"]) == {
        "compile_ms": 0.30000000000000004, "graph_breaks": 0, "compile_fallback": 'encoder: no "compiler"',
    }  # fmt: skip
    assert json.loads(cells["stages_ms"]) == {"stage_image_encoder_ms": 1 / 3, "stage_other_ms": 0.0}
    assert json.loads(cells["diagnostics"]) == {"warning_lines": "first second"}
    assert cells["forecast"] == cells["streaming"] == ""
    path = tmp_path / "summary.csv"
    path.write_text(header_line(SummaryRow) + row_line(DETAILED), encoding="utf-8")
    assert read_rows(SummaryRow, path) == [dataclasses.replace(DETAILED, warning_lines="first second")]


def test_a_row_survives_the_pipe_from_the_worker() -> None:
    assert SummaryRow(**json.loads(json.dumps(dataclasses.asdict(DETAILED)))) == DETAILED


def test_the_summary_has_at_most_90_columns() -> None:
    """People read it in pandas and in spreadsheets; what nobody compares, plots or filters by is a key in a cell."""
    assert len(columns(SummaryRow)) <= 90


@pytest.mark.parametrize("schema", [SummaryRow, FrameRow, StreamingRow, SustainedRow, TelemetryRow])
def test_no_two_values_have_one_name(schema: type[RowSchema]) -> None:
    names = [value.name for value in values_of(schema)]
    assert len(set(names)) == len(names)
    assert not {value.column for value in values_of(schema) if value.cell is not None} & set(names)


def test_stages_and_parts_are_those_of_the_runners() -> None:
    within = {cell: [v.name for v in values_of(SummaryRow) if v.cell == cell] for cell in (PARTS_MS, STAGES_MS)}
    assert within[PARTS_MS] == list(PARTS)
    assert within[STAGES_MS] == [f"stage_{stage}_ms" for stage in STAGES]
    listed = columns(FrameRow)
    assert [name for name in listed if name in (*within[PARTS_MS], *within[STAGES_MS])] == [*within[PARTS_MS], *within[STAGES_MS]]


def test_a_failed_row_keeps_no_figure() -> None:
    row = dataclasses.replace(DETAILED, frames=7, J=0.5, camera_fps=24.0, seed=3, imgsz=512)
    failed = without_figures(row, "oom", "no memory")
    assert (failed.frames, failed.J, failed.compile_ms, failed.stages_ms, failed.rails_mean_w) == (None, None, None, {}, {})
    assert (failed.camera_fps, failed.seed, failed.imgsz, failed.graph_breaks) == (24.0, 3, 512, 0)
    assert (failed.video, failed.status, failed.error) == ("v", "oom", "no memory")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "column clip: '{' is not a JSON object"),
        ("[1]", r"column clip: '\[1\]' is not a JSON object"),
        ('{"passes": "two"}', "column clip: passes: '\"two\"' is not a whole number"),
        ('{"passes": true}', "is not a whole number"),
        ('{"frames_from": 1}', "frames_from: '1' is not text"),
        ('{"pases": 1}', "unknown to this version: pases"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    cells = ["" for _ in columns(SummaryRow)]
    cells[columns(SummaryRow).index("clip")] = text
    path = tmp_path / "summary.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns(SummaryRow), cells])
    with pytest.raises(ResultsError, match=f"summary.csv:2: .*{said}"):
        read_rows(SummaryRow, path)


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


def test_nothing_that_a_terminal_obeys_or_a_reader_refuses_gets_into_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    row = SummaryRow(video="a  b", error="\x1b[31mred\x1b[0m \udcff" + "E" * 200_000)
    path.write_text(header_line(SummaryRow) + row_line(row), encoding="utf-8")
    [read] = read_rows(SummaryRow, path)
    assert read.video == "a  b"
    assert read.error.startswith("red \\udcffEEE")
    assert len(read.error) == LONGEST_TEXT


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
        "streaming.csv": dictionary(StreamingRow),
        "sustained.csv": dictionary(SustainedRow),
        "telemetry.csv": dictionary(TelemetryRow),
    }
    for title, table in tables.items():
        assert f"## {title}\n\n{table}\n" in text, "bring it into step with: .venv/bin/python -m savbench.results.dictionary"


def test_a_readme_out_of_step_is_brought_into_step() -> None:
    text = README.read_text(encoding="utf-8")
    stale = text.replace(dictionary(SummaryRow), "| column | meaning |\n|---|---|\n| `gone` | No more. |")
    assert stale != text
    assert with_dictionary(stale) == with_dictionary(text)
    assert "`gone`" not in with_dictionary(stale)
