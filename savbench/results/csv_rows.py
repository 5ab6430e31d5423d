"""Reading and writing the CSV files of a run. A missing value is an empty cell, and a line is always a row."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.results.schema import Row, columns, kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class ResultsError(ValueError):
    """A results file cannot be read; the message names the file and the line."""


def header_line(schema: type[Row]) -> str:
    return _csv_line(columns(schema))


def row_line(row: Row) -> str:
    """The row as one line of CSV. Line breaks within a value become spaces, so that a line is always a row."""
    return _csv_line([_cell(getattr(row, name)) for name in columns(type(row))])


def read_rows(schema: type[Row], path: Path) -> list[Row]:
    """Read a results file of this version.

    Raises:
        ResultsError: the header is not this schema's, or a value has the wrong type; names file and line.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if header != columns(schema):
            raise ResultsError(f"{path}:1: not the columns of this version; move the file away or give another --out_dir")
        return [_parse(schema, cells, f"{path}:{reader.line_num}") for cells in reader]


def _parse(schema: type[Row], cells: list[str], where: str) -> Row:
    kinds = kinds_of(schema)
    names = columns(schema)
    if len(cells) != len(names):
        raise ResultsError(f"{where}: {len(cells)} cells, expected {len(names)}")
    values: dict[str, Any] = {}
    for name, text in zip(names, cells, strict=True):
        kind = kinds[name]
        try:
            values[name] = text if kind is str else (None if text == "" else kind(text))
        except ValueError as error:
            raise ResultsError(f"{where}: column {name}: {text!r} is not a number") from error
    return schema(**values)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(float(value))
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
