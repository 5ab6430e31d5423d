from __future__ import annotations

from pathlib import Path

from savbench.data.csv_file import CsvFile
from savbench.results.cells import spread_cells
from savbench.results.rows import SummaryRow


def spread(**columns: list[str | None]) -> tuple[dict[str, list[str | None]], list[str]]:
    size = len(next(iter(columns.values())))
    file = CsvFile(Path("summary.csv"), dict(columns), list(range(2, 2 + size)))
    faults = spread_cells(file, SummaryRow)
    return file.columns, faults


def test_every_value_of_a_cell_becomes_a_column() -> None:
    found, faults = spread(video=["a", "b", "c"], session=['{"shared":"2 objects","session_tracks":2}', "", '{"shared_ms":0.1}'])
    assert faults == []
    assert found == {
        "video": ["a", "b", "c"], "shared": ["2 objects", "", ""], "session_tracks": ["2", "", ""], "shared_ms": ["", "", "0.1"],
    }  # fmt: skip


def test_a_key_of_another_version_becomes_a_column() -> None:
    found, faults = spread(session=['{"place":"right"}'])
    assert (found["place"], faults) == (["right"], [])


def test_parts_of_a_concatenated_file_may_have_columns_instead() -> None:
    found, _ = spread(shared=["2 objects", None, None], session=[None, '{"shared":"3 objects"}', ""])
    assert found["shared"] == ["2 objects", "3 objects", ""]


def test_what_is_no_object_is_a_fault_with_its_line() -> None:
    found, faults = spread(session=["", "2 objects", "[]", "2 objects"])
    assert found["shared"] == ["", "", "", ""]
    assert [fault.partition(": column")[0] for fault in faults] == ["summary.csv:3", "summary.csv:4"]
    assert all(fault.endswith("correct or empty the cell") for fault in faults)
