"""How a dataclass is the schema of a CSV file: its fields are the columns, each with its meaning."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any, ClassVar, Protocol


class RowSchema(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def column(meaning: str, *, default: Any = None) -> Any:
    """A field of a row. Missing is None or, for text, the empty string, and an empty cell either way."""
    return field(default=default, metadata={"meaning": meaning})
