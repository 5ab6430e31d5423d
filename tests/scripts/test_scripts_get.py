"""scripts/get_sam2.sh and scripts/get_edgetam.sh: upstream's sources at a pinned commit or hash, and clear words where there are none."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
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


def package_of(model: str) -> str:
    return "efficient_track_anything" if model == "efficienttam" else "sam2"


FOLDERS = {"sam2": "segment-anything-2", "edgetam": "EdgeTAM", "efficienttam": "EfficientTAM"}


@pytest.fixture(params=sorted(FOLDERS))
def getter(request: pytest.FixtureRequest, tmp_path: Path) -> Getter:
    root = tmp_path / "my clone"
    (root / "scripts").mkdir(parents=True)
    for name in ("lib.sh", "lib_git.sh", "lib_wheel.sh", f"get_{request.param}.sh"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    origin = make_repository(tmp_path / "origin", package=package_of(request.param))
    pinned = git(origin, "rev-parse", "HEAD")
    commit(origin, {NOTES: "newer"})
    script = root / "scripts" / f"get_{request.param}.sh"
    text, pins = re.subn(r"commit=[0-9a-f]{40}\b", f"commit={pinned}", script.read_text())
    assert pins == 1
    script.write_text(text)
    return Getter(script, origin, root / FOLDERS[request.param], pinned)


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


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with one wheel, which pip takes in place of PyPI."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "edgetam_dimos-1.0.1-py3-none-any.whl", "w") as wheel:
        info = "edgetam_dimos-1.0.1.dist-info"
        files = {
            "sam2/build_sam.py": "",
            "sam2/modeling/perceiver.py": "",
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: edgetam-dimos\nVersion: 1.0.1\nRequires-Dist: torch>=2.3.1\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
    return folder


def get_from(shop: Path, clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(clone), "PIP_NO_INDEX": "1"}
    environment |= {"PIP_FIND_LINKS": str(shop), "PIP_CONFIG_FILE": os.devnull}
    command = [str(clone / "scripts" / "get_edgetam.sh"), "--pypi", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def clone(shop: Path, tmp_path: Path) -> Path:
    """A copy of the script and of its requirements, which name the hash of the wheel in the shop."""
    pytest.importorskip("pip", reason="needs pip")
    folder = tmp_path / "my clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("lib.sh", "lib_git.sh", "lib_wheel.sh", "get_edgetam.sh"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts")
    digest = hashlib.sha256(next(shop.iterdir()).read_bytes()).hexdigest()
    text, pins = re.subn(r"sha256:[0-9a-f]{64}", f"sha256:{digest}", (ROOT / "requirements-edgetam-sources.txt").read_text())
    assert pins == 1
    (folder / "requirements-edgetam-sources.txt").write_text(text)
    return folder


def test_without_git_the_sources_come_from_pypi_into_a_folder_of_their_own(shop: Path, clone: Path) -> None:
    done = get_from(shop, clone)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (clone / "EdgeTAM").iterdir()) == ["edgetam_dimos-1.0.1.dist-info", "sam2"]  # and no torch
    assert not list(clone.glob("*.part"))
    again = get_from(shop, clone)
    assert (again.returncode, "exists already, with edgetam-dimos 1.0.1" in again.stdout) == (0, True)
    other = get_from(shop, clone, "--dir", str(clone / "deep" / "er"))
    assert (other.returncode, (clone / "deep" / "er" / "sam2").is_dir()) == (0, True)


def test_a_wheel_of_another_hash_is_refused_and_leaves_nothing(shop: Path, clone: Path) -> None:
    with zipfile.ZipFile(next(shop.iterdir()), "a") as wheel:
        wheel.writestr("sam2/more.py", "")
    done = get_from(shop, clone)
    assert (done.returncode, "DO NOT MATCH THE HASHES" in done.stderr) == (1, True)
    assert "get_edgetam: pip could not install it, see above" in done.stderr
    assert "PIP_FIND_LINKS" in done.stderr
    assert not list(clone.glob("EdgeTAM*"))


def test_a_folder_with_something_else_is_not_replaced_by_a_wheel(shop: Path, clone: Path) -> None:
    (clone / "EdgeTAM").mkdir()
    (clone / "EdgeTAM" / "setup.py").touch()
    done = get_from(shop, clone)
    assert (done.returncode, "is in the way: it has no edgetam-dimos 1.0.1" in done.stderr) == (1, True)
    assert [path.name for path in (clone / "EdgeTAM").iterdir()] == ["setup.py"]


def test_pypi_is_edgetam_s_alone_and_takes_no_url(shop: Path, clone: Path, tmp_path: Path) -> None:
    done = get_from(shop, clone, "--url", "somewhere")
    assert (done.returncode, "--pypi clones nothing" in done.stderr) == (2, True)
    shutil.copy(ROOT / "scripts" / "get_sam2.sh", clone / "scripts")
    done = subprocess.run([clone / "scripts" / "get_sam2.sh", "--pypi"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "unknown argument --pypi" in done.stderr) == (2, True)


def test_where_a_clone_fails_the_other_source_is_named(clone: Path) -> None:
    command = [str(clone / "scripts" / "get_edgetam.sh"), "--url", "http://127.0.0.1:9/upstream"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "get_edgetam.sh --pypi" in done.stderr) == (1, True)
