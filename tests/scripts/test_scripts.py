"""What requirement files and scripts must keep: every import is required, every script lints and tells its usage."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_import_is_a_requirement() -> None:
    distribution_of = {
        "cv2": "opencv-python-headless",
        "PIL": "pillow",
        "hydra": "hydra-core",
        "segment_anything": "segment-anything",
        "skimage": "scikit-image",
        "cutie": "rf-cutie",
        "jtop": "jetson-stats",
        "yaml": "pyyaml",
    }
    named = {
        re.split(r"[\[><=;\s]", line)[0]
        for file in ROOT.glob("requirements*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    own = {"jetson_benchmark", "runners", "savbench", "attention", "benchmarks", "tests", "training"}
    beside = {path.stem for folder in ("tests", "scripts") for path in (ROOT / folder).glob("*.py")}
    of_jetpack = {"tensorrt"}  # comes with the board's system, in the version that fits its driver
    missing = {}
    for file in [ROOT / "jetson_benchmark.py", *(path for folder in sorted(own) for path in (ROOT / folder).rglob("*.py"))]:
        for module in _imported(file) - sys.stdlib_module_names - own - beside - of_jetpack:
            if distribution_of.get(module, module) not in named:
                missing[module] = str(file)
    assert missing == {}


def _imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


SHELL_SCRIPTS = [*sorted(ROOT.glob("scripts/*.sh")), *sorted(ROOT.glob("*.sh")), ROOT / ".ci" / "run"]
# lib*.sh are not run but read by others
RUN_SCRIPTS = [path for path in SHELL_SCRIPTS if not path.name.startswith("lib")]


@pytest.mark.parametrize("script", RUN_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_stop_at_errors_and_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    if not Path(shellcheck).exists():
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, *SHELL_SCRIPTS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git tracks of the scripts and what they read, beside a split and results that somebody wants to keep."""
    folder = tmp_path_factory.mktemp("clone")
    for tracked in ("scripts", "training", "runners", "attention", "savbench"):
        if (ROOT / tracked).is_dir():
            shutil.copytree(ROOT / tracked, folder / tracked, ignore=shutil.ignore_patterns("__pycache__", "*.pt"))
    for file in [*ROOT.glob("*.sh"), *ROOT.glob("*.py"), *ROOT.glob("requirements*.txt")]:
        shutil.copy(file, folder)
    for kept in ("demo_split/val.txt", "results/demo/summary.csv", "checkpoints/edgetam.pt", ".venv/setup.log"):
        (folder / kept).parent.mkdir(parents=True)
        (folder / kept).write_text("kept", encoding="utf-8")
    return folder


HELPFUL = [
    *(pytest.param(path, option, id=f"{path.name} {option}") for path in RUN_SCRIPTS[:-1] for option in ("--help", "-h")),
    *(pytest.param(path, "--help", id=path.name) for path in [*sorted(ROOT.glob("scripts/*.py")), *ROOT.glob("*.py")]),
]


@pytest.mark.parametrize(("script", "option"), HELPFUL)
def test_help_tells_the_usage_and_does_nothing(clone: Path, script: Path, option: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in clone.rglob("*")}
    is_python = script.suffix == ".py"
    command = [*([sys.executable] if is_python else []), str(clone / script.relative_to(ROOT)), option]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert script.name in done.stdout
    assert is_python or "Exit status:" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in clone.rglob("*")} == before
