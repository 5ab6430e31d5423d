"""The doctor: every line in its states, from made-up machines and answers, and the probes for real on packages that crash and hang."""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tiny_split import TinySplit

from savbench.doctor.architectures import fit
from savbench.doctor.check import Check, Subject
from savbench.doctor.command import examine, lines, report, show
from savbench.doctor.gpu import check_torch
from savbench.doctor.machine import check_clocks, check_disk, check_jtop, check_memory, check_power_mode, check_python
from savbench.doctor.models import check_models, check_weights, extension_files
from savbench.doctor.packages import check_dataset, check_packages
from savbench.doctor.probe import Answers, Probe, read_answers

ROOT = Path(__file__).parents[1]
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
"""For this Python alone, `.cpython-310-x86_64-linux-gnu.so`."""


def by_name(checks: Any) -> dict[str, Check]:
    """The checks, each of which must name a remedy or say why there is none."""
    return {check.name: check for check in checks}


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def desktop(tmp_path: Path) -> Subject:
    """A machine that shows no GPU."""
    root = tmp_path / "desktop"
    root.mkdir()
    return Subject(root=root, checkout=tmp_path / "checkout")


@pytest.fixture
def orin(tmp_path: Path) -> Subject:
    root = tmp_path / "o"
    gpu, cpu = "sys/class/devfreq/17000000.gpu", "sys/devices/system/cpu/cpufreq/policy0"
    write(
        root,
        {
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\n",
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
            f"{gpu}/min_freq": "306000000\n",
            f"{gpu}/max_freq": "1020000000\n",
            f"{cpu}/scaling_min_freq": "1728000\n",
            f"{cpu}/scaling_max_freq": "1728000\n",
            # not locked by jetson_clocks, and of no account
            "sys/class/devfreq/15340000.vic/min_freq": "1\n",
            "sys/class/devfreq/15340000.vic/max_freq": "2\n",
        },
    )
    return Subject(root=root, checkout=tmp_path / "checkout")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands, the only ones to be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def answering(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\nprintf '{text}'\n", encoding="utf-8")
    (folder / name).chmod(0o755)


# --- the machine ----------------------------------------------------------------------------------------------------------------


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
    meminfo = f"MemTotal:        7802052 kB\nMemAvailable:    {available_kb} kB\nSwapTotal:       4194304 kB\nSwapFree:        {swap_free_kb} kB\n"
    write(orin.root, {"proc/meminfo": meminfo})
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
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, free_mib * 2**20))  # type: ignore[attr-defined]
    found = check_disk(tmp_path / "results" / "not made yet")
    assert (found.state, found.facts["folder"], found.facts["free_mib"]) == (state, str(tmp_path), free_mib)


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = check_disk(tmp_path)
    assert (found.state, "cannot be written to" in found.detail) == ("failure", True)
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
        orin.root, {"etc/nvpmodel.conf": "".join(f"< POWER_MODEL ID={i} NAME={n} >\n" for i, n in enumerate(("MAXN_SUPER", "15W", "MAXN")))}
    )
    answering(commands, "nvpmodel", "NV Power Mode: MAXN\\n2\\n")
    assert check_power_mode(orin).state == "ok"
    answering(commands, "nvpmodel", "NV Power Mode: 15W\\n1\\n")
    assert check_power_mode(orin).remedy.endswith("--mode 0")


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


# --- torch and its GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "archs", "cuda", "kind", "arch"),
    [
        ((8, 7), ["sm_87"], "12.6", "native", "sm_87"),
        ((8, 7), ["sm_80", "sm_87", "sm_90"], "12.6", "native", "sm_87"),
        # An Orin does not run what was built for other GPUs of its generation before CUDA 13.2.
        ((8, 7), ["sm_80", "sm_90"], "12.6", "none", ""),
        ((8, 7), ["sm_80", "sm_86", "sm_90"], "13.0", "none", ""),
        ((8, 7), ["sm_80", "sm_86", "sm_90"], "13.2", "compatible", "sm_86"),
        ((8, 7), ["sm_80", "sm_90"], None, "none", ""),
        ((8, 7), ["sm_89", "sm_90"], "13.2", "none", ""),
        ((8, 7), ["sm_75", "compute_75"], "12.6", "ptx", "compute_75"),
        ((8, 7), ["sm_80", "compute_90"], "12.6", "none", ""),
        ((8, 6), ["sm_80", "sm_90"], "12.6", "compatible", "sm_80"),
        ((8, 9), ["sm_80", "sm_86"], "12.6", "compatible", "sm_86"),
        ((8, 9), ["sm_87"], "12.6", "none", ""),
        ((8, 0), ["sm_86"], "12.6", "none", ""),
        ((9, 0), ["sm_80"], "12.6", "none", ""),
        ((9, 0), ["sm_90a"], "12.6", "native", "sm_90a"),
        ((10, 3), ["sm_100a"], "12.9", "none", ""),
        ((10, 3), ["sm_100f"], "12.9", "compatible", "sm_100f"),
        ((12, 1), ["sm_120"], "13.0", "compatible", "sm_120"),
        ((12, 0), ["sm_90", "compute_90"], "12.6", "ptx", "compute_90"),
        ((12, 0), ["sm_90", "compute_90a"], "12.6", "none", ""),
        ((11, 0), ["sm_101"], "12.9", "native", "sm_101"),
        ((6, 1), [], "12.6", "none", ""),
        ((6, 1), ["gfx1100"], None, "none", ""),
    ],
)
def test_which_code_a_gpu_runs(capability: tuple[int, int], archs: list[str], cuda: str | None, kind: str, arch: str) -> None:
    found = fit(capability, archs, cuda)
    assert (found.kind, found.arch) == (kind, arch)


