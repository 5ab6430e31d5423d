from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from savbench.plan.config import ConfigError
from savbench.plan.weights import find_weights, sha256_of


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "edgetam.pt").write_bytes(b"weights")
    assert find_weights("edgetam.pt", "edgetam", folders) == folders[1] / "edgetam.pt"


def test_a_missing_file_is_named_with_the_script_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"edgetam\.pt is not in .*download_weights\.sh edgetam.*--weights_dir.*--random_weights"):
        find_weights("edgetam.pt", "edgetam", [tmp_path])


def test_the_sum_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"one")
    first = sha256_of(path)
    assert first == hashlib.sha256(b"one").hexdigest()

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "sha256", lambda: pytest.fail("the file was read again"))
        assert sha256_of(path) == first

    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert sha256_of(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"size": 3}'])
def test_a_damaged_memory_is_not_believed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"one")
    (tmp_path / ".model.pt.sha256.json").write_text(content)
    assert sha256_of(path) == hashlib.sha256(b"one").hexdigest()
