"""Cells that hold a JSON object: the details of one feature, by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runners.text import one_line
from savbench.results.schema import RowSchema, Value, values_of

if TYPE_CHECKING:
    from savbench.data.csv_file import CsvFile

LONGEST_TEXT = 30_000
"""Characters in a text: spreadsheets allow 32767 in a cell, Python's csv reader 131072."""
_KINDS_IN_WORDS: dict[type, str] = {str: "text", float: "a number", int: "a whole number", dict: "an object of numbers"}


def is_missing(content: Any) -> bool:
    return content is None or content == "" or content == {}


def to_text(content: Any) -> str:
    """Text of a value, or of a cell's object without missing values, as written to CSV."""
    content = _plain(content)
    if is_missing(content):
        return ""
    if isinstance(content, (dict, list)):
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return repr(content) if isinstance(content, float) else str(content)


def open_cell(text: str) -> dict[str, Any]:
    """Parse a cell; an empty cell gives an empty dict.

    Raises:
        ValueError: the cell is not a JSON object.
    """
    if not text.strip():
        return {}
    try:
        details = json.loads(text)
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict):
        raise ValueError(f"{_shown(text)} is not a JSON object")
    return details


def from_cell(value: Value, content: Any) -> Any:
    """A value of a row from its entry in a cell; missing is None or, for text and mappings, empty.

    Raises:
        ValueError: the entry has another type.
    """
    if content is None:
        return value.kind() if value.kind in (str, dict) else None
    if value.kind is str and isinstance(content, str):
        return content
    if value.kind is float and _is_number(content):
        return float(content)
    if value.kind is int and _is_number(content) and isinstance(content, int):
        return content
    if value.kind is dict and isinstance(content, dict) and all(map(_is_number, content.values())):
        return {name: float(number) for name, number in content.items()}
    raise ValueError(f"{value.name}: {_shown(json.dumps(content))} is not {_KINDS_IN_WORDS[value.kind]}")


def spread_cells(csv_file: CsvFile, schema: type[RowSchema]) -> list[str]:
    """Replace each cell column by one text column per value in the cell.

    Keys unknown to the schema also become columns, as unknown columns are kept.

    Returns:
        A message with file and line for each cell that is not a JSON object; such cells count as empty.
    """
    faults: list[str] = []
    for column in {value.column: value for value in values_of(schema) if value.cell is not None}:
        if column not in csv_file.columns:
            continue
        texts = csv_file.columns.pop(column)
        details: dict[str | None, dict[str, str]] = {}
        for text, line in zip(texts, csv_file.lines, strict=True):
            if text in details:
                continue
            try:
                details[text] = {name: to_text(content) for name, content in open_cell(text or "").items()}
            except ValueError as error:
                details[text] = {}
                faults.append(f"{csv_file.path}:{line}: column {column}: {error}; correct or empty the cell")
        known = [value.name for value in values_of(schema) if value.column == column]
        for name in dict.fromkeys([*known, *(name for of_text in details.values() for name in of_text)]):
            # in a concatenated file, some parts may have this value as a column
            others = csv_file.columns.get(name, [None] * len(texts))
            csv_file.columns[name] = [
                other if text is None else details[text].get(name, "") for text, other in zip(texts, others, strict=True)
            ]
    return faults


def _plain(content: Any) -> Any:
    """Convert floats of any library to Python's; put text on one line and cut it to `LONGEST_TEXT`."""
    if isinstance(content, dict):
        return {name: _plain(part) for name, part in content.items()}
    if isinstance(content, float):
        return float(content)
    if isinstance(content, str):
        line = one_line(content)
        return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 4]} ..."
    return content


def _is_number(content: Any) -> bool:
    return isinstance(content, (int, float)) and not isinstance(content, bool)


def _shown(text: str) -> str:
    return repr(one_line(text[:40]) + "..." * (len(text) > 40))