def gpu_answers(**changes: dict[str, Any]) -> Answers:
    """What the probe says on an Orin where all is well, with changes by step."""
    right = {"right": True}
    found: dict[str, dict[str, Any]] = {
        "torch": {"version": "2.8.0", "cuda": "12.6", "file": "/usr/lib/python3/torch/__init__.py", "archs": ["sm_87"]},
        "numpy": {"version": "1.26.4", "exchanged": True},
        "cuda": {"available": True, "reason": ""},
        "cudnn": {"version": 90300},
        "flash": {"built": True},
        "devices": {"devices": [{"name": "Orin", "capability": [8, 7], "memory_mib": 7619}]},
        "kernel_ran": right,
        "matmul_ran": right,
        "cudnn_ran": right,
        "flash_ran": right,
        "torchvision": {"version": "0.23.0"},
    }
    return Answers(found={step: {**answer, **changes.get(step, {})} for step, answer in found.items()})


def failing(answers: Answers, **errors: str) -> Answers:
    """The same, with steps that raised."""
    return replace(answers, found={step: answer for step, answer in answers.found.items() if step not in errors}, errors=errors)


def dying(answers: Answers, step: str, death: str = "SIGSEGV") -> Answers:
    """The same, with a process that ended in a step."""
    steps = list(answers.found)
    return replace(answers, found={name: answers.found[name] for name in steps[: steps.index(step)]}, died_in=step, death=death)


JETPACK_TORCH = "pip3 install --force-reinstall --no-deps torch torchvision --index-url https://pypi.jetson-ai-lab.io/jp6/cu126"


def test_all_is_well_on_an_orin(orin: Subject) -> None:
    found = list(check_torch(gpu_answers(), orin))
    assert [check.name for check in found] == ["torch", "torchvision", "numpy ABI", "CUDA", "GPU", "kernels", "cuDNN", "flash"]
    assert {check.state for check in found} == {"ok"}
    assert by_name(found)["GPU"].detail == "Orin, compute capability 8.7, 7619 MiB"
    assert by_name(found)["kernels"].detail == "sm_87 is built in"
    assert all(check.remedy == "" for check in found)


def test_torch_that_is_missing(orin: Subject, desktop: Subject) -> None:
    answers = Answers(errors={"torch": "ModuleNotFoundError: No module named 'torch'"})
    (on_board,) = check_torch(answers, orin)
    assert (on_board.state, on_board.remedy) == ("failure", JETPACK_TORCH)
    (on_desktop,) = check_torch(answers, desktop)
    assert on_desktop.state == "failure"
    assert on_desktop.remedy.endswith("scripts/setup.sh")
    assert "only the models static and flow can run" in on_desktop.detail


def test_torch_that_cannot_be_imported(desktop: Subject) -> None:
    (library,) = check_torch(Answers(errors={"torch": "ImportError: libcudart.so.12: cannot open shared object file"}), desktop)
    assert (library.state, "libcudart.so.12" in library.detail) == ("failure", True)
    (crash,) = check_torch(Answers(died_in="torch", death="SIGSEGV", last_words="Fatal Python error"), desktop)
    assert crash.detail == "cannot be imported: importing it ended with SIGSEGV, last words: Fatal Python error"
    assert "pip install --force-reinstall torch torchvision" in crash.remedy


def test_a_crash_on_the_gpu_names_what_was_done(orin: Subject) -> None:
    found = by_name(check_torch(dying(gpu_answers(), "kernel_ran"), orin))
    assert found["crash"].state == "failure"
    assert found["crash"].detail == "running a kernel on the GPU ended with SIGSEGV"
    assert found["GPU"].state == "ok"
    hanging = by_name(check_torch(dying(gpu_answers(), "cuda", "a hang (no end within 180 s)"), orin))
    assert hanging["crash"].detail == "starting CUDA ended with a hang (no end within 180 s)"
    assert "CUDA" not in hanging


def test_torchvision(orin: Subject) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    found = by_name(check_torch(failing(gpu_answers(), torchvision=error), orin))["torchvision"]
    assert (found.state, error in found.detail, found.remedy) == ("failure", True, JETPACK_TORCH)
    crashed = by_name(check_torch(dying(gpu_answers(), "torchvision"), orin))
    assert crashed["torchvision"].state == "failure"
    assert "crash" not in crashed


def test_numpy_that_torch_was_not_built_for(orin: Subject) -> None:
    found = by_name(check_torch(failing(gpu_answers(), numpy="RuntimeError: Numpy is not available"), orin))["numpy ABI"]
    assert (found.state, "Numpy is not available" in found.detail) == ("failure", True)
    assert found.remedy.endswith("-m pip install 'numpy<2'")
    wrong = by_name(check_torch(gpu_answers(numpy={"exchanged": False}), orin))["numpy ABI"]
    assert wrong.state == "failure"


