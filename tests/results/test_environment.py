"""The description of the machine, read from made-up file systems and commands whose contents are known."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from desk import shell_command

from savbench.results import environment

ORIN_CLOCKS = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit
cpu0: Online=1 Governor=schedutil MinFreq=1510400 MaxFreq=1510400 CurrentFreq=1510400 IdleStates: WFI=0 c7=0
GPU MinFreq=624750000 MaxFreq=624750000 CurrentFreq=624750000
"""


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """The file system of a Jetson Orin Nano under JetPack 6.2, as far as it is read."""
    _write(
        tmp_path,
        {
            "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\nVERSION_ID="22.04"\n',
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
            "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nBogoMIPS\t: 62.50\n\nprocessor\t: 1\n",
            "proc/meminfo": "MemTotal:        7802052 kB\nMemFree:          512000 kB\nSwapTotal:       3901024 kB\n",
            "var/lib/dpkg/status": "Package: nvidia-jetpack-dev\nStatus: install ok installed\nVersion: 6.2+b77\n\n"
            "Package: nvidia-jetpack\nStatus: install ok installed\nPriority: standard\nVersion: 6.2.1+b38\n"
            "Description: NVIDIA Jetpack Meta Package\n Version: of the description\n\n"
            "Package: zlib1g\nStatus: install ok installed\nVersion: 1\n",
            "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
            "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "729600\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400\n",
            "sys/class/devfreq/17000000.gpu/governor": "nvhost_podgov\n",
            "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
            "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
        },
    )
    return tmp_path


def test_system_of_an_orin(orin: Path) -> None:
    found = environment.system(orin)

    assert found["os"] == "Ubuntu 22.04.5 LTS"
    assert found["kernel"] == "5.15.148-tegra"
    assert found["cpu"] == "ARMv8 Processor rev 1 (v8l) (NVIDIA Jetson Orin Nano Developer Kit)"
    assert found["ram_mib"] == 7619  # 7802052 / 1024 = 7619.2
    assert found["swap_mib"] == 3810  # 3901024 / 1024 = 3809.6
    assert found["cuda_toolkit"] == "12.6.11"
    assert found["nvidia_driver"] is None


def test_board_of_an_orin(orin: Path) -> None:
    assert environment.board(orin) == {"model": "NVIDIA Jetson Orin Nano Developer Kit", "l4t": "36.4.3", "jetpack": "6.2.1+b38"}


def test_a_jetpack_that_was_removed_is_not_reported(orin: Path) -> None:
    _write(orin, {"var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: deinstall ok config-files\nVersion: 6.2\n"})

    found = environment.board(orin)

    assert found is not None
    assert found["jetpack"] is None


def test_clocks_are_the_kernels_limits(orin: Path, commands: Path) -> None:
    found = environment.clocks(orin)

    assert found["cpu_khz"] == {"policy0": {"governor": "schedutil", "min": 729600, "max": 1510400}}
    assert found["devices_hz"] == {"17000000.gpu": {"governor": "nvhost_podgov", "min": 306000000, "max": 624750000}}
    assert found["jetson_clocks"] is None


def test_jetson_clocks_is_quoted_where_it_answers(orin: Path, commands: Path) -> None:
    (commands / "shown").write_text(ORIN_CLOCKS, encoding="utf-8")
    shell_command(commands / "jetson_clocks", f'[ "$*" = --show ] && while read -r line; do echo "$line"; done < {commands}/shown')
    assert environment.clocks(orin)["jetson_clocks"] == ORIN_CLOCKS.splitlines()

    shell_command(commands / "jetson_clocks", "echo 'Error! Not running with root privileges'; exit 1")
    assert environment.clocks(orin)["jetson_clocks"] is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", {"name": "MAXN_SUPER", "id": 2}),
        ("NV Fan Mode:quiet\nNV Power Mode: 15W\n0\n", {"name": "15W", "id": 0}),
        ("NVPM ERROR: no mode\n", None),
    ],
)
def test_power_mode(commands: Path, answer: str, expected: dict[str, Any] | None) -> None:
    shell_command(commands / "nvpmodel", f"[ \"$*\" = -q ] && printf '{answer}'")

    assert environment.power_mode() == expected


def test_commands_that_are_missing_fail_or_hang_leave_nothing(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.power_mode() is None

    shell_command(commands / "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0; exit 1")
    assert environment.power_mode() is None

    def hangs(*command: object, timeout: float, **_: object) -> None:
        assert timeout <= 10
        raise subprocess.TimeoutExpired("nvpmodel", timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert environment.power_mode() is None


def test_an_empty_file_system_gives_nulls_and_no_error(tmp_path: Path, commands: Path) -> None:
    found = environment.collect(["run"], {}, tmp_path)

    assert found["board"] is None
    assert found["power_mode"] is None
    assert found["benchmark"] is None  # no git to ask
    assert found["clocks"] == {"cpu_khz": {}, "devices_hz": {}, "jetson_clocks": None}
    assert found["system"]["ram_mib"] is None
    assert found["system"]["cpu"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n", "535.129.03"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)\nGCC version: 12\n",
            "570.86.15",
        ),
    ],
)
def test_driver_of_a_desktop_gpu(tmp_path: Path, line: str, version: str) -> None:
    _write(tmp_path, {"proc/driver/nvidia/version": line})

    assert environment.system(tmp_path)["nvidia_driver"] == version


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"version.txt": "CUDA Version 10.2.300\n"}, "10.2.300"),
        ({"version.json": "{}"}, None),
        ({"version.json": '{"cuda": '}, None),
        ({"version.json": "[1]"}, None),
    ],
)
def test_cuda_toolkit_of_other_ages_and_broken_ones(tmp_path: Path, files: dict[str, str], version: str | None) -> None:
    _write(tmp_path / "usr/local/cuda", files)

    assert environment.system(tmp_path)["cuda_toolkit"] == version


