"""How a dataclass is the schema of a CSV file: its fields are the columns, each with its meaning."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def column(meaning: str, *, default: Any = None) -> Any:
    """A field of a row. Missing is None or, for text, the empty string, and an empty cell either way."""
    return field(default=default, metadata={"meaning": meaning})
