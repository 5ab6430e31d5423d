"""What the doctor's tests share: made-up machines, and what the probes answer where all is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.doctor.check import Subject
from savbench.doctor.probe import Answers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from savbench.doctor.check import Check


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_desktop(folder: Path) -> Subject:
    """A machine that shows no GPU."""
    root = folder / "desktop"
    root.mkdir()
    return Subject(root=root, checkout=folder / "checkout")


def make_orin(folder: Path) -> Subject:
    """An Orin Nano under JetPack 6.2, its CPU locked and its GPU not."""
    root = folder / "o"
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
    return Subject(root=root, checkout=folder / "checkout")


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
