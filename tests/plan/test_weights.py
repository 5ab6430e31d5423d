from __future__ import annotations

from pathlib import Path

import pytest

from savbench.arguments.declared import ConfigError
from savbench.plan.upstream import has_weights
from savbench.plan.weights import find_weights


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "edgetam.pt").write_bytes(b"weights")
    assert find_weights("edgetam.pt", "edgetam", folders) == folders[1] / "edgetam.pt"


def test_a_missing_file_is_named_with_the_script_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"edgetam\.pt is not in .*download_weights\.sh edgetam.*--weights_dir.*--random_weights"):
        find_weights("edgetam.pt", "edgetam", [tmp_path])


def test_shipped_weights_are_not_said_to_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"sam2_nano\.pt is not in .*; it is shipped in .*nano, name its folder with --weights_dir"
    ) as raised:
        find_weights("sam2_nano.pt", "sam2_nano", [tmp_path])
    assert "download_weights" not in str(raised.value)


def test_weights_as_transformers_stores_them_are_found_in_their_folder(tmp_path: Path) -> None:
    hub = tmp_path / "b" / "sam2.1-hiera-base-plus"
    hub.mkdir(parents=True)
    (hub / "model.safetensors").touch()
    folders = [tmp_path / "a", tmp_path / "b"]
    assert find_weights("sam2.1_hiera_base_plus.pt", "sam2_base", folders) == hub / "model.safetensors"
    assert has_weights("sam2_base", folders)
    (tmp_path / "b" / "sam2.1_hiera_base_plus.pt").touch()
    assert find_weights("sam2.1_hiera_base_plus.pt", "sam2_base", folders) == tmp_path / "b" / "sam2.1_hiera_base_plus.pt"
    assert not has_weights("sam2_tiny", folders)
