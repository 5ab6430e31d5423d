"""What the benchmark knows of Jetson boards, on every board of the table."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import AGX_THOR, BOARDS, ORIN_NANO, Board
from emulated_board import BoardFiles, write_root

from savbench.board.jetsons import chip_of, gpu_clocks, jetpack_of, loose_gpu_clock
from savbench.board.power.rails import find_rails
from savbench.board.power.sysfs import SysfsSampler

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@every_board
def test_chip_and_jetpack_are_known(tmp_path: Path, board: Board) -> None:
    write_root(tmp_path, board)
    chip, jetpack = chip_of(tmp_path), jetpack_of(board.jetpack.l4t)
    assert chip is not None
    assert jetpack is not None
    assert chip.capability == board.capability
    assert (jetpack.cuda, ".".join(map(str, jetpack.python))) == (board.jetpack.cuda, board.jetpack.python.rpartition(".")[0])
    assert board.jetpack.version.startswith(jetpack.version)


def test_other_machines_have_neither_chip_nor_jetpack(tmp_path: Path) -> None:
    assert chip_of(tmp_path) is None
    assert [jetpack_of(l4t) for l4t in (None, "", "1.0", "3", "390.1")] == [None] * 5


@every_board
def test_every_clock_of_the_gpu_is_found_and_no_other(tmp_path: Path, board: Board) -> None:
    files = write_root(tmp_path, board)
    files.write("class/devfreq/15340000.vic/min_freq", 1)
    found = gpu_clocks(tmp_path)
    assert [folder.name for folder in found] == [clock.name for clock in board.gpu]

    assert loose_gpu_clock(found) is True
    files.lock_clocks()
    assert loose_gpu_clock(found) is False
    for clock in board.gpu:
        files.set_limits(clock.name, clock.low, clock.high)
        assert loose_gpu_clock(found) is True
        files.set_limits(clock.name, clock.high, clock.high)
    assert loose_gpu_clock([]) is None


@pytest.mark.parametrize("name", ["57000000.gpu", "17000000.gv11b", "17000000.gp10b", "17000000.ga10b"])
def test_earlier_boards_and_releases_are_found_too(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "sys/class/devfreq" / name
    folder.mkdir(parents=True)
    assert gpu_clocks(tmp_path) == [folder]


@every_board
def test_clocks_count_as_fixed_only_with_those_of_the_gpu(tmp_path: Path, board: Board) -> None:
    files = write_root(tmp_path, board)
    sampler = SysfsSampler(0.1, tmp_path)
    files.lock_clocks()
    assert sampler.read()[0].jetson_clocks is True
    for clock in board.gpu:
        files.set_limits(clock.name, clock.low, clock.high)
        assert sampler.read()[0].jetson_clocks is False
        files.set_limits(clock.name, clock.high, clock.high)


def test_a_gpu_whose_clock_is_not_shown_leaves_the_answer_open(tmp_path: Path) -> None:
    files = write_root(tmp_path, AGX_THOR)
    files.lock_clocks()
    for clock in AGX_THOR.gpu:
        (files.sys / "class/devfreq" / clock.name).unlink()
    assert SysfsSampler(0.1, tmp_path).read()[0].jetson_clocks is None


@every_board
def test_total_and_rails_are_those_of_the_board(tmp_path: Path, board: Board) -> None:
    write_root(tmp_path, board)
    (reading,) = SysfsSampler(0.1, tmp_path).read()
    mw = {rail.label: rail.mw for rail in board.rails}
    if board.input_monitor is not None:
        assert (reading.total_of, reading.total_mw) == ("VIN", board.input_monitor.uw / 1000)
        assert reading.rails_mw == mw
    elif "VDD_IN" in mw:
        assert (reading.total_of, reading.total_mw) == ("VDD_IN", mw.pop("VDD_IN"))
        assert reading.rails_mw == mw
    else:
        assert reading.total_of == "VDD_CPU_CV + VDD_GPU_SOC + VIN_SYS_5V0"
        assert reading.total_mw == pytest.approx(sum(mw.values()) - mw["VDDQ_VDD2_1V8AO"])
        assert reading.rails_mw == mw
    assert reading.nvpmodel == board.modes[board.fastest_mode]
    assert reading.gpu_clock_khz == board.gpu[0].low / 1000
    assert reading.gpu_load_pct == (0 if board.gpu[0].has_load else None)
    assert (reading.emc_khz, reading.emc_pct) == (board.emc_hz[1] / 1000, 25)
    assert "tj" in reading.temperatures_c


def test_the_input_monitor_is_read_by_voltage_and_current_where_it_shows_no_power(tmp_path: Path) -> None:
    files = write_root(tmp_path, AGX_THOR)
    (files.sys / files.input_folder / "power1_input").unlink()
    files.set_rail("VDD_GPU", 12_000, 2_000)
    rail = find_rails(tmp_path)[0]
    assert (rail.name, rail.read_mw(), len(rail.files)) == ("VIN", 23_000, 2)


def test_without_the_input_monitor_the_total_of_thor_is_the_sum_of_its_rails(tmp_path: Path) -> None:
    """As on a carrier board without an INA238; the row names what was added."""
    files = write_root(tmp_path, AGX_THOR)
    for path in (files.sys / files.input_folder).iterdir():
        path.unlink()
    (files.sys / "bus/i2c/devices/2-0044/name").unlink()
    assert SysfsSampler(0.1, tmp_path).read()[0].total_of == "VDD_CPU_SOC_MSS + VDD_GPU + VIN_SYS_5V0"


def test_the_input_monitor_is_found_under_class_hwmon_alone(tmp_path: Path) -> None:
    files = BoardFiles(tmp_path / "sys", AGX_THOR)
    (files.sys / files.input_folder).rename(files.sys / "class/hwmon/hwmon3")
    assert next(rail.name for rail in find_rails(tmp_path)) == "VIN"


def test_the_power_limit_of_the_input_is_an_alarm(tmp_path: Path) -> None:
    files = write_root(tmp_path, AGX_THOR)
    files.write(f"{files.input_folder}/power1_max_alarm", 0)
    sampler = SysfsSampler(0.1, tmp_path)
    assert sampler.read()[0].alarms == frozenset()
    files.write(f"{files.input_folder}/power1_max_alarm", 1)
    assert sampler.read()[0].alarms == {"VIN max"}


def test_a_device_tree_names_the_chip_and_the_board(tmp_path: Path) -> None:
    write_root(tmp_path, ORIN_NANO)
    chip = chip_of(tmp_path)
    assert chip is not None
    assert (chip.name, chip.family) == ("tegra234", "Orin")
