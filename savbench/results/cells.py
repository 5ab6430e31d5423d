"""Cells that hold a JSON object: the details of one feature, by the names of their values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runners.text import one_line
from savbench.results.schema import RowSchema, Value, values_of

if TYPE_CHECKING:
    from savbench.data.csv_file import CsvFile

LONGEST_TEXT = 30_000
"""Characters of a text: spreadsheets take 32767 in a cell, Python's reader 131072."""
_KINDS_IN_WORDS: dict[type, str] = {str: "text", float: "a number", int: "a whole number", dict: "an object of numbers"}


def is_missing(content: Any) -> bool:
    return content is None or content == "" or content == {}


def to_text(content: Any) -> str:
    """A value, or a cell's object without missing values, as it is written."""
    content = _plain(content)
    if is_missing(content):
        return ""
    if isinstance(content, (dict, list)):
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return repr(content) if isinstance(content, float) else str(content)


def open_cell(text: str) -> dict[str, Any]:
    """What a cell holds; nothing where it is empty.

    Raises:
        ValueError: it holds something else than a JSON object.
    """
    if not text.strip():
        return {}
    try:
        details = json.loads(text)
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict):
        raise ValueError(f"{_shown(text)} is no JSON object")
    return details


def from_cell(value: Value, content: Any) -> Any:
    """A value of a row from what its cell has under its name, None where that is missing.

    Raises:
        ValueError: it is of another kind.
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
    """Give every value that lies in a cell a column of its own, as text, in place of the cell's.

    Keys that the schema does not know become columns too, as unknown columns are kept.

    Returns:
        What is wrong: cells that are no JSON object, which count as empty. Each names file and line.
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
                faults.append(f"{csv_file.path}:{line}: column {column}: {error}; mend or empty the cell")
        known = [value.name for value in values_of(schema) if value.column == column]
        for name in dict.fromkeys([*known, *(name for of_text in details.values() for name in of_text)]):
            # a part of a concatenated file may have this value as a column
            others = csv_file.columns.get(name, [None] * len(texts))
            csv_file.columns[name] = [
                other if text is None else details[text].get(name, "") for text, other in zip(texts, others, strict=True)
            ]
    return faults


def _plain(content: Any) -> Any:
    """Floats of any library as Python's, text on one line and of a length that readers take."""
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
