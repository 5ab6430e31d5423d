"""Small files of the kernel, each one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str | None:
    """The content without space and zero bytes around it; None where it is missing or may not be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """The content as a number; None where it is missing, may not be read, or is none."""
    try:
        return float(path.read_bytes())
    except (OSError, ValueError):
        return None
