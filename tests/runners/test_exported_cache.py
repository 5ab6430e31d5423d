"""The cache of exported graphs: made once, by one process at a time, and never believed without its sha256."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest

from runners.base import RunnerError
from runners.exported.cache import MANIFEST, GraphFolder

IDENTITY = {"weights": "aa", "imgsz": 192}


class Maker:
    """Writes a file, and counts how often."""

    def __init__(self, content: bytes = b"graph", pause_s: float = 0.0) -> None:
        self.calls = 0
        self._content, self._pause_s = content, pause_s

    def __call__(self, path: Path) -> None:
        self.calls += 1
        time.sleep(self._pause_s)
        path.write_bytes(self._content)


def folder(root: Path, said: list[str] | None = None, **changed: object) -> GraphFolder:
    return GraphFolder(root, "nano", {**IDENTITY, **changed}, ([] if said is None else said).append)


def test_a_file_is_made_once_and_listed_with_what_it_is(tmp_path: Path) -> None:
    make, said = Maker(), list[str]()
    made = folder(tmp_path, said).file("stage.onnx", make)
    again = folder(tmp_path, said).file("stage.onnx", make)
    assert (make.calls, made.is_new, again.is_new) == (1, True, False)
    assert again.path.read_bytes() == b"graph"
    assert said == [f"making {made.path.parent.name}/stage.onnx"]
    manifest = json.loads((made.path.parent / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["identity"] == IDENTITY
    assert manifest["files"]["stage.onnx"]["sha256"] == hashlib.sha256(made.path.read_bytes()).hexdigest()
    assert again.made_s == pytest.approx(made.made_s, abs=1e-3)


def test_other_weights_or_another_size_are_another_folder(tmp_path: Path) -> None:
    assert len({folder(tmp_path, **changed).path for changed in ({}, {"weights": "bb"}, {"imgsz": 256}, {"torch": "3"})}) == 4


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "manifest", "manifest of another shape"])
def test_what_is_damaged_is_made_again(tmp_path: Path, harm: str) -> None:
    make, said = Maker(b"the whole graph"), list[str]()
    path = folder(tmp_path).file("stage.onnx", make).path
    match harm:
        case "cut":
            path.write_bytes(b"the whole")
        case "flipped":
            path.write_bytes(b"the whole graPh")
        case "gone":
            path.unlink()
        case "manifest":
            (path.parent / MANIFEST).write_text('{"files": {"stage', encoding="utf-8")
        case _:
            (path.parent / MANIFEST).write_text("[1]", encoding="utf-8")
    again = folder(tmp_path, said).file("stage.onnx", make)
    assert (make.calls, again.is_new, again.path.read_bytes()) == (2, True, b"the whole graph")
    assert ("damaged" in said[0]) == ("manifest" not in harm)


def test_what_an_interrupted_export_leaves_is_no_file(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder(tmp_path).file("stage.onnx", interrupted)
    assert not (folder(tmp_path).path / "stage.onnx").exists()
    assert folder(tmp_path).file("stage.onnx", Maker()).path.read_bytes() == b"graph"


def test_of_several_at_once_one_makes_it_and_the_others_say_that_they_wait(tmp_path: Path) -> None:
    make, said = Maker(pause_s=0.3), list[str]()
    threads = [threading.Thread(target=lambda: folder(tmp_path, said).file("stage.onnx", make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.calls == 1
    assert any(line.startswith("waiting for another process that makes nano-") for line in said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_names_the_flag(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunnerError, match=r"name another folder with --exported_dir"):
        folder(tmp_path / "cache")


def test_a_file_in_the_place_of_the_folder_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("", encoding="utf-8")
    with pytest.raises(RunnerError, match=r"name another folder with --exported_dir"):
        folder(tmp_path / "cache")


def test_a_full_disk_names_the_flag(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(RunnerError, match=r"No space left on device\); free the disk, or name another folder with --exported_dir"):
        folder(tmp_path).file("stage.onnx", full)
