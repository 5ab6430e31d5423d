"""Reading and writing the CSV files of a run. A missing value is an empty cell; one line is one row."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from runners.text import one_line
from savbench.arguments.errors import UserError
from savbench.results.cells import from_cell, is_missing, open_cell, to_text
from savbench.results.schema import Row, RowSchema, Value, columns, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


_REMEDY = "put back an undamaged copy, remove that line, or give another --out_dir"


class ResultsError(UserError, ValueError):
    """A results file cannot be read; the message names the file and the line."""


def header_line(schema: type[RowSchema]) -> str:
    return _csv_line(columns(schema))


def row_line(row: RowSchema) -> str:
    """The row as one line of CSV. Line breaks and control characters in values become spaces; overlong text is cut."""
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


def read_rows(schema: type[Row], path: Path, *, cut_off: bool = False) -> list[Row]:
    """Read a results file written by this version.

    Args:
        cut_off: ignore an incomplete last line, which a crash may leave; a file without a complete line has no rows.

    Raises:
        ResultsError: the file cannot be read, its header differs from the schema, or a line is damaged; the message names file and line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); fix that or give another --out_dir") from error
    if cut_off:
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return []
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ResultsError(f"{path}:{line}: damaged, not UTF-8 text (byte 0x{data[error.start]:02x}); {_REMEDY}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    rows = []
    try:
        for number, cells in enumerate(reader):
            where, begins = f"{path}:{begins}", reader.line_num + 1
            if number == 0:
                if cells != columns(schema):
                    raise ResultsError(f"{where}: columns differ from this version's; move the file away or give another --out_dir")
            else:
                rows.append(_parse(schema, cells, where))
    except csv.Error as error:
        raise ResultsError(f"{path}:{begins}: damaged, not a row of CSV ({error}); {_REMEDY}") from error
    if not text:
        raise ResultsError(f"{path}:1: columns differ from this version's; move the file away or give another --out_dir")
    return rows


def _parse(schema: type[Row], cells: list[str], where: str) -> Row:
    names = columns(schema)
    if len(cells) != len(names):
        raise ResultsError(f"{where}: damaged, {len(cells)} cells, expected {len(names)}; {_REMEDY}")
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
            raise ResultsError(f"{where}: column {value.column}: {error}; {_REMEDY}") from error
        if value.key is None:
            fields[value.field] = content
        elif content is not None:
            fields.setdefault(value.field, {})[value.key] = content
    for column, left_over in opened.items():
        if left_over:
            raise ResultsError(f"{where}: column {column}: unknown to this version: {', '.join(left_over)}; give another --out_dir")
    return schema(**fields)


def _from_text(value: Value, text: str) -> Any:
    if value.kind is str:
        return text
    try:
        return None if text == "" else value.kind(text)
    except ValueError as error:
        raise ValueError(f"{one_line(text[:40])!r} is not a number") from error


def _csv_line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