def test_collected_is_json_with_the_arguments_and_versions() -> None:
    found = environment.collect(["jetson_benchmark.py", "--models", "static_mask"], {"models": ["static_mask"]})

    assert json.loads(json.dumps(found)) == found
    assert found["argv"] == ["jetson_benchmark.py", "--models", "static_mask"]
    assert found["arguments"] == {"models": ["static_mask"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["started_at"])
    assert found["packages"]["numpy"] == np.__version__


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def test_the_host_is_not_named() -> None:
    leaves = _leaves(environment.collect([], {}))

    assert platform.machine() in leaves
    assert platform.node() not in leaves


def test_collecting_does_not_load_torch() -> None:
    code = "import sys; from savbench.results import environment; environment.collect([], {}); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=environment.CHECKOUT, check=False).returncode == 0


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"]
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_git_state_of_a_clean_and_a_changed_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(tmp_path, "init")
    file = tmp_path / "pyproject.toml"
    file.write_text("one", encoding="utf-8")
    assert environment.git_state(file) is None, "an untracked file has no commit"
    _git(tmp_path, "add", "pyproject.toml")
    _git(tmp_path, "commit", "-m", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    # as git sets it for its hooks
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert environment.git_state(file) == {"commit": commit, "dirty": False}

    (tmp_path / "notes.txt").write_text("untracked", encoding="utf-8")
    assert environment.git_state(file) == {"commit": commit, "dirty": False}

    file.write_text("two", encoding="utf-8")
    assert environment.git_state(file) == {"commit": commit, "dirty": True}

    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    assert environment.benchmark_version() == commit[:12] + "+"


def test_outside_of_a_checkout_there_is_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)

    assert environment.benchmark_version() == ""


def test_origin_of_a_package_that_is_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, {"segmentor_x/__init__.py": ""})
    _git(tmp_path, "init")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "one")
    monkeypatch.syspath_prepend(tmp_path)

    found = environment.package_origin("segmentor_x")

    assert found == {
        "file": str(tmp_path / "segmentor_x/__init__.py"),
        "distributions": {},
        "git": {"commit": _git(tmp_path, "rev-parse", "HEAD"), "dirty": False},
    }
    assert "segmentor_x" not in sys.modules
    assert environment.package_origin("segmentor_y") is None


def test_origin_of_an_installed_package_is_its_distribution_and_no_commit() -> None:
    # the virtual environment may lie inside of this benchmark's own checkout, whose commit is not the package's
    found = environment.package_origin("pytest")

    assert found is not None
    assert found["distributions"] == {"pytest": pytest.__version__}
    assert found["git"] is None


def test_torch_is_described_with_its_devices() -> None:
    properties = SimpleNamespace(name="Orin", major=8, minor=7, total_memory=7619 * 2**20, multi_processor_count=8)
    # without cudnn_sdp_enabled, as older torch
    kernels = SimpleNamespace(flash_sdp_enabled=lambda: True, mem_efficient_sdp_enabled=lambda: False, math_sdp_enabled=lambda: True)
    torch = SimpleNamespace(
        __version__="2.5.0a0+nv24.8",
        version=SimpleNamespace(cuda="12.6"),
        backends=SimpleNamespace(cuda=kernels, cudnn=SimpleNamespace(is_available=lambda: True, version=lambda: 90300)),
        cuda=SimpleNamespace(
            get_arch_list=lambda: ["sm_87"],
            device_count=lambda: 1,
            get_device_properties=lambda index: properties,
        ),
        get_num_threads=lambda: 6,
        get_float32_matmul_precision=lambda: "highest",
    )

    found = environment.collect_torch(torch)

    assert found["devices"] == [{"name": "Orin", "compute_capability": "8.7", "memory_mib": 7619, "multiprocessors": 8}]
    assert found["sdp_kernels_enabled"] == {"flash": True, "mem_efficient": False, "math": True}
    assert (found["torch"], found["cuda"], found["cudnn"], found["arch_list"]) == ("2.5.0a0+nv24.8", "12.6", 90300, ["sm_87"])
    assert json.loads(json.dumps(found)) == found


def test_the_gpu_of_a_jetson_is_named_with_its_board(orin: Path, tmp_path: Path) -> None:
    assert environment.gpu_name("Orin", orin) == "Orin (NVIDIA Jetson Orin Nano Developer Kit)"
    assert environment.gpu_name("NVIDIA A100-SXM4-40GB", tmp_path / "no board") == "NVIDIA A100-SXM4-40GB"


def test_the_hash_of_the_code_changes_with_every_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "savbench").mkdir()
    (tmp_path / "jetson_benchmark.py").write_text("a")
    seen = {environment.code_sha256(tmp_path)}
    for name, text in (("savbench/x.py", "1"), ("savbench/x.py", "2"), ("savbench/y.yaml", "2"), ("jetson_benchmark.py", "b")):
        (tmp_path / name).write_text(text)
        seen.add(environment.code_sha256(tmp_path))
    assert len(seen) == 5
    (tmp_path / "savbench/notes.md").write_text("no code")
    assert environment.code_sha256(tmp_path) in seen
