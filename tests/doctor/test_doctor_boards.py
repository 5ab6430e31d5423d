"""The doctor on every board of the table."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from boards import AGX_THOR, BOARDS, Board
from doctor_machines import by_name, gpu_answers, make_board

from savbench.doctor.gpu import check_torch
from savbench.doctor.machine import check_clocks, check_jtop, check_machine, check_power_mode, check_python

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@pytest.fixture(autouse=True)
def _no_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@every_board
def test_a_loose_clock_of_the_gpu_is_named(tmp_path: Path, board: Board) -> None:
    subject = make_board(tmp_path, board)
    loose = check_clocks(subject)
    assert (loose.state, loose.remedy) == ("warning", "sudo scripts/lock_clocks.sh")
    assert loose.facts["loose"] == [clock.name for clock in board.gpu]
    for clock in board.gpu:
        folder = subject.root / "sys/class/devfreq" / clock.name
        (folder / "min_freq").write_text((folder / "max_freq").read_text())
    assert (check_clocks(subject).state, check_clocks(subject).detail) == ("ok", "locked")


def test_a_gpu_whose_clock_is_not_shown_is_not_called_locked(tmp_path: Path) -> None:
    subject = make_board(tmp_path, AGX_THOR)
    for clock in AGX_THOR.gpu:
        (subject.root / "sys/class/devfreq" / clock.name).unlink()
    found = check_clocks(subject)
    assert (found.state, found.remedy) == ("warning", "sudo jetson_clocks --show")


@every_board
def test_the_fastest_mode_is_advised_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board) -> None:
    subject = make_board(tmp_path, board)
    slow = next(number for number in board.modes if number != board.fastest_mode)
    monkeypatch.setattr("savbench.results.environment.power_mode", lambda: {"name": board.modes[slow], "id": slow})
    found = check_power_mode(subject)
    assert found.remedy == f"sudo scripts/lock_clocks.sh --mode {board.fastest_mode}"
    assert f"{board.modes[board.fastest_mode]} (mode {board.fastest_mode})" in found.detail


@every_board
def test_the_board_is_described(tmp_path: Path, board: Board) -> None:
    subject = make_board(tmp_path, board)
    described = by_name(check_machine(subject, tmp_path))["system"].detail
    assert described.startswith(f"{board.model}, L4T {board.jetpack.l4t}, JetPack {board.jetpack.version}, Ubuntu {board.jetpack.ubuntu}")
    # without the package nvidia-jetpack the release tells it
    (subject.root / "var/lib/dpkg/status").unlink()
    assert f", JetPack {board.jetpack.version[0]}" in by_name(check_machine(subject, tmp_path))["system"].detail


@every_board
def test_python_is_that_of_the_jetpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board) -> None:
    subject = make_board(tmp_path, board)
    monkeypatch.setattr(sys, "version_info", tuple(map(int, board.jetpack.python.split("."))))
    assert check_python(subject).state == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    other = check_python(subject)
    wanted = board.jetpack.python.rpartition(".")[0]
    assert (other.state, other.remedy) == ("warning", f"make setup PYTHON=python{wanted}")


@every_board
def test_a_torch_for_the_board_is_native_and_one_for_other_boards_is_not(tmp_path: Path, board: Board) -> None:
    subject = make_board(tmp_path, board)
    right = by_name(check_torch(gpu_answers(board), subject))
    assert {check.state for check in right.values()} == {"ok"}
    sm = "sm_{}{}".format(*board.capability)
    assert right["kernels"].detail == f"{sm} is built in"

    other = "sm_110" if sm == "sm_87" else "sm_87"
    wrong = by_name(check_torch(gpu_answers(board, torch={"archs": [other]}), subject))
    assert f"no code for {sm} in this torch ({other})" in wrong["kernels"].detail


@every_board
def test_a_torch_that_cannot_use_the_gpu_is_told_which_cuda_the_board_has(tmp_path: Path, board: Board) -> None:
    changes: dict[str, Any] = {"torch": {"cuda": "11.4"}, "cuda": {"available": False}}
    found = by_name(check_torch(gpu_answers(board, **changes), make_board(tmp_path, board)))["CUDA"]
    assert found.state == "failure"
    assert f"which has CUDA {board.jetpack.cuda}" in found.detail


@every_board
def test_a_service_that_does_not_read_the_input_of_the_board_is_to_be_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board
) -> None:
    subject = make_board(tmp_path, board)
    path = subject.root / "run/jtop.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        for version in ("4.3.2", "7.2.2"):
            monkeypatch.setattr("importlib.metadata.version", lambda name, version=version: version)
            found = check_jtop(subject)
            if board.input_monitor is None or version != "4.3.2":
                assert (found.state, found.detail) == ("ok", f"jetson-stats {version}, service listening")
            else:
                assert (found.state, "does not read the input of this board, VIN" in found.detail) == ("warning", True)
                assert found.remedy.startswith("sudo pip3 install -U --break-system-packages jetson-stats && ")
