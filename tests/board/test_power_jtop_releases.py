"""Releases of jetson-stats and boards: the real service tells what the kernel tells, or says why it is not to be used.

The installed release is tested everywhere. Another one is tested if JETSON_STATS_4_3 names a folder with its package `jtop`:

    pip download --no-deps --no-binary :all: --no-build-isolation jetson-stats==4.3.2
    tar xf jetson-stats-4.3.2.tar.gz && export JETSON_STATS_4_3=$PWD/jetson-stats-4.3.2
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from boards import BOARDS, Board
from emulated_board import SOCKET, BoardFiles, jtop_service, with_release, write_root

from savbench.board.power.base import PowerError
from savbench.board.power.choose import open_source
from savbench.board.power.jtop import JtopSampler
from savbench.board.power.sysfs import SysfsSampler

ROOT = Path(__file__).parents[2]

FIRST_READING = """
import dataclasses, json, sys, time
from pathlib import Path
from savbench.board.power.base import PowerError
from savbench.board.power.jtop import JtopSampler
try:
    sampler = JtopSampler(0.1, root=Path(sys.argv[1]))
except PowerError as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
readings = []
while not readings:
    time.sleep(0.05)
    readings = sampler.read()
print(json.dumps(dataclasses.asdict(readings[0]), default=sorted))
"""
"""A client in a process of its own, which may import another release."""

some_boards = pytest.mark.parametrize("board", [BOARDS[name] for name in ("orin-nano-jp6.2", "agx-orin-jp7.2")], ids=lambda board: board.id)


@pytest.fixture
def release_4() -> Path:
    folder = os.environ.get("JETSON_STATS_4_3")
    if not folder:
        pytest.skip("needs JETSON_STATS_4_3, a folder with jetson-stats 4.3")
    return Path(folder)


def _first_reading(root: Path, release: Path | None) -> dict[str, Any]:
    environment = {**with_release(release)}
    environment["PYTHONPATH"] = os.pathsep.join([environment.get("PYTHONPATH", ""), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", FIRST_READING, str(root)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check_alike(told: dict[str, Any], root: Path, files: BoardFiles) -> None:
    """What the service tells is what the kernel's files say, and no column is empty for one source alone."""
    sampler = SysfsSampler(0.1, root)
    (reading,) = sampler.read()
    kernel = json.loads(json.dumps(asdict(reading), default=sorted))
    for name in ("total_of", "jetson_clocks", "gpu_clock_khz", "emc_khz", "emc_pct"):
        assert told[name] == kernel[name], name
    for name in ("total_mw", "rails_mw", "fan_pct"):
        assert told[name] == pytest.approx(kernel[name], rel=1e-3, abs=1), name
    assert told["temperatures_c"]["tj"] == kernel["temperatures_c"]["tj"]
    assert {name for name, value in told.items() if value is None} <= {name for name, value in kernel.items() if value is None}
    assert files.board.gpu[0].has_load == (told["gpu_load_pct"] is not None)


def _test_alike(board: Board, root: Path, release: Path | None) -> None:
    write_root(root, board)
    with jtop_service(board, release) as service:
        _check_alike(_first_reading(root, release), root, service.files)


@pytest.mark.alone
@some_boards
def test_the_installed_release_tells_what_the_kernel_tells(tmp_path: Path, board: Board) -> None:
    _test_alike(board, tmp_path, None)


@pytest.mark.alone
def test_the_installed_release_reads_the_input_of_thor(tmp_path: Path) -> None:
    board = BOARDS["agx-thor-jp7.2"]
    write_root(tmp_path, board)
    with jtop_service(board):
        told = _first_reading(tmp_path, None)
    assert (told["total_of"], told["total_mw"]) == ("VIN", 23_000)
    assert set(told["rails_mw"]) == {"VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"}
    # the service sees no GPU here, the kernel's files do
    assert (told["gpu_clock_khz"], told["jetson_clocks"]) == (315_000, False)


@pytest.mark.alone
@some_boards
def test_release_4_tells_what_the_kernel_tells(tmp_path: Path, board: Board, release_4: Path) -> None:
    _test_alike(board, tmp_path, release_4)


@pytest.mark.alone
def test_release_4_is_refused_on_thor_whose_input_it_does_not_read(tmp_path: Path, release_4: Path) -> None:
    board = BOARDS["agx-thor-jp7.0"]
    write_root(tmp_path, board)
    with jtop_service(board, release_4):
        refused = _first_reading(tmp_path, release_4)["refused"]
    assert refused.startswith("jtop: jetson-stats 4.3.2 does not read the input of this board, VIN; sudo pip3 install -U --break-system")


@pytest.mark.alone
def test_a_service_of_another_release_leaves_sysfs_and_the_reason(tmp_path: Path, release_4: Path) -> None:
    board = BOARDS["agx-orin-jp6.2"]
    write_root(tmp_path, board)
    with jtop_service(board, release_4):
        with pytest.raises(PowerError, match=r"Mismatch version jtop service: \[4.3.2\].*sudo pip3 install -U jetson-stats"):
            JtopSampler(0.1, root=tmp_path)
        choice = open_source("auto", 0.1, root=tmp_path)
    assert isinstance(choice.sampler, SysfsSampler)
    assert choice.reason.startswith("the first that answered; not jtop: Mismatch version jtop service: [4.3.2] and client: [7.")


def test_no_service_on_jetpack_7_2_leaves_sysfs_and_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("jtop", reason="needs jetson-stats")
    if SOCKET.exists():
        pytest.skip(f"{SOCKET} exists: a jtop service runs on this machine")
    for name in ("orin-nano-jp7.2", "agx-thor-jp7.2"):
        root = tmp_path / name
        write_root(root, BOARDS[name])
        choice = open_source("auto", 0.1, root=root)
        assert isinstance(choice.sampler, SysfsSampler)
        assert choice.reason == "the first that answered; not jtop: the service is not installed"
        assert choice.why == "power: sysfs every 0.1 s; not jtop: the service is not installed"
        (reading,) = choice.sampler.read()
        assert reading.t_s <= time.perf_counter()
        assert None not in (
            reading.total_mw,
            reading.gpu_clock_khz,
            reading.emc_khz,
            reading.hottest_c,
            reading.nvpmodel,
            reading.jetson_clocks,
        )
