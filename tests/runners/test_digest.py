from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runners.digest import sha256_of


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 1])
def test_the_whole_file_counts_and_its_position_stays(tmp_path: Path, size: int) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x" * size)
    with (tmp_path / "weights.pt").open("rb") as file:
        head = file.read(3)
        assert sha256_of(file) == hashlib.sha256(b"x" * size).hexdigest()
        assert head + file.read() == b"x" * size


def test_what_was_written_meanwhile_counts(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"before")
    with path.open("rb") as file:
        file.read(1)  # fills the buffer
        path.write_bytes(b"behind")
        assert sha256_of(file) == hashlib.sha256(b"behind").hexdigest()
