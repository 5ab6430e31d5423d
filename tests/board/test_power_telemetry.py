from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from savbench.board.power.base import Reading
from savbench.board.power.telemetry import SETTLE_S, Mark, TelemetryLog
from savbench.results.csv_rows import ResultsError, header_line, read_rows
from savbench.results.dictionary import dictionary
from savbench.results.telemetry import TelemetryRow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.csv"


def _at(t_s: float) -> Reading:
    return Reading(t_s=t_s, unix_s=t_s)


def _rows(path: Path) -> list[TelemetryRow]:
    return read_rows(TelemetryRow, path)


def test_a_reading_becomes_a_row(path: Path) -> None:
    log = TelemetryLog(path, "sysfs")
    log.mark(Mark(0.0, "timed", "arm", "sav_1", "000"))
    log.add(
        [
            Reading(
                t_s=12.34567, unix_s=1_700_000_000.25, total_mw=19_700.04, rails_mw={"VDD_GPU_SOC": 9500.4, "VDD_CPU_CV": 3800.0},
                gpu_load_pct=87.31,
                gpu_clock_khz=1_020_000, emc_pct=25, emc_khz=2_133_000, temperatures_c={"tj": 61.54, "cpu": 45.0}, ram_used_mib=6144,
                swap_used_mib=0.0, fan_pct=20, nvpmodel="MAXN", jetson_clocks=False, alarms=frozenset({"oc", "gpu-throttle"}),
            ),
            _at(13),
        ]
    )  # fmt: skip
    log.close()

    full, empty = _rows(path)
    assert full == TelemetryRow(
        time="2023-11-14T22:13:20.250+00:00", t_s=12.3457, arm_id="arm", video="sav_1", object="000", phase="timed", source="sysfs",
        total_mw=19_700.0, rails_mw="VDD_CPU_CV=3800; VDD_GPU_SOC=9500", gpu_load_pct=87.3, gpu_clock_mhz=1020.0, emc_load_pct=25.0,
        emc_clock_mhz=2133.0, temperatures_c="cpu=45.0; tj=61.5", ram_used_mib=6144.0, swap_used_mib=0.0, fan_pct=20.0, nvpmodel="MAXN",
        jetson_clocks="off", alarms="gpu-throttle; oc",
    )  # fmt: skip
    assert (empty.total_mw, empty.swap_used_mib, empty.rails_mw, empty.jetson_clocks) == (None, None, "", "")


def test_phases_hold_from_their_moment_on_however_late_word_of_them_comes(path: Path) -> None:
    log = TelemetryLog(path, "sysfs")
    log.mark(Mark(1.0, "idle", "a"))
    log.add([_at(0.5), _at(1.0), _at(2.0)])
    log.mark(Mark(1.5, "warm-up", "a", "v", "000"))
    log.mark(Mark(1.9, "timed", "a", "v", "000"))
    log.add([_at(2.5)])
    log.mark(Mark(2.2))
    log.close()

    assert [(row.t_s, row.phase, row.arm_id, row.object) for row in _rows(path)] == [
        (0.5, "", "", ""),
        (1.0, "idle", "a", ""),
        (2.0, "timed", "a", "000"),
        (2.5, "", "", ""),
    ]


def test_rows_reach_the_file_once_they_have_settled(path: Path) -> None:
    log = TelemetryLog(path, "sysfs")
    log.add([_at(1.0), _at(1.5)])
    assert _rows(path) == []
    log.add([_at(1.2 + SETTLE_S)])
    assert [row.t_s for row in _rows(path)] == [1.0]
    log.close()
    log.close()
    assert len(_rows(path)) == 3


def test_a_run_that_goes_on_appends_and_cuts_a_half_line(path: Path) -> None:
    for t_s in (1.0, 2.0):
        log = TelemetryLog(path, "sysfs")
        log.add([_at(t_s)])
        log.close()
        with path.open("a") as file:
            file.write("2023-11-14T22")
    TelemetryLog(path, "sysfs").close()

    assert [row.t_s for row in _rows(path)] == [1.0, 2.0]


def test_a_half_header_is_written_anew(path: Path) -> None:
    path.write_text("time,t_s")
    TelemetryLog(path, "sysfs").close()
    assert path.read_text() == header_line(TelemetryRow)


@pytest.mark.parametrize("rows", [200, 1])
def test_a_file_of_another_version_is_refused_and_left_alone(path: Path, rows: int) -> None:
    text = "time,power\n" + "1,2\n" * rows
    path.write_text(text)
    with pytest.raises(ResultsError, match="columns differ from this version's"):
        TelemetryLog(path, "sysfs")
    assert path.read_text() == text


def test_a_folder_in_its_place_is_one_line(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ResultsError, match=r"cannot be written \(Is a directory\); fix that or give another --out_dir"):
        TelemetryLog(path, "sysfs")


def test_a_full_disk_stops_the_log_and_not_the_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TelemetryLog(path, "sysfs")

    def full(file: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "write", full)
    log.add([_at(1.0), _at(9.0)])
    log.add([_at(19.0)])
    log.close()

    assert log.failed == "telemetry.csv: No space left on device"


def test_the_dictionary_has_every_column() -> None:
    assert dictionary(TelemetryRow).count("\n| `") == len(fields(TelemetryRow))
