"""Declaring the schema of a CSV file as a dataclass.

A field holds one value of a row, or a mapping of values with fixed keys, such as the stages of a latency. A value is a column of the file,
or an entry of a *cell*: a column that holds a JSON object with the details of one feature by name. Names of values are unique in a schema,
so that a reader can spread cells into columns.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

from savbench.arguments.declared import Compared, columns_of
from savbench.plan.settings import RunConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.arguments.declared import Column


class RowSchema(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Row = TypeVar("Row", bound=RowSchema)


@dataclass(frozen=True)
class Cell:
    """A column that holds a JSON object. A missing key is a missing value; in an empty cell all values are missing."""

    column: str
    meaning: str


@dataclass(frozen=True)
class Value:
    """One value of a row.

    Attributes:
        name: its column, or its key within a cell; unique in the schema.
        field: name of the dataclass's field.
        key: the value's key if the field is a mapping with fixed keys, else None.
        kind: str, int, float, or dict for a mapping of names to numbers.
        is_figure: whether it is measured or counted, and so empty in a failed row; other values are settings or describe what happened.
    """

    name: str
    field: str
    key: str | None
    kind: type
    meaning: str
    cell: Cell | None
    is_figure: bool

    @property
    def column(self) -> str:
        """Name of the column in the CSV file."""
        return self.name if self.cell is None else self.cell.column

    def of(self, row: RowSchema) -> Any:
        """The value in a row. Missing is None or, for text and mappings, empty."""
        content = getattr(row, self.field)
        return content if self.key is None else content.get(self.key)


def column(
    meaning: str, *, default: Any = None, cell: Cell | None = None, is_figure: bool | None = None, compared: Compared = Compared.NO
) -> Any:
    """A field with one value. Missing is None or, for text, the empty string.

    Args:
        cell: cell that holds the value; None: a column of its own.
        is_figure: as in `Value`; None: true for floats only.
        compared: its role when results are compared.
    """
    return field(default=default, metadata={"meaning": meaning, "cell": cell, "is_figure": is_figure, "compared": compared})


def setting_column(name: str, *, cell: Cell | None = None) -> Any:
    """A field that reports a setting, as the setting declares it."""
    declared, kind = columns_of(RunConfig)[name]
    about = {"meaning": declared.meaning, "cell": cell, "is_figure": False, "compared": declared.compared, "setting": declared}
    return field(default="" if kind is str else None, metadata=about)


def with_setting_columns(schema: type[Row]) -> type[Row]:
    """Add the columns of settings that a schema and its bases do not name. Apply it before `dataclass`.

    The schema names the columns that code reads by name or that have a fixed place in the file; others are added here.
    """
    named = {name for base in schema.__mro__ for name in inspect.get_annotations(base)}
    for name, (_, kind) in columns_of(RunConfig).items():
        if name not in named:
            schema.__annotations__[name] = kind if kind is str else kind | None
            setattr(schema, name, setting_column(name))
    return schema


def compared_of(schema: type[RowSchema]) -> dict[str, tuple[Compared, Column | None]]:
    """Values with a role in comparisons, by name: the role, and the column's declaration if it reports a setting, else None."""
    about = {f.name: f.metadata for f in fields(schema)}
    return {name: (of["compared"], of.get("setting")) for name, of in about.items() if of.get("compared", Compared.NO)}


def mapping(meaning: str, *, cell: Cell | None = None) -> Any:
    """A field of type `dict[str, float]`: figures by names not known in advance. Empty if there are none."""
    return field(default_factory=dict, metadata={"meaning": meaning, "cell": cell, "is_figure": True})


def figures(meanings: Mapping[str, str], name: str = "{}", *, cell: Cell | None = None) -> Any:
    """A field of type `dict[str, float]` with fixed keys; a missing key is a missing figure.

    Args:
        meanings: by key.
        name: name of a key's value, with `{}` for the key.
    """
    named = {key: (name.format(key), meaning) for key, meaning in meanings.items()}
    return field(default_factory=dict, metadata={"named": named, "cell": cell, "is_figure": True})


@cache
def values_of(schema: type[RowSchema]) -> tuple[Value, ...]:
    """Every value of a schema, in the order of the fields."""
    hints = get_type_hints(schema)
    found = []
    for item in fields(schema):
        about, kind = item.metadata, _kind(hints[item.name])
        is_figure = kind is float if about["is_figure"] is None else about["is_figure"]
        if "named" in about:
            found += [Value(n, item.name, key, float, m, about["cell"], is_figure) for key, (n, m) in about["named"].items()]
        else:
            found.append(Value(item.name, item.name, None, kind, about["meaning"], about["cell"], is_figure))
    return tuple(found)


def _kind(hint: Any) -> type:
    """`int | None` is int, `dict[str, float]` is dict; a Literal is text."""
    if get_origin(hint) is dict:
        return dict
    one = next((part for part in get_args(hint) if part is not type(None)), hint)
    return one if isinstance(one, type) else type(one)


def value_of(row: RowSchema, name: str) -> Any:
    """A value of a row by name, also one inside a mapping. Raises KeyError for an unknown name."""
    return _by_name(type(row))[name].of(row)


@cache
def _by_name(schema: type[RowSchema]) -> dict[str, Value]:
    return {value.name: value for value in values_of(schema)}


def columns(schema: type[RowSchema]) -> list[str]:
    """Columns of the CSV file in order; a cell takes the place of its first value."""
    return list(dict.fromkeys(value.column for value in values_of(schema)))


def number_values(schema: type[RowSchema]) -> dict[str, type]:
    """Names of the values that are numbers, with int or float."""
    return {value.name: value.kind for value in values_of(schema) if value.kind in (int, float)}


def empty_figures(schema: type[RowSchema]) -> dict[str, Any]:
    """Empty values for all fields that hold figures, by field name."""
    of_figures = {value.field for value in values_of(schema) if value.is_figure}
    return {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(schema) if f.name in of_figures}
