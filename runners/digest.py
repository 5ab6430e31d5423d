"""Names the contents of a file by its sha256."""

from __future__ import annotations

import hashlib
import os
from typing import IO


def sha256_of(file: IO[bytes]) -> str:
    """sha256 of an open file's current bytes, in hex; bypasses Python's read buffer and leaves the position."""
    digest, at = hashlib.sha256(), 0
    while block := os.pread(file.fileno(), 1 << 20, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()
