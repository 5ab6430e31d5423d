"""Power in the rows of real runs: the supervisor's recorder, the worker's stamps, telemetry.csv."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest
import scripted_worker
from boards import BOARDS, Board
from emulated_board import jtop_service, write_root
from scripted_run import config, make_split
from tiny_split import TinySplit, rectangle
from watched_board import TellingProgress

from runners import RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.board import cooling, validity
from savbench.board import watch as board
from savbench.board.power.base import PowerError, Reading, Scope
from savbench.board.power.choose import Choice
from savbench.board.power.sysfs import SysfsSampler
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.telemetry import TelemetryRow
from savbench.supervise import run as runs
from savbench.supervise import worker_process
from savbench.supervise.progress import Progress


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, scripted_worker.__file__])
    monkeypatch.setattr(board, "SETTLE_S", 0.1)
    monkeypatch.setattr(board, "IDLE_S", 0.6)
    # the machine that the tests run on may be busy
    monkeypatch.setattr(validity, "MAX_BACKGROUND_CPUS", float("inf"))


class Steady:
    """A board that draws 7 W, of which a rail 3 W, and may be unplugged after some readings."""

    name = "steady"
    interval_s = 0.02
    scope: Scope = "module"

    def __init__(self, lives: float = float("inf")) -> None:
        self._lives = lives
        self.closed = False

    def read(self) -> list[Reading]:
        self._lives -= 1
        if self._lives < 0:
            raise PowerError("steady: unplugged; plug it in")
        return [
            Reading(
                t_s=time.perf_counter(),
                unix_s=time.time(),
                total_mw=7000.0,
                total_of="VDD_IN",
                rails_mw={"GPU": 3000.0},
                temperatures_c={"tj": 51.5},
                gpu_clock_khz=918_000.0,
                nvpmodel="MAXN",
                jetson_clocks=True,
                swap_io_mib=0.0,
            )
        ]

    def close(self) -> None:
        self.closed = True


def run(tmp_path: Path, videos: list[str], **settings: object) -> tuple[list[SummaryRow], str]:
    said = io.StringIO()
    runs.run(config(make_split(tmp_path, videos), tmp_path / "run", **settings), [], Progress(said, said))
    return read_rows(SummaryRow, tmp_path / "run" / "summary.csv"), said.getvalue()


def test_a_steady_board_gives_the_energy_of_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Steady()
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(source, "power: steady"))
    (row,), said = run(tmp_path, ["slow"])
    assert "power: steady" in said
    assert (row.power_source, row.power_of, row.nvpmodel, row.jetson_clocks) == ("steady", "VDD_IN", "MAXN", "on")
    assert row.latency_ms is not None
    assert row.idle_w == pytest.approx(7.0)
    assert row.power_mean_w == pytest.approx(7.0)
    assert row.power_peak_w == pytest.approx(7.0)
    assert row.energy_gross_j_per_frame == pytest.approx(7.0 * row.latency_ms / 1e3, rel=1e-6)
    assert row.energy_j_per_frame == pytest.approx(0.0, abs=1e-9)
    assert row.fps_per_w == pytest.approx((row.fps or 0) / 7.0, rel=1e-6)
    assert row.rails_mean_w == {"GPU": 3.0}
    assert (row.power_scale, row.power_scale_error) == (1.0, None)
    assert row.validity == "ok"
    assert (row.temperature_start_c, row.gpu_clock_min_mhz, row.throttle_events, row.swap_io_mib) == (51.5, 918.0, 0, 0.0)
    assert source.closed
    readings = read_rows(TelemetryRow, tmp_path / "run" / "telemetry.csv")
    phases = [reading.phase for reading in readings]
    assert [phase for phase, before in zip(phases, ["", *phases], strict=False) if phase != before and phase] == [
        "idle",
        "warm-up",
        "timed",
    ]
    assert {(r.arm_id, r.video, r.object) for r in readings if r.phase == "timed"} == {(row.arm_id, "slow", "000")}
    assert {r.total_mw for r in readings} == {7000.0}


def test_a_source_that_dies_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(Steady(lives=5), "power: steady"))
    rows, _ = run(tmp_path, ["slow_1", "slow_2"])
    for row in rows:
        assert (row.status, row.power_source, row.power_mean_w, row.energy_j_per_frame) == ("ok", "steady", None, None)
        assert row.power_note == "steady: unplugged; plug it in"
        assert row.power_of == "VDD_IN"
        assert row.J is not None


def test_a_calibration_factor_is_in_the_row_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(Steady(), "power: steady", "the first that answered; not jtop: no"))
    (row,), said = run(tmp_path, ["slow"], power_scale=(1.1, 0.02))
    assert row.power_mean_w == pytest.approx(7.7)
    assert row.idle_w == pytest.approx(7.7)
    assert row.rails_mean_w == {"GPU": 3.0}
    assert (row.power_scale, row.power_scale_error) == (1.1, 0.02)
    assert row.power_reason == "the first that answered; not jtop: no"
    assert "power: steady; total times 1.1, --power_scale" in said


def test_a_run_beside_an_external_meter(tmp_path: Path) -> None:
    meter, done = tmp_path / "meter.csv", threading.Event()
    meter.write_text("time,watts\n")

    def log() -> None:
        while not done.wait(0.05):
            with meter.open("a") as file:
                file.write(f"{time.time()},12.5\n")

    logger = threading.Thread(target=log, daemon=True)
    logger.start()
    try:
        time.sleep(0.3)
        (row,), said = run(tmp_path, ["slow"], power=f"csv:{meter}")
    finally:
        done.set()
        logger.join()
    assert f"power: {meter} every" in said
    assert (row.power_source, row.power_of, row.power_reason) == ("csv", "meter.csv", "named with --power")
    assert row.power_mean_w == pytest.approx(12.5)
    assert row.energy_gross_j_per_frame == pytest.approx(12.5 * (row.latency_ms or 0) / 1e3, rel=1e-6)


def test_failed_rows_have_no_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(Steady(), "power: steady"))
    rows, _ = run(tmp_path, ["raise", "slow"])
    assert [(row.status, row.power_mean_w is None) for row in rows] == [("error", True), ("ok", False)]


def test_without_a_source_the_columns_are_empty_and_nothing_is_written(tmp_path: Path) -> None:
    (row,), said = run(tmp_path, ["slow"], power="none")
    assert (row.power_source, row.power_mean_w, row.power_note) == ("none", None, "")
    assert "power: none, as requested" in said
    assert not (tmp_path / "run" / "telemetry.csv").exists()


@pytest.mark.parametrize("source", ["sysfs", "watts"])
def test_a_source_that_was_asked_for_and_is_not_there_ends_the_run_before_it_begins(tmp_path: Path, source: str) -> None:
    if source == "sysfs" and list(Path("/sys/bus/i2c/devices").glob("*/hwmon")):
        pytest.skip("this machine may have power monitors")
    with pytest.raises((PowerError, ConfigError), match=source):
        run(tmp_path, ["slow"], power=source)
    assert not (tmp_path / "run").exists()


@pytest.mark.alone
def test_a_run_beside_the_real_jtop_service(tmp_path: Path) -> None:
    with jtop_service():
        (row,), said = run(tmp_path, ["slow"], power="jtop", max_frames=None)
    assert "power: jtop" in said
    assert row.power_source == "jtop"
    # without VDDQ_VDD2_1V8AO, which jtop adds although VIN_SYS_5V0 has it already
    assert row.idle_w == pytest.approx(8.71, rel=0.01)
    phases = {reading.phase for reading in read_rows(TelemetryRow, tmp_path / "run" / "telemetry.csv")}
    assert {"idle", "timed"} <= phases


@pytest.mark.alone
def test_strict_on_an_emulated_orin_waits_until_it_is_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooling, "STEP_S", 0.1)
    settings = config(make_split(tmp_path, ["slow"]), tmp_path / "run", power="jtop", strict=True, cooldown_c=50.0)
    said = io.StringIO()
    with jtop_service() as service:
        with pytest.raises(PowerError, match=r"clocks not locked \(sudo scripts/lock_clocks.sh\)"):
            runs.run(settings, [], Progress(said, said))

        def cool(text: str) -> None:
            service.files.set_zone("tj-thermal", 48_000)

        service.files.set_limits("17000000.gpu", 1_300_500_000, 1_300_500_000)
        service.files.set_zone("tj-thermal", 63_000)
        time.sleep(1.0)  # the service sees it a moment later
        runs.run(settings, [], TellingProgress(said, lambda text: None, cool, lambda done: None))
    (row,) = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert (row.status, row.validity, row.jetson_clocks, row.nvpmodel) == ("ok", "ok", "on", "MAXN")
    assert row.temperature_start_c == pytest.approx(48.0)
    assert "cooling: 63.0 C, waiting for 50 C" in said.getvalue()


@pytest.mark.parametrize("sold", BOARDS.values(), ids=BOARDS)
def test_strict_refuses_every_board_whose_gpu_clock_is_loose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sold: Board) -> None:
    files = write_root(tmp_path, sold)
    files.lock_clocks()
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(SysfsSampler(0.1, tmp_path), "power: sysfs"))
    settings = config(make_split(tmp_path, ["slow"]), tmp_path / "run", strict=True)

    def reason() -> str:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        with board.BoardWatch(settings) as watch:
            watch.record_into(folder)
            return watch.why_no_valid_row()

    assert reason() == ""
    for clock in sold.gpu:
        files.set_limits(clock.name, clock.low, clock.high)
        assert "clocks not locked" in reason()
        files.set_limits(clock.name, clock.high, clock.high)
    for clock in sold.gpu:
        (files.sys / "class/devfreq" / clock.name).unlink()
    assert "whether the GPU's clock is locked cannot be read" in reason()


@pytest.mark.alone
def test_a_power_mode_that_changes_on_an_emulated_orin_makes_the_row_invalid(tmp_path: Path) -> None:
    split = TinySplit(tmp_path / "split")
    split.write_video("slow", 120, {"000": [rectangle(4, 2 + step, 8, 8) for step in range(3)]})
    (split.root / "val.txt").write_text("slow\n")
    said = io.StringIO()
    with jtop_service() as service:

        def change(done: int) -> None:
            if done > 10:
                service.files.write("nvpmodel_now", "MODE_30W")

        progress = TellingProgress(said, lambda text: None, lambda text: None, change)
        runs.run(config(split.root, tmp_path / "run", power="jtop"), [], progress)
    (row,) = read_rows(SummaryRow, tmp_path / "run" / "summary.csv")
    assert (row.status, row.nvpmodel) == ("ok", "MAXN > MODE_30W")
    assert "power mode changed (MAXN > MODE_30W)" in row.validity
