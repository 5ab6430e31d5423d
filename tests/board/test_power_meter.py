"""An external meter's file: its rows become readings beside the board's state, and what is wrong with it is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from boards import AGX_ORIN, ORIN_NANO
from emulated_board import write_root

from savbench.arguments.declared import ConfigError
from savbench.board.power.base import PowerError, Reading, Stamp
from savbench.board.power.choose import open_source
from savbench.board.power.meter import MeterSampler
from savbench.board.power.scaled import ScaledSampler
from savbench.board.power.sysfs import SysfsSampler
from savbench.plan.settings import RunConfig

BEGUN = Stamp(t_s=500.0, unix_s=1_800_000_000.0)


class Meter:
    """A meter's log of one row a second, and the time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "meter.csv"
        self.now = BEGUN
        self.path.write_text("time,watts\n")
        self.log(*range(-3, 1))

    def log(self, *seconds: float, watts: float = 20.0) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{BEGUN.unix_s + second},{watts}\n" for second in seconds)

    def wait(self, seconds: float) -> None:
        self.now = self.now.earlier(-seconds)

    def open(self, board: SysfsSampler | None = None) -> MeterSampler:
        return MeterSampler(self.path, board, lambda: self.now)


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    return Meter(tmp_path)


def test_only_rows_of_the_run_are_readings_on_the_clock_of_the_frames(meter: Meter) -> None:
    sampler = meter.open()
    assert sampler.interval_s == 1.0
    assert sampler.read() == []
    meter.wait(2.25)
    meter.log(1, 2, watts=25.5)
    assert sampler.read() == [
        Reading(t_s=501.0, unix_s=BEGUN.unix_s + 1, total_mw=25_500, total_of="meter.csv"),
        Reading(t_s=502.0, unix_s=BEGUN.unix_s + 2, total_mw=25_500, total_of="meter.csv"),
    ]
    assert sampler.read() == []


def test_a_row_that_is_not_complete_yet_is_waited_for(meter: Meter) -> None:
    sampler = meter.open()
    with meter.path.open("a") as file:
        file.write(f"{BEGUN.unix_s + 1},2")
    assert sampler.read() == []
    with meter.path.open("a") as file:
        file.write("1.5\n")
    assert [reading.total_mw for reading in sampler.read()] == [21_500]


@pytest.mark.parametrize(
    ("row", "unix_s"),
    [
        ("2027-01-15T08:00:01Z,9", BEGUN.unix_s + 1),
        ("2027-01-15T09:00:01.500+01:00,9", BEGUN.unix_s + 1.5),
        ("2027-01-15 08:00:01.5Z,9", BEGUN.unix_s + 1.5),
        ("2027-01-15T08:00:01.2500000Z,9", BEGUN.unix_s + 1.25),
        ("  1800000001.25 , 9\r", BEGUN.unix_s + 1.25),
    ],
)
def test_times_are_unix_seconds_or_iso_8601_with_a_zone(meter: Meter, row: str, unix_s: float) -> None:
    sampler = meter.open()
    meter.wait(2)
    with meter.path.open("a") as file:
        file.write(f"{row}\n")
    assert [(reading.unix_s, reading.total_mw) for reading in sampler.read()] == [(unix_s, 9_000)]


def test_columns_are_found_by_name_whatever_else_there_is(meter: Meter) -> None:
    meter.path.write_text("\ufeffVolts,Watts,Time\n\n5,7,1799999998\n5,8,1799999999\n", encoding="utf-8")
    sampler = meter.open()
    with meter.path.open("a") as file:
        file.write("5,9,1800000000\n")
    assert [reading.total_mw for reading in sampler.read()] == [9_000]


