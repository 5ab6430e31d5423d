"""scripts/gpu_acceptance.sh: its arguments, and steps that fail without hiding the others."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_acceptance.sh"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [[], ["kit"], ["kit", "out", "more"], ["--fast", "kit", "out"], ["--python"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: scripts/gpu_acceptance.sh" in done.stderr


def test_a_kit_that_is_not_there(tmp_path: Path) -> None:
    done = run(str(tmp_path / "kit"), str(tmp_path / "out"))
    assert done.returncode == 1
    assert "make it with scripts/offline_bundle.sh" in done.stderr


def test_a_step_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    """The interpreter is a stand-in that fails at installing and in the self-check."""
    python, kit, out = tmp_path / "python", tmp_path / "kit", tmp_path / "out"
    python.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *pip*|*zipfile*|*selfcheck\\ *) exit 3;; esac\n')
    python.chmod(0o755)
    kit.mkdir()
    (kit / "a-1-py3-none-any.whl").write_bytes(b"")
    done = run("--rehearse", "--python", os.path.relpath(python), str(kit), str(out))
    assert done.returncode == 1, done.stderr
    with (out / "steps.tsv").open(newline="") as file:
        steps = {row["step"]: row["status"] for row in csv.DictReader(file, delimiter="\t")}
    assert steps == {"install": "3", "tests": "0", "selfcheck": "3", "run": "0", "upstream": "0", "pauses": "0", "scoring": "0"}
    assert "--no-index --no-deps" in (out / "log.txt").read_text()
    assert {path.name for path in out.iterdir()} == {"steps.tsv", "log.txt"}


def test_the_tests_of_the_gpu_need_nothing_of_conftest() -> None:
    """As the script runs them; torch says that it has a GPU. --setup-plan looks up every fixture and runs nothing."""
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sam2", reason="needs sam2")
    pretend = "import sys, pytest, torch; torch.cuda.is_available = lambda: True; torch.cuda.current_device = lambda: 0; "
    flags = ["-q", "--noconftest", "-p", "no:cacheprovider", "-m", "not slow", "--setup-plan", "tests/gpu"]
    command = [sys.executable, "-c", f"{pretend}sys.exit(pytest.main({flags}))"]
    done = subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "test_gpu_path.py" in done.stdout


def test_the_last_steps_are_left_out_where_no_time_is_left(tmp_path: Path) -> None:
    """bash counts SECONDS on from what the environment says."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    command = [str(SCRIPT), "--python", str(python), "none", str(tmp_path / "out")]
    subprocess.run(command, env={**os.environ, "SECONDS": "560"}, capture_output=True, timeout=60, check=True)
    with (tmp_path / "out" / "steps.tsv").open(newline="") as file:
        steps = {row["step"]: row["status"] for row in csv.DictReader(file, delimiter="\t")}
    assert steps == {"tests": "0", "selfcheck": "0", "run": "0", "upstream": "0", "pauses": "left out", "scoring": "left out"}
