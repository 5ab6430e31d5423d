"""The board's files: right names, right units, and what is missing or wrong is said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from boards import AGX_ORIN, ORIN_NX
from emulated_board import BoardFiles

from savbench.board.power.base import PowerError, Reading
from savbench.board.power.events import ThrottleWatch, count_events
from savbench.board.power.rails import find_rails
from savbench.board.power.sysfs import FAILURES_IN_A_ROW, SysfsSampler, zone_name

if TYPE_CHECKING:
    from pathlib import Path


def _read(root: Path) -> Reading:
    (reading,) = SysfsSampler(0.1, root).read()
    return reading


def test_agx_power_is_the_sum_of_the_rails_that_are_no_part_of_another(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", AGX_ORIN)
    files.set_rail("VDD_GPU_SOC", 19_000, 500)
    files.set_rail("VDD_CPU_CV", 19_000, 200)
    files.set_rail("VIN_SYS_5V0", 5_000, 900)
    files.set_rail("VDDQ_VDD2_1V8AO", 5_000, 100)

    reading = _read(tmp_path)

    assert reading.rails_mw == {"VDD_GPU_SOC": 9500, "VDD_CPU_CV": 3800, "VIN_SYS_5V0": 4500, "VDDQ_VDD2_1V8AO": 500}
    # VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0
    assert reading.total_mw == 9_500 + 3_800 + 4_500
    assert reading.total_of == "VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0"


def test_nx_power_is_that_of_its_input_which_the_other_rails_are_part_of(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", ORIN_NX)
    files.set_rail("VDD_IN", 5_000, 2_600)
    files.set_rail("VDD_CPU_GPU_CV", 5_000, 1_200)
    files.set_rail("VDD_SOC", 5_000, 600)

    reading = _read(tmp_path)

    assert reading.total_mw == 13_000
    assert reading.total_of == "VDD_IN"
    assert reading.rails_mw == {"VDD_CPU_GPU_CV": 6000, "VDD_SOC": 3000}


def test_a_monitor_that_shows_in_two_trees_counts_once(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys", ORIN_NX)
    folder = tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon1"
    (folder / "name").write_text("ina3221\n")
    (tmp_path / "sys/class/hwmon/hwmon1").symlink_to(folder)

    assert [rail.name for rail in find_rails(tmp_path)] == [rail.label for rail in ORIN_NX.rails]


def test_a_monitor_under_class_hwmon_alone_is_found(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys", ORIN_NX)
    (tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/name").write_text("ina3221\n")
    (tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon1").rename(tmp_path / "sys/class/hwmon/hwmon1")

    assert [rail.name for rail in find_rails(tmp_path)] == [rail.label for rail in ORIN_NX.rails]


def test_everything_else_has_its_unit(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys")
    files.set_gpu(load_permille=873, hz=1_020_000_000)
    files.set_zone("tj-thermal", 61_500)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 2097152 kB\nSwapTotal: 4096 kB\nSwapFree: 1024 kB\n"
    )
    (tmp_path / "proc/vmstat").write_text("pswpin 256\npswpout 768\n")

    reading = _read(tmp_path)

    assert reading.gpu_load_pct == pytest.approx(87.3)
    assert reading.gpu_clock_khz == pytest.approx(1_020_000)
    assert reading.emc_khz == pytest.approx(2_133_000)
    assert reading.emc_pct == pytest.approx(25)
    assert reading.fan_pct == pytest.approx(20)
    assert (reading.ram_used_mib, reading.swap_used_mib) == (6144, 3)
    assert reading.swap_io_mib is not None
    assert reading.swap_io_mib > 0
    # CV0's sensor is off
    assert reading.temperatures_c == pytest.approx({"cpu": 45, "gpu": 46, "soc0": 48, "tj": 61.5})
    assert reading.hottest_c == pytest.approx(61.5)


def test_without_a_junction_the_hottest_zone_is_the_hottest() -> None:
    assert Reading(0, 0, temperatures_c={"cpu": 50.0, "gpu": 62.0}).hottest_c == 62
    assert Reading(0, 0, temperatures_c={"cpu": 70.0, "tj": 62.0}).hottest_c == 62
    assert Reading(0, 0).hottest_c is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [("CPU-therm", "cpu"), ("cpu-thermal", "cpu"), ("tj-thermal", "tj"), ("SOC0-therm", "soc0"), ("Tboard_tegra", "tboard")],
)
def test_zones_have_one_name_whatever_the_release(kind: str, name: str) -> None:
    assert zone_name(kind) == name


def test_a_reading_is_stamped_while_it_is_taken(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys")
    sampler = SysfsSampler(0.1, tmp_path)
    before = time.perf_counter(), time.time()
    (reading,) = sampler.read()
    after = time.perf_counter(), time.time()

    assert before[0] <= reading.t_s <= after[0]
    assert before[1] - 0.001 <= reading.unix_s <= after[1] + 0.001


def test_power_mode_is_followed_and_named(tmp_path: Path) -> None:
    BoardFiles(tmp_path / "sys")
    sampler_without = SysfsSampler(0.1, tmp_path)
    assert sampler_without.read()[0].nvpmodel is None

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MODE_30W >\n")
    status = tmp_path / "var/lib/nvpmodel/status"
    status.parent.mkdir(parents=True)
    status.write_text("pmode:0000")
    sampler = SysfsSampler(0.1, tmp_path)
    assert sampler.read()[0].nvpmodel == "MAXN"
    status.write_text("pmode:0002")
    assert sampler.read()[0].nvpmodel == "MODE_30W"
    status.write_text("pmode:0007")
    assert sampler.read()[0].nvpmodel == "7"


def test_clocks_are_held_where_every_lower_limit_is_the_upper_one(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys")
    sampler = SysfsSampler(0.1, tmp_path)

    def held() -> bool | None:
        return sampler.read()[0].jetson_clocks

    assert held() is False
    files.set_limits("17000000.gpu", 1_300_500_000, 1_300_500_000)
    assert held() is False
    for policy in (0, 4, 8):
        files.write(f"devices/system/cpu/cpufreq/policy{policy}/scaling_min_freq", 2_201_600)
    assert held() is True


def test_alarms_and_counters_are_read(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", ORIN_NX)
    for rail in ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"):
        for kind in ("crit", "max"):
            files.write(files.rail_file(rail, f"curr{{}}_{kind}_alarm"), 0)
    files.write("class/hwmon/hwmon4/name", "soctherm_oc")
    files.write("class/hwmon/hwmon4/oc1_event_cnt", 0)
    files.write("class/hwmon/hwmon4/oc3_event_cnt", 12)
    files.write("class/thermal/cooling_device0/type", "gpu-throttle-alert")
    files.write("class/thermal/cooling_device0/cur_state", 0)
    files.write("class/thermal/cooling_device1/type", "pwm-fan")
    files.write("class/thermal/cooling_device1/cur_state", 3)
    sampler = SysfsSampler(0.1, tmp_path)

    before = sampler.read()
    assert before[0].alarms == frozenset()
    assert before[0].events == {"oc1": 0, "oc3": 12}
    files.write(files.rail_file("VDD_IN", "curr{}_crit_alarm"), 1)
    files.write("class/thermal/cooling_device0/cur_state", 1)
    files.write("class/hwmon/hwmon4/oc3_event_cnt", 15)
    after = sampler.read()
    assert after[0].alarms == {"VDD_IN crit", "gpu-throttle"}

    assert count_events([*before, *after, *after]) == {"VDD_IN crit": 1, "gpu-throttle": 1, "oc3": 3}
    assert count_events([]) == {}


def test_a_board_without_such_reports_has_none(tmp_path: Path) -> None:
    assert ThrottleWatch(tmp_path).alarms() == frozenset()
    assert ThrottleWatch(tmp_path).events() == {}


def test_elsewhere_than_on_a_jetson_it_says_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match=r"not a Jetson.*--power nvml.*--power none"):
        SysfsSampler(0.1, tmp_path)


def test_a_jetson_without_a_monitor_is_told_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\n")

    with pytest.raises(PowerError, match=r"cat /sys/class/hwmon"):
        SysfsSampler(0.1, tmp_path)


def test_a_monitor_that_does_not_answer_is_refused_at_once(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", ORIN_NX)
    files.write(files.rail_file("VDD_SOC", "curr{}_input"), "")

    with pytest.raises(PowerError, match="cannot be read"):
        SysfsSampler(0.1, tmp_path)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan"), 1e9])
def test_an_interval_that_cannot_be_kept_is_refused(tmp_path: Path, interval_s: float) -> None:
    BoardFiles(tmp_path / "sys")
    with pytest.raises(PowerError, match="--power_interval"):
        SysfsSampler(interval_s, tmp_path)


def test_a_refused_read_is_passed_over_and_a_dead_monitor_is_not(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", ORIN_NX)
    sampler = SysfsSampler(0.1, tmp_path)
    current = tmp_path / "sys" / files.rail_file("VDD_SOC", "curr{}_input")

    for _ in range(2):
        current.unlink()
        for _ in range(FAILURES_IN_A_ROW - 1):
            assert sampler.read() == []
        files.set_rail("VDD_SOC", 5000, 600)
        assert len(sampler.read()) == 1

    current.unlink()
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert sampler.read() == []
    with pytest.raises(PowerError, match="stopped answering"):
        sampler.read()
