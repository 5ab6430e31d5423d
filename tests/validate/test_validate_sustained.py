from __future__ import annotations

from pathlib import Path

import pytest

from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow
from savbench.results.sustained import STEADY, SustainedRow
from savbench.validate.findings import Report, Table
from savbench.validate.sustained import check_sustained


def course() -> list[SustainedRow]:
    """Two rounds of two objects."""
    return [
        SustainedRow(
            arm_id="arm", video="v", object=name, round=number, minutes=1.0 + index, t_s=60.0 * index, frames=9, fps=9.0,
            latency_p50_ms=111.0, end=STEADY if index == 3 else "",
        )
        for index, (number, name) in enumerate([(1, "000"), (1, "001"), (2, "000"), (2, "001")])
    ]  # fmt: skip


def check(tmp_path: Path, runs: list[SustainedRow]) -> Report:
    summary = [SummaryRow(arm_id="arm", video="v", object=name) for name in ("000", "001")]
    for name, rows in (("summary.csv", summary), ("sustained.csv", runs)):
        (tmp_path / name).write_text(header_line(type(rows[0])) + "".join(map(row_line, rows)))
    from savbench.data.csv_file import read_csv
    from savbench.validate.findings import KEY

    report = Report()
    check_sustained(tmp_path, Table(read_csv(tmp_path / "summary.csv", KEY), SummaryRow, report), report)
    return report


def test_a_course_that_ended_well(tmp_path: Path) -> None:
    report = check(tmp_path, course())
    assert (report.problems, report.notes) == ([], [])
    assert report.checked == ["4 runs of 1 courses in sustained.csv"]


def test_a_course_that_was_broken_off_or_interrupted(tmp_path: Path) -> None:
    runs = course()[:2]
    assert check(tmp_path, runs).notes == ["sustained.csv: the course of arm was interrupted; run the same command again to restart it"]
    report = check(tmp_path, [*runs, SustainedRow(arm_id="arm", end="it fell")])
    assert (report.problems, report.notes) == ([], [])


@pytest.mark.parametrize(
    ("index", "change", "problem"),
    [
        (1, {"object": "007"}, "sustained.csv:3 (v/007): summary.csv has no such row for arm arm"),
        (2, {"round": 3}, "sustained.csv:4 (v/000): round 3, but the next is 2"),
        (2, {"minutes": 1.5}, "sustained.csv:4 (v/000): earlier than the run before it"),
        (0, {"end": "time is up"}, "sustained.csv:2 (v/000): the course continues after its end, time is up"),
        (0, {"fps": None}, "sustained.csv:2 (v/000): a run without fps"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, index: int, change: dict[str, object], problem: str) -> None:
    runs = course()
    for name, value in change.items():
        setattr(runs[index], name, value)
    assert problem in check(tmp_path, runs).problems
