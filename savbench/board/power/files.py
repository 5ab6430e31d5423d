"""Reading kernel files that hold one value each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str | None:
    """The content without surrounding whitespace and zero bytes; None if the file is missing or may not be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """The content as a number; None if the file is missing, may not be read, or holds no number."""
    try:
        return float(path.read_bytes())
    except (OSError, ValueError):
        return None
