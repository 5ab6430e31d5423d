"""Readings against the power of a row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow
from savbench.results.telemetry import Phase, TelemetryRow
from savbench.validate.run import validate

BEGAN = "2026-11-20T08:00:00+00:00"


def readings(mw: float, count: int, phase: Phase = "timed", time: str = "2026-11-20T08:00:01.500+00:00") -> list[TelemetryRow]:
    return [
        TelemetryRow(time=time, t_s=index * 0.1, phase=phase, total_mw=mw, arm_id="arm", video="v", object="000") for index in range(count)
    ]


def problems(folder: Path, listed: list[TelemetryRow], **changes: Any) -> list[str]:
    """Of the check: a row of 15.4 W over 10 frames of 100 ms, read every 0.1 s."""
    row = SummaryRow(
        arm_id="arm", video="v", object="000", status="ok", frames=10, latency_ms=100.0, power_mean_w=15.4, power_interval_s=0.1,
        started_at=BEGAN,
    )  # fmt: skip
    row = dataclasses.replace(row, **changes)
    for name, rows in (("summary.csv", [row]), ("telemetry.csv", listed)):
        (folder / name).write_text(header_line(type(rows[0])) + "".join(map(row_line, rows)))
    return [problem for problem in validate(folder).problems if "power_mean_w" in problem]


@pytest.mark.parametrize("mw", [15_400.0, 14_000.0, 16_800.0])
def test_readings_that_agree(tmp_path: Path, mw: float) -> None:
    assert problems(tmp_path, [*readings(6000.0, 20, "warm-up"), *readings(mw, 10)]) == []
    assert "power of 1 rows of summary.csv in telemetry.csv" in validate(tmp_path).checked


def test_readings_that_do_not(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, readings(13_300.0, 10))
    assert "power_mean_w is 15.40, but the readings of its timed frames in telemetry.csv have a mean of 13.30" in problem


def test_time_between_frames_explains_less_power(tmp_path: Path) -> None:
    assert problems(tmp_path, readings(13_300.0, 10), latency_ms=90.0) == []


@pytest.mark.parametrize(
    ("listed", "changes"),
    [
        (readings(1000.0, 4), {}),
        (readings(1000.0, 50, time="2026-11-20T07:59:59.900+00:00"), {}),
        (readings(1000.0, 10), {"session_tracks": 2}),
    ],
    ids=["too few", "of an earlier try", "of a shared session"],
)
def test_readings_that_are_not_the_rows_own_say_nothing(tmp_path: Path, listed: list[TelemetryRow], changes: dict[str, Any]) -> None:
    assert problems(tmp_path, listed, **changes) == []


def test_a_run_whose_readings_are_gone_is_noted(tmp_path: Path) -> None:
    problems(tmp_path, readings(15_400.0, 10))
    (tmp_path / "telemetry.csv").unlink()
    assert "telemetry.csv is missing: power is not checked" in validate(tmp_path).notes
