"""What the doctor's tests share: made-up machines, and what the probes answer where all is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from boards import ORIN_NANO, Board
from emulated_board import write_root

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


def make_board(folder: Path, board: Board) -> Subject:
    """A board of the table, its CPU locked and its GPU not."""
    root = folder / "o"
    files = write_root(root, board)
    files.lock_clocks()
    for clock in board.gpu:
        files.set_limits(clock.name, clock.low, clock.high)
    # not locked by jetson_clocks, and of no account
    files.write("class/devfreq/15340000.vic/min_freq", 1)
    files.write("class/devfreq/15340000.vic/max_freq", 2)
    return Subject(root=root, checkout=folder / "checkout")


def make_orin(folder: Path) -> Subject:
    return make_board(folder, ORIN_NANO)


def gpu_answers(board: Board = ORIN_NANO, **changes: dict[str, Any]) -> Answers:
    """What the probe says on a board where all is well, with changes by step."""
    right = {"right": True}
    memory_mib = board.memory_kb // 1024
    sm = "sm_{}{}".format(*board.capability)
    found: dict[str, dict[str, Any]] = {
        "torch": {"version": "2.8.0", "cuda": board.jetpack.cuda, "file": "/usr/lib/python3/torch/__init__.py", "archs": [sm]},
        "numpy": {"version": "1.26.4", "exchanged": True},
        "cuda": {"available": True, "reason": ""},
        "cudnn": {"version": 90300},
        "flash": {"built": True},
        "devices": {"devices": [{"name": board.device, "capability": list(board.capability), "memory_mib": memory_mib}]},
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


@pytest.fixture
def desktop(tmp_path: Path) -> Subject:
    return make_desktop(tmp_path)


@pytest.fixture
def orin(tmp_path: Path) -> Subject:
    return make_orin(tmp_path)