def test_the_board_is_read_beside_the_meter_and_its_own_total_stays_visible(tmp_path: Path, meter: Meter) -> None:
    root = tmp_path / "board"
    files = write_root(root, AGX_ORIN)
    files.lock_clocks()
    files.write(files.rail_file("VDD_GPU_SOC", "curr{}_crit_alarm"), 0)
    sampler = meter.open(SysfsSampler(0.1, root))
    # between two rows of the meter an alarm comes and goes, and a clock is loose for a moment
    files.write(files.rail_file("VDD_GPU_SOC", "curr{}_crit_alarm"), 1)
    files.set_limits("17000000.gpu", 306_000_000, 1_300_500_000)
    assert sampler.read() == []
    files.write(files.rail_file("VDD_GPU_SOC", "curr{}_crit_alarm"), 0)
    files.lock_clocks()
    meter.wait(1)
    meter.log(1, watts=12.5)
    (reading,) = sampler.read()
    assert (reading.total_mw, reading.total_of, reading.t_s) == (12_500, "meter.csv", 501.0)
    assert set(reading.rails_mw) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO", "sysfs total"}
    assert reading.rails_mw["sysfs total"] == pytest.approx(8711.2, abs=0.1)
    assert (reading.nvpmodel, reading.jetson_clocks) == ("MAXN", False)
    assert reading.alarms == {"VDD_GPU_SOC crit"}

    meter.wait(1)
    meter.log(2)
    (after,) = sampler.read()
    assert (after.jetson_clocks, after.alarms) == (True, frozenset())
    sampler.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has fewer than two readings; start the meter's logger"),
        ("time,watts\n", "has fewer than two readings; start the meter's logger"),
        ("time,watts\n1799999999,7\n", "has fewer than two readings; start the meter's logger"),
        ("when,power\n1,2\n", r"meter.csv:1: the header must have the columns time and watts, and has when, power"),
        ("1799999998,7\n1799999999,7\n", r"meter.csv:1: the header must have the columns time and watts"),
        ("time,watts\n1799999998,seven\n", r"meter.csv:2: watts is 'seven'; it must be a number from 0 on"),
        ("time,watts\n1799999998,nan\n", "watts is 'nan'"),
        ("time,watts\n1799999998,-3\n", "watts is '-3'"),
        ("time,watts\n1799999998\n", "has 1 fields; every row needs a time and watts"),
        ("time,watts\nnoon,7\n", "time is 'noon'; it must be seconds since 1970, or ISO 8601"),
        ("time,watts\nnan,7\n", "time is 'nan'"),
        ("time,watts\n2027-01-15T08:00:00,7\n", r"has no zone; write 2027-01-15T08:00:00\+00:00 if it is UTC"),
        ("time,watts\n1799999999,7\n1799999998,7\n", r"meter.csv:3: time does not increase; let one logger write"),
        ("time,watts\n1799999000,7\n1799999001,7\n", "is 999 s old; start the meter's logger, or set both clocks by NTP"),
        ("time,watts\n1800003599,7\n1800003600,7\n", "3600.0 s ahead of this machine's clock; log on this machine"),
    ],
)
def test_a_bad_file_is_refused_with_its_line_and_what_to_do(meter: Meter, text: str, message: str) -> None:
    meter.path.write_text(text)
    with pytest.raises(PowerError, match=message):
        meter.open()


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match=r"does not exist; start the meter's logger first, or correct the path$"):
        MeterSampler(tmp_path / "none.csv")
    with pytest.raises(PowerError, match=r"cannot be read \(Is a directory\)"):
        MeterSampler(tmp_path)


def test_a_logger_that_stops_or_starts_anew_ends_the_source(meter: Meter) -> None:
    sampler = meter.open()
    meter.wait(9)
    assert sampler.read() == []
    meter.wait(3)
    with pytest.raises(PowerError, match="is 12 s old; start the meter's logger"):
        sampler.read()
    meter.path.write_text("time,watts\n")
    with pytest.raises(PowerError, match="became shorter; let the logger append to one file"):
        sampler.read()


def test_a_bad_row_in_the_middle_of_a_run_ends_the_source(meter: Meter) -> None:
    sampler = meter.open()
    meter.log(1)
    with meter.path.open("a") as file:
        file.write("what?\n")
    with pytest.raises(PowerError, match=r"meter.csv:7: has 1 fields"):
        sampler.read()


# --- how it is chosen


class Closing:
    name = "sysfs"
    interval_s = 0.1
    scope = "module"

    def __init__(self) -> None:
        self.closed = False

    def read(self) -> list[Reading]:
        return []

    def close(self) -> None:
        self.closed = True


def test_the_meter_is_chosen_by_its_file_with_the_board_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    now = Stamp.now().unix_s
    path.write_text(f"time,watts\n{now - 1},5\n{now - 0.5},5\n")
    choice = open_source(f"csv:{path}", 0.1, openers={"sysfs": Closing})  # type: ignore[dict-item]
    assert choice.sampler is not None
    assert choice.why == f"power: {path} every 0.5 s, beside it sysfs"
    assert choice.reason == "named with --power"

    alone = open_source(f"csv:{path}", 0.1, root=tmp_path, device="cpu", openers={})
    assert alone.why.endswith("beside it nothing else")

    board = Closing()
    with pytest.raises(PowerError, match="does not exist"):
        open_source(f"csv:{path}x", 0.1, openers={"sysfs": lambda: board})  # type: ignore[dict-item,return-value]
    assert board.closed
    with pytest.raises(PowerError, match="use one of auto, jtop, sysfs, nvml, none, csv:FILE"):
        open_source("csv:", 0.1)


# --- the calibration factor


def test_the_factor_multiplies_the_total_alone(tmp_path: Path) -> None:
    write_root(tmp_path, ORIN_NANO)
    sampler = SysfsSampler(0.1, tmp_path)
    (plain,) = sampler.read()
    scaled = ScaledSampler(sampler, 1.1)
    (reading,) = scaled.read()
    assert plain.total_mw == 5_500
    assert reading.total_mw == pytest.approx(6_050)
    assert replace(reading, total_mw=0, t_s=0, unix_s=0, ram_used_mib=0) == replace(plain, total_mw=0, t_s=0, unix_s=0, ram_used_mib=0)
    assert (scaled.name, scaled.interval_s, scaled.scope) == ("sysfs", 0.1, "module")


def test_a_factor_without_a_monitor_to_calibrate_is_refused() -> None:
    for power in ("none", "csv:/tmp/meter.csv"):
        with pytest.raises(ConfigError, match="--power_scale calibrates the board's own monitors"):
            RunConfig(split_dir=Path("split"), power=power, power_scale=(1.1, None))