NO_CUDA: dict[str, Any] = {"available": False, "reason": ""}


def test_no_gpu_at_all(desktop: Subject) -> None:
    found = by_name(check_torch(gpu_answers(cuda=NO_CUDA), desktop))
    assert (found["CUDA"].state, "no NVIDIA GPU in this machine" in found["CUDA"].detail) == ("warning", True)
    assert not {"GPU", "kernels", "cuDNN", "flash"} & set(found)


def test_a_jetson_s_torch_without_cuda(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = gpu_answers(torch={"cuda": None}, cuda=NO_CUDA)
    found = by_name(check_torch(answers, orin))["CUDA"]
    assert (found.state, found.remedy) == ("failure", JETPACK_TORCH)
    assert "was built without CUDA" in found.detail

    # One that a package brought into the environment hides the board's own.
    monkeypatch.setattr(sys, "prefix", "/home/me/bench/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    inside = gpu_answers(torch={"cuda": None, "file": "/home/me/bench/.venv/lib/torch/__init__.py"}, cuda=NO_CUDA)
    assert by_name(check_torch(inside, orin))["CUDA"].remedy == "rm -r /home/me/bench/.venv && scripts/setup.sh"


def test_a_jetson_of_another_jetpack_is_sent_to_nvidia(orin: Subject) -> None:
    write(orin.root, {"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0\n"})
    assert "docs.nvidia.com" in by_name(check_torch(gpu_answers(torch={"cuda": None}, cuda=NO_CUDA), orin))["CUDA"].remedy


def test_a_user_who_may_not_use_the_gpu(orin: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    write(orin.root, {"dev/nvmap": ""})
    assert by_name(check_torch(gpu_answers(cuda=NO_CUDA), orin))["CUDA"].remedy == JETPACK_TORCH
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert by_name(check_torch(gpu_answers(cuda=NO_CUDA), orin))["CUDA"].remedy == "sudo usermod -aG video,render $USER"


def test_a_desktop_gpu_that_does_not_answer(desktop: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    write(desktop.root, {"proc/driver/nvidia/version": "NVRM version: 535"})
    reason = "The NVIDIA driver on your system is too old (found version 12020)."
    found = by_name(check_torch(gpu_answers(cuda={"available": False, "reason": reason}), desktop))["CUDA"]
    assert (found.state, found.remedy, reason in found.detail) == ("failure", "nvidia-smi", True)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hidden = by_name(check_torch(gpu_answers(cuda=NO_CUDA), desktop))["CUDA"]
    assert (hidden.state, hidden.remedy) == ("warning", "unset CUDA_VISIBLE_DEVICES")


NO_KERNEL = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"


def test_kernels_that_this_torch_lacks(orin: Subject, desktop: Subject) -> None:
    server = gpu_answers(torch={"archs": ["sm_80", "sm_90"]})
    failed = by_name(check_torch(failing(server, kernel_ran=NO_KERNEL), orin))["kernels"]
    assert (failed.state, failed.remedy) == ("failure", JETPACK_TORCH)
    assert "no kernel image" in failed.detail
    assert "it has sm_80, sm_90; the GPU is sm_87" in failed.detail

    # PyTorch's own table does not promise it, and yet it ran: said, and not taken for certain.
    ran = by_name(check_torch(server, orin))["kernels"]
    assert (ran.state, "one kernel ran all the same" in ran.detail) == ("warning", True)

    unified = by_name(check_torch(gpu_answers(torch={"archs": ["sm_80", "sm_90"], "cuda": "13.2"}), orin))["kernels"]
    assert (unified.state, unified.detail) == ("ok", "sm_80 is built in and runs on sm_87: same major version, not newer")

    ptx = by_name(check_torch(gpu_answers(torch={"archs": ["sm_75", "compute_80"]}), orin))["kernels"]
    assert (ptx.state, "compiles compute_80 at first use" in ptx.detail) == ("warning", True)

    assert by_name(check_torch(gpu_answers(matmul_ran={"right": False}), orin))["kernels"].state == "failure"

    pascal = gpu_answers(devices={"devices": [{"name": "GTX 1080", "capability": [6, 1], "memory_mib": 8192}]}, torch={"cuda": "13.0"})
    assert "--index-url https://download.pytorch.org/whl/cu126" in by_name(check_torch(pascal, desktop))["kernels"].remedy


def test_a_gpu_that_torch_cannot_start(orin: Subject) -> None:
    found = by_name(check_torch(failing(gpu_answers(), devices="RuntimeError: CUDA error: out of memory"), orin))
    assert (found["GPU"].state, "out of memory" in found["GPU"].detail) == ("failure", True)


def test_cudnn(orin: Subject) -> None:
    broken = by_name(check_torch(failing(gpu_answers(), cudnn_ran="RuntimeError: CUDNN_STATUS_NOT_INITIALIZED"), orin))["cuDNN"]
    assert (broken.state, "CUDNN_STATUS_NOT_INITIALIZED" in broken.detail) == ("failure", True)
    assert by_name(check_torch(gpu_answers(cudnn={"version": None}), orin))["cuDNN"].state == "warning"


def test_flash(orin: Subject) -> None:
    volta = gpu_answers(devices={"devices": [{"name": "Xavier", "capability": [7, 2], "memory_mib": 1}]}, torch={"archs": ["sm_72"]})
    old = by_name(check_torch(volta, orin))["flash"]
    assert (old.state, old.remedy) == ("warning", "--attention efficient")
    assert "needs compute capability 8.0, this GPU has 7.2" in old.detail
    assert "built without" in by_name(check_torch(gpu_answers(flash={"built": False}), orin))["flash"].detail
    refused = by_name(check_torch(failing(gpu_answers(), flash_ran="RuntimeError: No available kernel. Aborting execution."), orin))[
        "flash"
    ]
    assert (refused.state, "No available kernel" in refused.detail) == ("warning", True)
    # torch before 2.5 does not say; that it ran is enough
    assert by_name(check_torch(gpu_answers(flash={"built": None}), orin))["flash"].state == "ok"


# --- packages and the dataset ---------------------------------------------------------------------------------------------------


def package_answers(**changes: dict[str, Any]) -> Answers:
    found: dict[str, dict[str, Any]] = {
        "numpy": {"version": "1.26.4"},
        "opencv": {"version": "4.11.0", "distributions": {"opencv-python-headless": "4.11.0.86"}, "optical_flow": True},
        "pyav": {"version": "14.0", "h264": True},
        "PIL": {"version": "11.0"},
        "pandas": {"version": "2.2"},
        "tqdm": {"version": "4.67"},
        "sam2": {"origin": None},
        "dataset": {"split": "sav_val", "videos": 155, "objects": 293, "frames": 60000, "annotations": 15000, "defects": []},
    }
    return Answers(found={step: {**answer, **changes.get(step, {})} for step, answer in found.items()})


def test_packages_that_are_well(desktop: Subject) -> None:
    found = list(check_packages(package_answers(), desktop))
    assert {check.state for check in found} == {"ok"}
    assert [check.name for check in found] == ["NumPy", "OpenCV", "PyAV", "others"]


@pytest.mark.parametrize(
    ("step", "error", "name", "state", "remedy"),
    [
        ("numpy", "ImportError: numpy._core.multiarray failed to import", "NumPy", "failure", "scripts/setup.sh"),
        ("opencv", "ImportError: libGL.so.1: cannot open", "OpenCV", "failure", "--force-reinstall --no-deps opencv-python-headless"),
        ("opencv", "ModuleNotFoundError: No module named 'cv2'", "OpenCV", "failure", "scripts/setup.sh"),
        ("pyav", "ModuleNotFoundError: No module named 'av'", "PyAV", "warning", "pip install --force-reinstall --no-deps av"),
        ("PIL", "ModuleNotFoundError: No module named 'PIL'", "others", "failure", "scripts/setup.sh"),
    ],
)
def test_packages_that_are_broken(desktop: Subject, step: str, error: str, name: str, state: str, remedy: str) -> None:
    found = by_name(check_packages(failing(package_answers(), **{step: error}), desktop))[name]
    assert (found.state, error in found.detail) == (state, True)
    assert found.remedy.endswith(remedy)


def test_packages_that_are_not_as_they_should_be(desktop: Subject) -> None:
    two = {"opencv-python": "4.11", "opencv-python-headless": "4.10"}
    several = by_name(check_packages(package_answers(opencv={"distributions": two}), desktop))["OpenCV"]
    assert several.state == "warning"
    assert "pip uninstall -y opencv-python opencv-python-headless && " in several.remedy
    assert by_name(check_packages(package_answers(opencv={"optical_flow": False}), desktop))["OpenCV"].state == "warning"
    assert "without libx264" in by_name(check_packages(package_answers(pyav={"h264": False}), desktop))["PyAV"].detail


def test_a_package_that_crashes_ends_the_list(desktop: Subject) -> None:
    found = list(check_packages(dying(package_answers(), "opencv"), desktop))
    assert [(check.name, check.state) for check in found] == [("NumPy", "ok"), ("OpenCV", "failure")]
    assert "importing it ended with SIGSEGV" in found[1].detail
    (nothing,) = check_packages(Answers(died_in="start", death="exit status 1", last_words="SyntaxError"), desktop)
    assert (nothing.state, "SyntaxError" in nothing.detail) == ("failure", True)


def test_dataset(desktop: Subject) -> None:
    assert list(check_dataset(package_answers(), desktop)) == []
    subject = replace(desktop, split_dir=Path("/data/sav_val"))
    (well,) = check_dataset(package_answers(), subject)
    assert (well.state, well.detail) == ("ok", "sav_val: 155 videos, 293 objects, 60000 frames, 15000 annotated masks")
    (flawed,) = check_dataset(package_answers(dataset={"defects": ["/data/a: empty", "/data/b: empty"]}), subject)
    assert (flawed.state, flawed.detail.endswith("unusable: /data/a: empty and 1 more")) == ("warning", True)
    (empty,) = check_dataset(package_answers(dataset={"objects": 0}), subject)
    assert empty.state == "failure"
    (missing,) = check_dataset(failing(package_answers(), dataset="DatasetError: /data/sav_val: no such folder"), subject)
    assert (missing.state, missing.detail) == ("failure", "/data/sav_val: no such folder")
    assert missing.remedy == "tar -xf sav_val.tar -C /data"


# --- the models -----------------------------------------------------------------------------------------------------------------


def sam2_from(package: Path, **distributions: str) -> Answers:
    package.mkdir(parents=True, exist_ok=True)
    origin = {
        "file": str(package / "__init__.py"),
        "distributions": {n.replace("_", "-"): v for n, v in distributions.items()},
        "git": None,
    }
    return package_answers(sam2={"origin": origin})


def test_sam2_is_told_with_its_version_or_commit(desktop: Subject, tmp_path: Path) -> None:
    answers = sam2_from(tmp_path / "site/sam2", sam2="1.1.0")
    found = by_name(check_models(answers, gpu_answers(), desktop))["sam2"]
    assert (found.state, found.detail) == ("ok", f"sam2 1.1.0, {tmp_path}/site/sam2")
    answers.found["sam2"]["origin"]["git"] = {"commit": "0123456789abcdef", "dirty": True}
    assert by_name(check_models(answers, gpu_answers(), desktop))["sam2"].detail.startswith("checkout at 0123456789ab with local changes, ")


def test_sam2_that_is_missing_shadowed_or_broken(desktop: Subject, tmp_path: Path) -> None:
    missing = by_name(check_models(package_answers(), gpu_answers(), desktop))["sam2"]
    assert (missing.state, missing.detail) == ("failure", "not installed")
    assert missing.remedy.endswith("scripts/setup.sh")

    package = tmp_path / "site/sam2"
    answers = sam2_from(package, sam2="1.1.0", EdgeTAM="1.0")
    double = by_name(check_models(answers, gpu_answers(), desktop))["sam2"]
    assert (double.state, "several installed packages claim to be it: sam2, EdgeTAM" in double.detail) == ("warning", True)
    write(package, {"modeling/perceiver.py": ""})
    shadowed = by_name(check_models(answers, gpu_answers(), desktop))
    assert (shadowed["sam2"].state, "EdgeTAM's package of the same name" in shadowed["sam2"].detail) == ("failure", True)
    assert "pip uninstall -y sam2 EdgeTAM && " in shadowed["sam2"].remedy
    assert "sam2 _C" not in shadowed

    answers = sam2_from(tmp_path / "other/sam2", sam2="1.1.0")
    broken = by_name(check_models(answers, Answers(errors={"sam2": "ModuleNotFoundError: No module named 'hydra'"}), desktop))["sam2"]
    assert (broken.state, "hydra" in broken.detail) == ("failure", True)

    wrong_folder = replace(desktop, sam2_dir=tmp_path)
    assert by_name(check_models(answers, gpu_answers(), wrong_folder))["sam2"].state == "failure"


def test_a_package_probe_that_crashed_says_nothing_of_sam2(desktop: Subject) -> None:
    assert "sam2" not in by_name(check_models(dying(package_answers(), "opencv"), gpu_answers(), desktop))


def test_python_takes_the_file_of_its_own_version_first(tmp_path: Path) -> None:
    assert extension_files(tmp_path) == (None, [])
    plain, own, foreign = tmp_path / "_C.so", tmp_path / f"_C{SUFFIX}", tmp_path / "_C.cpython-36m-sparc.so"
    foreign.touch()
    assert extension_files(tmp_path) == (None, [foreign])
    plain.touch()
    assert extension_files(tmp_path) == (plain, [foreign])
    own.touch()
    assert extension_files(tmp_path) == (own, [foreign, plain])


def extension(package: Path, torch: Answers, subject: Subject) -> Check:
    return by_name(check_models(sam2_from(package, sam2="1.1.0"), torch, subject))["sam2 _C"]


def with_extension(**changes: dict[str, Any]) -> Answers:
    answers = gpu_answers()
    return replace(answers, found={**answers.found, "sam2": {"file": ""}, "sam2_extension": {"file": ""}, **changes})


def test_the_compiled_extension(desktop: Subject, tmp_path: Path) -> None:
    package = tmp_path / "sam2"
    absent = extension(package, gpu_answers(), desktop)
    assert (absent.state, "not built; OpenCV fills holes" in absent.detail) == ("ok", True)

    (package / "_C.cpython-36m-sparc.so").touch()
    foreign = extension(package, gpu_answers(), desktop)
    assert (foreign.state, foreign.remedy) == ("warning", "./update_sam2_optional_cuda.sh")
    assert "built for another Python" in foreign.detail

    (package / "_C.so").touch()
    assert extension(package, with_extension(), desktop).detail == "_C.so loads"
    labelling = extension(package, with_extension(sam2_extension_ran={"right": True}), desktop)
    assert (labelling.state, labelling.detail) == ("ok", "_C.so loads and labels a known mask rightly")

    wrong = extension(package, with_extension(sam2_extension_ran={"right": False}), desktop)
    assert (wrong.state, "does not label a known mask rightly" in wrong.detail) == ("warning", True)

    symbol = "ImportError: _C.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
    other_torch = extension(package, failing(with_extension(), sam2_extension=symbol), desktop)
    assert (other_torch.state, symbol in other_torch.detail) == ("warning", True)
    assert "built for another torch or CUDA" in other_torch.detail

    crashing = extension(package, dying(with_extension(), "sam2_extension"), desktop)
    assert (crashing.state, crashing.detail) == ("failure", "loading _C.so ended with SIGSEGV")
    # A torch that cannot be imported has a line of its own.
    assert "sam2 _C" not in by_name(check_models(sam2_from(package), Answers(died_in="torch", death="SIGSEGV"), desktop))


def test_a_stale_extension_that_wins_over_a_fresh_one(desktop: Subject, tmp_path: Path) -> None:
    package = tmp_path / "sam2"
    package.mkdir()
    stale, fresh = package / f"_C{SUFFIX}", package / "_C.so"
    stale.touch()
    fresh.touch()
    os.utime(stale, (1, 1))
    found = extension(package, with_extension(), desktop)
    assert (found.state, found.remedy) == ("warning", "./update_sam2_optional_cuda.sh")
    assert found.detail == f"stale: Python takes {stale.name} before the newer _C.so"
    os.utime(fresh, (0, 0))
    assert extension(package, with_extension(), desktop).state == "ok"


def test_edgetam(desktop: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"timm": "1.0.31", "transformers": "5.23.0"}

    def installed(name: str) -> str | None:
        return versions.get(name)

    def edgetam(subject: Subject = desktop) -> dict[str, Check]:
        return by_name(check_models(package_answers(), gpu_answers(), subject))

    monkeypatch.setattr("savbench.doctor.models._installed", installed)
    monkeypatch.setattr("importlib.metadata.files", lambda name: [Path("transformers/models/edgetam_video/__init__.py")])
    assert (edgetam()["EdgeTAM"].state, "transformers 5.23.0, timm 1.0.31" in edgetam()["EdgeTAM"].detail) == ("ok", True)
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    assert (edgetam()["EdgeTAM"].state, "too old" in edgetam()["EdgeTAM"].detail) == ("warning", True)
    del versions["transformers"]
    assert edgetam()["EdgeTAM"].remedy == "git clone https://github.com/facebookresearch/EdgeTAM"

    checkout = replace(desktop, edgetam_dir=tmp_path / "EdgeTAM")
    assert (edgetam(checkout)["EdgeTAM"].state, "EdgeTAM _C" in edgetam(checkout)) == ("failure", False)
    write(tmp_path / "EdgeTAM/sam2", {"build_sam.py": "", "modeling/perceiver.py": ""})
    assert (edgetam(checkout)["EdgeTAM"].state, edgetam(checkout)["EdgeTAM _C"].state) == ("ok", "ok")
    assert "checkout of unknown commit" in edgetam(checkout)["EdgeTAM"].detail
    del versions["timm"]
    assert (edgetam(checkout)["EdgeTAM"].state, "pip install --no-deps 'timm" in edgetam(checkout)["EdgeTAM"].remedy) == ("failure", True)


def test_weights(tmp_path: Path) -> None:
    table = tmp_path / "weights.tsv"
    files = {"sam2_tiny": "sam2.1_hiera_tiny.pt", "sam2_small": "sam2.1_hiera_small.pt", "sam2_base": "sam2.1_hiera_base_plus.pt"}
    files |= {"sam2_large": "sam2.1_hiera_large.pt", "edgetam": "edgetam.pt"}
    table.write_text(
        "# model\tfile\tbytes\n" + "".join(f"{model}\t{file}\t4\tsum\tsam2\n" for model, file in files.items()), encoding="utf-8"
    )

    nothing = check_weights([tmp_path], table)
    assert nothing.state == "warning"
    assert nothing.remedy == "scripts/download_weights.sh"
    assert nothing.facts["edgetam"] == {"state": "missing", "file": "edgetam.pt"}

    write(tmp_path, {"sam2.1_hiera_tiny.pt": "four"})
    some = check_weights([tmp_path / "nowhere", tmp_path], table)
    assert (some.state, some.detail.startswith("sam2_tiny there; ")) == ("warning", True)
    assert some.remedy.startswith("scripts/download_weights.sh sam2_small sam2_base sam2_large edgetam")

    write(tmp_path, {"edgetam.pt": "cut"})
    damaged = check_weights([tmp_path], table)
    assert (damaged.state, "edgetam.pt has 3 of 4 bytes" in damaged.detail) == ("failure", True)
    assert damaged.remedy == f"rm {tmp_path}/edgetam.pt && scripts/download_weights.sh edgetam"

    write(tmp_path, dict.fromkeys(files.values(), "four"))
    whole = check_weights([tmp_path], table)
    assert whole.facts["sam2_large"]["bytes"] == 4
    assert not {"damaged"} & {facts["state"] for facts in whole.facts.values()}


# --- how it looks ---------------------------------------------------------------------------------------------------------------

WARNING = Check(
    "machine", "clocks", "warning", "not locked (17000000.gpu): " + "figures will vary " * 5, "sudo scripts/lock_clocks.sh", {"n": 1}
)


def test_a_line_is_wrapped_and_its_remedy_is_not() -> None:
    shown = lines(replace(WARNING, remedy="sudo " + "x" * 120), 80, colour=False)
    assert shown[0].startswith("warning  clocks      not locked (17000000.gpu): figures")
    assert all(line.startswith(" " * 21) for line in shown[1:])
    assert all(len(line) <= 80 for line in shown[:-1])
    assert shown[-1] == f"{' ' * 21}> sudo {'x' * 120}"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    terminal, pipe = Terminal(), StringIO()
    show([WARNING], terminal)
    show([WARNING], pipe)
    assert ("\x1b[33mwarning \x1b[0m" in terminal.getvalue()) is coloured
    assert "\x1b" not in pipe.getvalue()
    assert re.sub("\x1b\\[\\d+m", "", terminal.getvalue()) == pipe.getvalue()


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["ok"], "all well"),
        (["ok", "warning"], "1 warning, no failure: runs will work"),
        (["failure", "warning", "warning"], "1 failure, 2 warnings: a run could not work as it is"),
    ],
)
def test_the_closing_line(states: list[Any], words: str) -> None:
    stream = StringIO()
    show([replace(WARNING, state=state) for state in states], stream)
    assert stream.getvalue().splitlines()[-1] == words


def test_the_report_for_programs() -> None:
    found = report([WARNING, replace(WARNING, state="ok")])
    assert (found["schema"], found["ready"], found["counts"]) == (1, True, {"ok": 1, "warning": 1, "failure": 0})
    assert found["checks"][0] == {
        "topic": "machine",
        "name": "clocks",
        "state": "warning",
        "detail": WARNING.detail,
        "remedy": "sudo scripts/lock_clocks.sh",
        "facts": {"n": 1},
    }
    assert report([replace(WARNING, state="failure")])["ready"] is False


# --- the probes, for real -------------------------------------------------------------------------------------------------------


def test_answers_before_a_crash_are_kept() -> None:
    text = '{"begun": "torch"}\n{"step": "torch", "answer": {"version": "2"}}\n{"begun": "numpy"}\n{"step": "numpy", "error": "E: x"}\n{"begun": "cu'
    found = read_answers(text, "SIGSEGV", "one\n\nFatal Python error\n")
    assert (found.found, found.errors) == ({"torch": {"version": "2"}}, {"numpy": "E: x"})
    assert (found.died_in, found.last_words) == ("end", "Fatal Python error")
    assert read_answers('{"begun": "cuda"}\n', "SIGKILL", "").died_in == "cuda"
    assert read_answers("", "exit status 1", "").died_in == "start"
    assert read_answers("", "", "").died_in is None


STUBS = {
    # `{fake}` behaves like a torch as far as the probe asks, and can be told to misbehave
    "numpy_2": "def from_numpy(array): raise RuntimeError('Numpy is not available')\n",
    "cpu_only": "class version: cuda = None\n",
    "driver": (
        "import warnings\n"
        "def is_available():\n"
        "    warnings.warn('The NVIDIA driver on your system is too old (found version 12020).')\n"
        "    return False\n"
        "cuda.is_available = is_available\n"
    ),
    "no_kernel": (
        "cuda.is_available = lambda: True\n"
        "cuda.device_count = lambda: 1\n"
        "class properties: name, major, minor, total_memory = 'Orin', 8, 7, 7619 * 2**20\n"
        "cuda.get_device_properties = lambda index: properties\n"
        "def refuse(*_, **__): raise RuntimeError('CUDA error: no kernel image is available for execution on the device\\nmore')\n"
        "arange = ones = refuse\n"
        "nn = type(sys)('torch.nn'); nn.attention = type(sys)('torch.nn.attention')\n"
        "nn.attention.SDPBackend = type('SDPBackend', (), {'FLASH_ATTENTION': 1}); nn.attention.sdpa_kernel = None\n"
        "sys.modules |= {'torch.nn': nn, 'torch.nn.attention': nn.attention}\n"
    ),
    "segfault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
    "exits": "print('sorry', file=sys.stderr); sys.exit(3)\n",
    "library": "raise ImportError('libcudart.so.12: cannot open shared object file')\n",
    "hangs": "import time; time.sleep(600)\n",
}

TORCH = """\
import sys
__version__ = "2.8.0"
class version: cuda = "12.6"
class cuda:
    get_arch_list = lambda: ["sm_80", "sm_90"]
    is_available = lambda: False
    def init(): raise RuntimeError("no CUDA-capable device is detected")
class backends:
    class cudnn:
        is_available = lambda: True
        version = lambda: 90300
    class cuda:
        is_flash_attention_available = lambda: True
class _Array:
    def __init__(self, array): self.array = array
    def numpy(self): return self.array
def from_numpy(array): return _Array(array)
"""


def probe_torch(stubs: Path, monkeypatch: pytest.MonkeyPatch, source: str, timeout_s: float = 60.0) -> Answers:
    """What the torch probe says of a torch with this source at its end; sam2 and torchvision are stubs too."""
    write(
        stubs,
        {"torch/__init__.py": TORCH + source, "torchvision.py": "__version__ = '0.23'", "sam2/__init__.py": "", "sam2/build_sam.py": ""},
    )
    monkeypatch.setenv("PYTHONPATH", str(stubs))
    with Probe("savbench.doctor.torch_probe", [], timeout_s) as probe:
        return probe.answers()


def test_the_torch_probe_on_a_torch_without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    answers = probe_torch(tmp_path, monkeypatch, "")
    assert (answers.died_in, answers.errors) == (None, {})
    assert answers.found["torch"] == {
        "version": "2.8.0",
        "cuda": "12.6",
        "file": str(tmp_path / "torch/__init__.py"),
        "archs": ["sm_80", "sm_90"],
    }
    assert answers.found["cuda"] == {"available": False, "reason": "no CUDA-capable device is detected"}
    assert answers.found["sam2"]["file"] == str(tmp_path / "sam2/__init__.py")
    assert {check.state for check in check_torch(answers, desktop)} == {"ok", "warning"}


@pytest.mark.parametrize(
    ("stub", "name", "words"),
    [
        ("numpy_2", "numpy ABI", "Numpy is not available"),
        ("cpu_only", "CUDA", "was built without CUDA"),
        ("driver", "CUDA", "driver on your system is too old (found version 12020)"),
        ("no_kernel", "kernels", "no kernel image is available for execution on the device (it has sm_80, sm_90; the GPU is sm_87)"),
        ("segfault", "torch", "importing it ended with SIGSEGV"),
        ("exits", "torch", "importing it ended with exit status 3, last words: sorry"),
        ("library", "torch", "ImportError: libcudart.so.12: cannot open shared object file"),
    ],
)
def test_a_broken_torch_becomes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orin: Subject, stub: str, name: str, words: str
) -> None:
    found = by_name(check_torch(probe_torch(tmp_path / "stubs", monkeypatch, STUBS[stub]), orin))[name]
    assert (found.state, words in found.detail) == ("failure", True), found.detail
    assert found.remedy


