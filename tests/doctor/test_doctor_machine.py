"""The doctor's checks of the machine: Python, memory, disk, power mode, clocks, jtop."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from desk import shell_command
from doctor_machines import write

from savbench.doctor.check import Subject
from savbench.doctor.machine import check_clocks, check_disk, check_jtop, check_memory, check_power_mode, check_python


def answering(folder: Path, name: str, text: str) -> None:
    shell_command(folder / name, f"printf '{text}'")


def test_python_too_old_of_another_environment_and_right(desktop: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_python(desktop).state == "ok"

    write(desktop.checkout, {".venv/bin/python": ""})
    other = check_python(desktop)
    assert other.state == "warning"
    assert other.remedy.endswith(".venv/bin/python jetson_benchmark.py doctor")
    monkeypatch.setattr(sys, "prefix", str(desktop.checkout / ".venv"))
    assert check_python(desktop).state == "ok"

    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert (check_python(desktop).state, check_python(desktop).remedy) == ("failure", "make setup PYTHON=python3.10")


@pytest.mark.parametrize(
    ("available_kb", "swap_free_kb", "states"),
    [(5242880, 4194304, ("ok", "ok")), (2097152, 4194304, ("warning", "ok")), (524288, 2097152, ("failure", "warning"))],
)
def test_memory_and_swap(orin: Subject, available_kb: int, swap_free_kb: int, states: tuple[str, str]) -> None:
    sizes = {"MemTotal": 7802052, "MemAvailable": available_kb, "SwapTotal": 4194304, "SwapFree": swap_free_kb}
    write(orin.root, {"proc/meminfo": "".join(f"{name}: {size:>10} kB\n" for name, size in sizes.items())})
    memory, swap = check_memory(orin)
    assert (memory.state, swap.state) == states
    assert memory.facts == {"available_mib": available_kb // 1024, "total_mib": 7619}
    assert swap.facts == {"used_mib": (4194304 - swap_free_kb) // 1024, "total_mib": 4096}
    if memory.state != "ok":
        assert memory.remedy == "sudo systemctl isolate multi-user.target"
    if swap.state != "ok":
        assert "2048 of 4096 MiB in use" in swap.detail
        assert swap.remedy == "sudo swapoff -a && sudo swapon -a"


def test_no_swap_is_fine_and_an_unreadable_system_says_nothing(desktop: Subject) -> None:
    assert list(check_memory(desktop)) == []
    write(desktop.root, {"proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 8388608 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"})
    assert [(check.name, check.state, check.detail) for check in check_memory(desktop)] == [
        ("memory", "ok", "8192 of 8192 MiB free"),
        ("swap", "ok", "none"),
    ]


@pytest.mark.parametrize(("free_mib", "state"), [(50_000, "ok"), (1_500, "warning"), (50, "failure")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, free_mib * 2**20))
    found = check_disk(tmp_path / "results" / "not made yet")
    assert (found.state, found.facts["folder"], found.facts["free_mib"]) == (state, str(tmp_path), free_mib)


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = check_disk(tmp_path)
    assert (found.state, "cannot be written" in found.detail) == ("failure", True)
    assert found.remedy.startswith("sudo chown -R $USER ")


def test_what_only_a_jetson_has_is_no_fault_elsewhere(desktop: Subject) -> None:
    for check in (check_power_mode, check_clocks, check_jtop):
        assert (check(desktop).state, check(desktop).detail) == ("ok", "not a Jetson")


def test_power_mode(orin: Subject, commands: Path) -> None:
    silent = check_power_mode(orin)
    assert (silent.state, silent.remedy) == ("warning", "sudo nvpmodel -q")

    answering(commands, "nvpmodel", "NVPM WARN: fan mode is not set!\\nNV Power Mode: 25W\\n1\\n")
    slow = check_power_mode(orin)
    assert slow.state == "warning"
    assert "25W (mode 1) is not the board's fastest, MAXN_SUPER (mode 2)" in slow.detail
    assert slow.remedy == "sudo scripts/lock_clocks.sh --mode 2"

    answering(commands, "nvpmodel", "NV Power Mode: MAXN_SUPER\\n2\\n")
    assert (check_power_mode(orin).state, check_power_mode(orin).detail) == ("ok", "MAXN_SUPER (mode 2)")


def test_where_a_board_has_two_fastest_modes_either_is_right_and_super_is_advised(orin: Subject, commands: Path) -> None:
    write(
        orin.root, {"etc/nvpmodel.conf": "".join(f"< POWER_MODEL ID={i} NAME={n} >\n" for i, n in enumerate(("MAXN", "15W", "MAXN_SUPER")))}
    )
    answering(commands, "nvpmodel", "NV Power Mode: MAXN\\n0\\n")
    assert check_power_mode(orin).state == "ok"
    answering(commands, "nvpmodel", "NV Power Mode: 15W\\n1\\n")
    assert check_power_mode(orin).remedy.endswith("--mode 2")


def test_clocks(orin: Subject, commands: Path) -> None:
    loose = check_clocks(orin)
    assert (loose.state, loose.remedy) == ("warning", "sudo scripts/lock_clocks.sh")
    assert loose.facts["loose"] == ["17000000.gpu"]

    write(orin.root, {"sys/class/devfreq/17000000.gpu/min_freq": "1020000000\n"})
    assert (check_clocks(orin).state, check_clocks(orin).detail) == ("ok", "locked")

    shutil.rmtree(orin.root / "sys")
    assert (check_clocks(orin).state, check_clocks(orin).remedy) == ("warning", "sudo jetson_clocks --show")


def test_jtop(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "jetson-stats":
            raise AssertionError(name)
        return "4.3.2"

    monkeypatch.setattr("importlib.metadata.version", version)
    missing = check_jtop(orin)
    assert (missing.state, missing.remedy) == ("warning", "sudo pip3 install -U jetson-stats && sudo jtop --install-service")
    write(orin.root, {"etc/systemd/system/jtop.service": ""})
    stopped = check_jtop(orin)
    assert (stopped.state, stopped.remedy) == ("warning", "sudo systemctl restart jtop.service")
    assert "is not running" in stopped.detail

    path = orin.root / "run/jtop.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        refused = check_jtop(orin)
        assert (refused.state, "does not answer" in refused.detail) == ("warning", True)
        server.listen()
        assert (check_jtop(orin).state, check_jtop(orin).detail) == ("ok", "jetson-stats 4.3.2, service listening")
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert check_jtop(orin).remedy == "sudo usermod -aG jtop $USER"


def test_jtop_that_is_not_installed(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert (check_jtop(orin).state, "not installed" in check_jtop(orin).detail) == ("warning", True)
