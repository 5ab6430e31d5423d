"""How a dataclass is the schema of a CSV file: its fields are the columns, each with its meaning."""

from __future__ import annotations

from dataclasses import Field, field, fields
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_type_hints


class RowSchema(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Row = TypeVar("Row", bound=RowSchema)


def column(meaning: str, *, default: Any = None) -> Any:
    """A field of a row. Missing is None or, for text, the empty string, and an empty cell either way."""
    return field(default=default, metadata={"meaning": meaning})


def columns(schema: type[Row]) -> list[str]:
    return [f.name for f in fields(schema)]


def kinds_of(schema: type[Row]) -> dict[str, type]:
    """Type of each column without its None: `int | None` is int."""
    hints = get_type_hints(schema)
    return {name: next((t for t in get_args(hints[name]) if t is not type(None)), hints[name]) for name in columns(schema)}


def number_columns(schema: type[Row]) -> dict[str, type]:
    """Columns of a schema that hold numbers, with int or float."""
    return {name: kind for name, kind in kinds_of(schema).items() if kind in (int, float)}
