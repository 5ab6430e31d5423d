"""Reading and writing the CSV files of a run. A missing value is an empty cell, and a line is always a row."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from savbench.results.cells import from_cell, is_missing, open_cell, to_text
from savbench.results.schema import Row, RowSchema, Value, columns, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ResultsError(ValueError):
    """A results file cannot be read; the message names the file and the line."""


def header_line(schema: type[RowSchema]) -> str:
    return _csv_line(columns(schema))


def row_line(row: RowSchema) -> str:
    """The row as one line of CSV. Line breaks within a value become spaces, so that a line is always a row."""
    by_column: dict[str, Any] = {}
    for value in values_of(type(row)):
        content = value.of(row)
        if value.cell is None:
            by_column[value.column] = content
        else:
            details = by_column.setdefault(value.column, {})
            if not is_missing(content):
                details[value.name] = content
    return _csv_line(map(to_text, by_column.values()))


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
    names = columns(schema)
    if len(cells) != len(names):
        raise ResultsError(f"{where}: {len(cells)} cells, expected {len(names)}")
    texts = dict(zip(names, cells, strict=True))
    fields: dict[str, Any] = {}
    opened: dict[str, dict[str, Any]] = {}
    for value in values_of(schema):
        try:
            if value.cell is None:
                content = _from_text(value, texts[value.column])
            else:
                if value.column not in opened:
                    opened[value.column] = open_cell(texts[value.column])
                content = from_cell(value, opened[value.column].pop(value.name, None))
        except ValueError as error:
            raise ResultsError(f"{where}: column {value.column}: {error}") from error
        if value.key is None:
            fields[value.field] = content
        elif content is not None:
            fields.setdefault(value.field, {})[value.key] = content
    for column, left_over in opened.items():
        if left_over:
            raise ResultsError(f"{where}: column {column}: this version does not know {', '.join(left_over)}; give another --out_dir")
    return schema(**fields)


def _from_text(value: Value, text: str) -> Any:
    if value.kind is str:
        return text
    try:
        return None if text == "" else value.kind(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number") from error


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
