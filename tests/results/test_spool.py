"""Masks on their way from a worker to the finisher."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from savbench.data.masks import PackedMask
from savbench.results.spool import SpoolError, read_masks, write_bytes, write_masks


def test_masks_survive_the_file_to_the_last_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    masks = {name: {frame: generator.random((5, 7)) < 0.5 for frame in (0, 3, 12)} for name in ("masks", "known")}
    packed = {name: {frame: PackedMask(mask_hw) for frame, mask_hw in of_name.items()} for name, of_name in masks.items()}
    read = read_masks(write_masks(tmp_path / "new" / "spool", packed))
    assert {name: list(of_name) for name, of_name in read.items()} == {"masks": [0, 3, 12], "known": [0, 3, 12]}
    for name, of_name in masks.items():
        for frame, mask_hw in of_name.items():
            np.testing.assert_array_equal(read[name][frame].unpack(), mask_hw)


def test_files_do_not_get_into_each_others_way_and_travel_as_bytes(tmp_path: Path) -> None:
    one, other = (write_masks(tmp_path, {"masks": {frame: PackedMask(np.ones((2, 3), np.bool_))}}) for frame in (1, 2))
    assert list(read_masks(one)["masks"]) == [1]
    assert list(read_masks(write_bytes(tmp_path / "elsewhere", other.read_bytes()))["masks"]) == [2]


def test_a_file_that_was_cut_off_is_not_taken_for_masks(tmp_path: Path) -> None:
    path = write_masks(tmp_path, {"masks": {1: PackedMask(np.ones((2, 3), np.bool_))}})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="bytes of masks, expected"):
        read_masks(path)


def test_a_full_disk_leaves_nothing_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(SpoolError) as caught:
        write_bytes(tmp_path, b"masks")
    assert (caught.value.errno, Path(caught.value.filename).parent) == (errno.ENOSPC, tmp_path)
    assert list(tmp_path.iterdir()) == []
