"""The environment of a run: board, system, power mode, clocks, packages, commits. All values are JSON types.

The supervisor collects what is available without loading torch; a worker adds what torch reports. Unknown values are None and never an
error. Host and user names are not collected.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results import selfcheck

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = ("attention", "runners", "savbench")
"""Folders of the code that a run executes."""
ROOT = Path("/")

PACKAGES = (
    "torch",
    "torchvision",
    "sam2",
    "SAM-2",
    "EdgeTAM",
    "transformers",
    "timm",
    "numpy",
    "pandas",
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "pillow",
    "av",
    "jetson-stats",
)
"""Distributions whose versions affect results. The official SAM 2 repository installs itself as SAM-2, its copy on PyPI as sam2."""

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)
"""Environment variables that change speed, memory or rounding."""


def collect(argv: Sequence[str], arguments: Mapping[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """Describe the machine and the command, without importing torch.

    Args:
        argv: the command line.
        arguments: the parsed arguments, as JSON types.
        root: root of the file system to read.
    """
    return {
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "argv": list(argv),
        "arguments": dict(arguments),
        "benchmark": git_state(CHECKOUT / "pyproject.toml"),
        "code_sha256": code_sha256(),
        "protocol_version": PROTOCOL_VERSION,
        "system": system(root),
        "board": board(root),
        "power_mode": power_mode(),
        "clocks": clocks(root),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "selfchecks": selfcheck.of_machine(cpu_name(root)),
    }


def benchmark_version() -> str:
    """Commit of this benchmark, 12 digits, with `+` if tracked files were changed; empty outside a git checkout."""
    state = git_state(CHECKOUT / "pyproject.toml")
    return "" if state is None else state["commit"][:12] + "+" * state["dirty"]


def code_sha256(checkout: Path = CHECKOUT) -> str:
    """SHA-256 over the names and contents of the benchmark's code, which says more than a commit: changes count, and no git is needed."""
    files = [checkout / "jetson_benchmark.py"]
    files += [path for package in CODE for path in (checkout / package).rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            digest.update(f"{path.relative_to(checkout).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def system(root: Path = ROOT) -> dict[str, Any]:
    """Operating system, CPU and memory; sizes in MiB."""
    release = dict(line.split("=", 1) for line in _lines(root / "etc/os-release") if "=" in line)
    meminfo = dict(line.split(":", 1) for line in _lines(root / "proc/meminfo") if ":" in line)
    return {
        "os": release.get("PRETTY_NAME", platform.system()).strip('"'),
        "kernel": _text(root / "proc/sys/kernel/osrelease") or platform.release(),
        "machine": platform.machine(),
        "cpu": cpu_name(root),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "ram_mib": _mib(meminfo.get("MemTotal")),
        "swap_mib": _mib(meminfo.get("SwapTotal")),
        "nvidia_driver": _first_match(r"Kernel Module\S*(?: for \S+)?\s+(\d[\d.]+)", _text(root / "proc/driver/nvidia/version")),
        "cuda_toolkit": _cuda_toolkit(root / "usr/local/cuda"),
    }


def cpu_name(root: Path = ROOT) -> str:
    """The kernel's name of the CPU, with the board's name if known, because the kernel gives most ARM cores the same name."""
    name = _first_match(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo")) or platform.machine()
    model = _board_model(root)
    return name if model is None else f"{name} ({model})"


def gpu_name(name: str, root: Path = ROOT) -> str:
    """CUDA's name of a GPU, with the board's name on a Jetson, because CUDA gives the GPUs of all Orin boards the same name."""
    model = _board_model(root)
    return name if model is None else f"{name} ({model})"


def device_names(root: Path = ROOT) -> list[str]:
    """Names of the board and of NVIDIA's GPUs, as far as the kernel shows them without CUDA."""
    gpus = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    found = [_board_model(root), *(_first_match(r"^Model:\s*(.+)$", _text(path)) for path in gpus)]
    return list(dict.fromkeys(name for name in found if name))


def board(root: Path = ROOT) -> dict[str, Any] | None:
    """Model of the board, with the releases of L4T and JetPack on a Jetson; None if the firmware names no board."""
    model = _board_model(root)
    if model is None:
        return None
    l4t = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release") or "")
    return {
        "model": model,
        "l4t": None if l4t is None else f"{l4t[1]}.{l4t[2]}",
        "jetpack": _installed_debian_package(root, "nvidia-jetpack"),
    }


def power_mode() -> dict[str, Any] | None:
    """Name and number of the power mode that `nvpmodel` reports; None without the command or an answer."""
    answer = re.search(r"NV Power Mode: *(.+)\n(\d+)", _command("nvpmodel", "-q") or "")
    return None if answer is None else {"name": answer[1].strip(), "id": int(answer[2])}


def clocks(root: Path = ROOT) -> dict[str, Any]:
    """Governors and clock limits: of the CPU in kHz, of other devices in Hz.

    `jetson_clocks` sets the lower limits to the upper ones. Its own report, which needs root, is included if available.
    """
    shown = _command("jetson_clocks", "--show")
    cpu = {path.name: _limits(path, "scaling_") for path in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))}
    devices = {path.name: _limits(path, "") for path in sorted((root / "sys/class/devfreq").glob("*"))}
    return {"cpu_khz": cpu, "devices_hz": devices, "jetson_clocks": None if shown is None else shown.splitlines()}


def collect_torch(torch: Any) -> dict[str, Any]:
    """Describe torch, its devices and the sam2 package of this process.

    Args:
        torch: the torch module; this module does not import it.
    """
    cuda = torch.backends.cuda
    kernels = {
        # absent from the torch of older JetPacks
        name: enabled()
        for name in ("flash", "mem_efficient", "math", "cudnn")
        if (enabled := getattr(cuda, f"{name}_sdp_enabled", None)) is not None
    }
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "arch_list": list(torch.cuda.get_arch_list()),
        "devices": [_cuda_device(torch, index) for index in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "sdp_kernels_enabled": kernels,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "sam2": package_origin("sam2"),
    }


def package_origin(package: str) -> dict[str, Any] | None:
    """Origin of a package, without importing it: file, distributions that own it, git state. None if it is not installed.

    SAM 2 and EdgeTAM both install a package `sam2`; the file shows which one a process runs.
    """
    module = sys.modules.get(package)
    if module is not None:
        file = getattr(module, "__file__", None)
    else:
        spec = importlib.util.find_spec(package)
        file = None if spec is None else spec.origin
    if file is None:
        return None
    claimed = importlib.metadata.packages_distributions().get(package, [])
    return {"file": file, "distributions": {name: _version(name) for name in sorted(set(claimed))}, "git": git_state(Path(file))}


def git_state(tracked_file: Path) -> dict[str, Any] | None:
    """Commit of the checkout that tracks a file, and whether tracked files have changed since.

    None if git does not track the file (for example in a virtual environment inside another project's checkout), git is not installed, or
        git refuses to read the checkout.
    """
    git = ("git", "-C", str(tracked_file.parent))
    if _command(*git, "ls-files", "--error-unmatch", tracked_file.name) is None:
        return None
    commit = _command(*git, "rev-parse", "HEAD")
    changes = _command(*git, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(changes)}


def _cuda_device(torch: Any, index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_mib": round(properties.total_memory / 2**20),
        "multiprocessors": properties.multi_processor_count,
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _board_model(root: Path) -> str | None:
    # the device tree ends its strings with a zero byte
    return (_text(root / "proc/device-tree/model") or "").strip("\0 \n") or None


def _cuda_toolkit(folder: Path) -> str | None:
    text = _text(folder / "version.json")
    if text is None:
        return _first_match(r"CUDA Version ([\d.]+)", _text(folder / "version.txt"))
    try:
        return str(json.loads(text)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _installed_debian_package(root: Path, name: str) -> str | None:
    for entry in (_text(root / "var/lib/dpkg/status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Package") == name and fields.get("Status", "").endswith(" installed"):
            return fields.get("Version")
    return None


def _limits(folder: Path, prefix: str) -> dict[str, Any]:
    low, high = (_text(folder / f"{prefix}{name}_freq") for name in ("min", "max"))
    return {
        "governor": _text(folder / f"{prefix}governor"),
        "min": int(low) if low is not None and low.isdigit() else None,
        "max": int(high) if high is not None and high.isdigit() else None,
    }


def _mib(meminfo_value: str | None) -> int | None:
    """MiB of a value such as `  7802052 kB`, where the kernel means KiB."""
    match = re.fullmatch(r"(\d+) kB", (meminfo_value or "").strip())
    return None if match is None else round(int(match[1]) / 1024)


def _first_match(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "", re.MULTILINE)
    return None if match is None else match[1].strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _lines(path: Path) -> list[str]:
    return (_text(path) or "").splitlines()


def _command(*command: str) -> str | None:
    """Standard output of a command; None if it does not exist, fails or takes more than 5 seconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # English messages; git must not write its index
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
