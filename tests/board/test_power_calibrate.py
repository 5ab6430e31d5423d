"""The factor for --power_scale: known gains come back, with an error that says how far they can be off."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from savbench.board.power.calibrate import CalibrationError, calibrate, main
from savbench.results.csv_rows import header_line, row_line
from savbench.results.telemetry import TELEMETRY, Phase, TelemetryRow

ROOT = Path(__file__).parents[2]
GAIN, OFFSET_W = 1.08, 2.5


def _rows(arms: int = 4, noise_w: float = 0.0, load_w: float = 20.0, seed: int = 0) -> list[TelemetryRow]:
    """Each arm idles for 3 s at 6 W of the board's own and works for 20 s; one reading a second."""
    rng = random.Random(seed)
    rows, t_s = [], 0.0
    for arm in range(arms):
        for phase, seconds, watts in (("idle", 3, 6.0), ("warm-up", 5, 15.0), ("timed", 20, load_w + arm), ("", 2, 6.0)):
            for _ in range(seconds):
                board_w = watts + rng.gauss(0, noise_w)
                meter_w = GAIN * board_w + OFFSET_W + rng.gauss(0, noise_w)
                rows.append(_row(t_s, phase, meter_w, board_w))  # type: ignore[arg-type]
                t_s += 1
    return rows


def _row(t_s: float, phase: Phase, meter_w: float, board_w: float) -> TelemetryRow:
    rails = f"VDD_GPU_SOC=3000; sysfs total={board_w * 1e3:.3f}"
    return TelemetryRow(t_s=t_s, phase=phase, source="csv", total_mw=meter_w * 1e3, rails_mw=rails)


def test_a_known_gain_comes_back_whatever_the_meter_sees_besides() -> None:
    found = calibrate(_rows(), meter_error_pct=1.0)
    assert found.gain == pytest.approx(GAIN, rel=1e-6)
    assert found.spread == pytest.approx(0, abs=1e-6)
    assert found.error == pytest.approx(GAIN / 100, rel=1e-6)
    assert found.source == "sysfs"
    assert found.flag == "--power_scale 1.08+-0.011"
    assert found.idle.meter_w == pytest.approx(GAIN * 6 + OFFSET_W)


def test_the_stated_error_is_that_of_many_calibrations() -> None:
    found = [calibrate(_rows(noise_w=0.5, seed=seed), 0.0) for seed in range(200)]
    mean = sum(one.gain for one in found) / len(found)
    spread = (sum((one.gain - mean) ** 2 for one in found) / (len(found) - 1)) ** 0.5
    assert mean == pytest.approx(GAIN, abs=3 * spread / len(found) ** 0.5)
    stated = sum(one.error for one in found) / len(found)
    assert stated == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the run has no meter"),
        ([TelemetryRow(t_s=1.0, source="sysfs", total_mw=1.0)], r"run with --power csv:FILE on the board"),
        ([TelemetryRow(t_s=1.0, source="csv", total_mw=1.0)], "no meter beside the board's own monitors"),
        (_rows(arms=1), r"3 blocks of 5 s idle are needed, found 1; run more arms"),
        (_rows(load_w=6.1, arms=3)[:90], r"raises sysfs by .* too little to calibrate; run a larger model"),
    ],
)
def test_a_run_that_gives_no_factor_says_what_to_change(rows: list[TelemetryRow], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        calibrate(rows, 1.0)


def test_the_command_prints_the_flag(tmp_path: Path) -> None:
    path = tmp_path / TELEMETRY
    path.write_text(header_line(TelemetryRow) + "".join(map(row_line, _rows())) + "2026-01-31T12")
    command = [sys.executable, "-m", "savbench.board.power.calibrate", str(tmp_path), "--meter_error", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "idle: 8.98 W by the meter, 6.00 W by sysfs"
    assert done.stdout.splitlines()[-2:] == ["constant part that sysfs does not see: 2.50 W", "--power_scale 1.08+-0.0054"]


def test_the_command_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--meter_error", "1"]) == 1
    assert "telemetry.csv: cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--meter_error", "-1"])
    assert "give a percentage from 0 on" in capsys.readouterr().err
