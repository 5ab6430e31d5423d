"""scripts/get_sam2.sh and scripts/get_edgetam.sh: a clone at a pinned commit, and clear words where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from update_bench import NOTES, ROOT, commit, git, make_repository


@dataclass
class Getter:
    """A copy of one of the scripts, pinned to a commit of a repository that stands for upstream's."""

    script: Path
    origin: Path
    target: Path
    pinned: str

    def get(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.script.parent), "GIT_CONFIG_SYSTEM": os.devnull}
        command = [str(self.script), "--url", str(self.origin), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(params=["sam2", "edgetam"])
def getter(request: pytest.FixtureRequest, tmp_path: Path) -> Getter:
    root = tmp_path / "my clone"
    (root / "scripts").mkdir(parents=True)
    for name in ("lib.sh", "lib_git.sh", f"get_{request.param}.sh"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    origin = make_repository(tmp_path / "origin")
    pinned = git(origin, "rev-parse", "HEAD")
    commit(origin, {NOTES: "newer"})
    script = root / "scripts" / f"get_{request.param}.sh"
    text, pins = re.subn(r"commit=[0-9a-f]{40}\b", f"commit={pinned}", script.read_text())
    assert pins == 1
    script.write_text(text)
    return Getter(script, origin, root / {"sam2": "segment-anything-2", "edgetam": "EdgeTAM"}[request.param], pinned)


def test_clones_the_pinned_commit_once(getter: Getter) -> None:
    done = getter.get()
    assert done.returncode == 0, done.stderr
    assert git(getter.target, "rev-parse", "HEAD") == getter.pinned
    assert git(getter.target, "status", "--porcelain") == ""
    assert (getter.target / NOTES).read_text().startswith("line 1")
    (getter.target / NOTES).write_text("mine")
    again = getter.get()
    assert (again.returncode, "exists already" in again.stdout) == (0, True)
    assert (getter.target / NOTES).read_text() == "mine"


def test_another_folder(getter: Getter, tmp_path: Path) -> None:
    (tmp_path / "made by hand").mkdir()
    for name in ("made by hand", "deep/er"):
        assert getter.get("--dir", str(tmp_path / name)).returncode == 0
        assert git(tmp_path / name, "rev-parse", "HEAD") == getter.pinned


def test_a_clone_at_another_commit_is_left_and_told(getter: Getter) -> None:
    getter.get()
    git(getter.target, "checkout", "--quiet", "main")
    head = git(getter.target, "rev-parse", "HEAD")
    done = getter.get()
    assert done.returncode == 1
    assert f"is at {head[:12]}, not at {getter.pinned[:12]}" in done.stderr
    assert f"checkout --detach {getter.pinned}" in done.stderr
    assert git(getter.target, "rev-parse", "HEAD") == head


def test_a_folder_in_the_way_is_left_alone(getter: Getter) -> None:
    getter.target.mkdir()
    (getter.target / "photo.jpg").touch()
    done = getter.get()
    assert (done.returncode, "is in the way" in done.stderr) == (1, True)
    assert [path.name for path in getter.target.iterdir()] == ["photo.jpg"]


def test_offline_it_says_how_to_bring_a_copy_and_takes_it(getter: Getter, tmp_path: Path) -> None:
    done = getter.get("--url", "http://127.0.0.1:9/upstream")
    assert done.returncode == 1
    assert "could not clone http://127.0.0.1:9/upstream (git: " in done.stderr
    assert "run git clone --mirror" in done.stderr
    assert not getter.target.exists()
    assert not list(getter.target.parent.glob("*.part"))
    git(tmp_path, "clone", "--quiet", "--mirror", str(getter.origin), "copy.git")
    assert getter.get("--url", str(tmp_path / "copy.git")).returncode == 0


def test_a_repository_without_the_pinned_commit_leaves_nothing(getter: Getter, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other")
    commit(other, {NOTES: "so that no commit is the same"})
    git(other, "checkout", "--quiet", "--orphan", "alone")
    commit(other, {NOTES: "alone"})
    git(other, "branch", "--quiet", "-D", "main")
    git(other, "reflog", "expire", "--expire=now", "--all")
    git(other, "gc", "--quiet", "--prune=now")
    done = getter.get("--url", f"file://{other}")
    assert done.returncode == 1
    assert f"has no commit {getter.pinned}" in done.stderr
    assert not list(getter.target.parent.glob(f"{getter.target.name}*"))


@pytest.mark.parametrize(("arguments", "words"), [(["--commit"], "unknown argument --commit"), (["--dir"], "--dir needs a value")])
def test_wrong_usage_ends_with_2(getter: Getter, arguments: list[str], words: str) -> None:
    done = getter.get(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True)