def test_a_torch_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    answers = probe_torch(tmp_path, monkeypatch, STUBS["hangs"], timeout_s=3.0)
    assert (answers.died_in, answers.death) == ("torch", "a hang (no end within 3 s)")
    (found,) = check_torch(answers, desktop)
    assert found.state == "failure"


def test_a_missing_torch_is_told_by_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Subject) -> None:
    # What find_spec would do for a package that is nowhere.
    answers = probe_torch(tmp_path, monkeypatch, "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    (found,) = check_torch(answers, desktop)
    assert (found.state, "not installed" in found.detail) == ("failure", True)


@pytest.fixture
def broken_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, on a machine whose torch crashes and whose PyAV is missing."""
    write(
        tmp_path / "stubs",
        {"torch/__init__.py": STUBS["segfault"], "av.py": "raise ModuleNotFoundError(\"No module named 'av'\")", "sam2/__init__.py": ""},
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stubs"))
    folder = tmp_path / "work here"
    folder.mkdir()
    return folder


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jetson_benchmark.py"), "doctor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_on_a_broken_machine(broken_machine: Path, tiny_split: TinySplit) -> None:
    weights = broken_machine / "my weights"
    write(weights, {"edgetam.pt": "cut"})
    done = doctor(broken_machine, "--json", "--split_dir", str(tiny_split.root), "--weights_dir", "my weights")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["ready"] is False
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert (states["torch"], states["weights"], states["PyAV"], states["dataset"]) == ("failure", "failure", "warning", "ok")
    for check in found["checks"]:
        assert set(check) == {"topic", "name", "state", "detail", "remedy", "facts"}
        assert check["state"] in ("ok", "warning", "failure")
        assert check["state"] != "failure" or check["remedy"], f"{check['name']} fails and names nothing that mends it"
    assert next(check for check in found["checks"] if check["name"] == "dataset")["facts"] == {
        "split": "sav_tiny",
        "videos": 2,
        "objects": 3,
        "frames": 18,
        "annotations": 10,
        "defects": [],
    }


def test_the_lines_on_a_broken_machine(broken_machine: Path) -> None:
    done = doctor(broken_machine, "--split_dir", "/nowhere")
    assert (done.returncode, done.stderr) == (1, "")
    shown = done.stdout.splitlines()
    assert any(re.fullmatch(r"failure  torch       cannot be imported: importing it ended with SIGSEGV.*", line) for line in shown)
    assert any(line.startswith("failure  dataset     /nowhere: no such folder") for line in shown)
    assert shown[-1].startswith("2 failures, ")
    assert len(shown) <= 40


def test_the_parent_imports_nothing_that_may_be_broken(tmp_path: Path) -> None:
    script = (
        "import sys, jetson_benchmark\n"
        "jetson_benchmark.main(['doctor', '--json'])\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'cv2', 'PIL', 'av', 'tqdm', 'jtop'} & set(sys.modules)), file=sys.stderr)\n"
    )
    write(tmp_path, {"torch.py": "raise ImportError('broken')"})
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_this_machine_is_examined_without_an_accident() -> None:
    pytest.importorskip("torch", reason="needs torch")
    found = list(examine(Subject(weights_dirs=(ROOT / "checkpoints",)), Path("results")))
    names = [check.name for check in found]
    assert len(names) == len(set(names))
    torch = by_name(found)["torch"]
    assert torch.state == "ok"
    assert json.loads(json.dumps(report(found)))["counts"]
