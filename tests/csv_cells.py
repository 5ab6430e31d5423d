"""Changing one value of a results file, whether it is a column or lies in a cell."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from savbench.results.rows import SummaryRow
from savbench.results.schema import values_of


def change_value(path: Path, line: int, name: str, text: str) -> None:
    """Write `text`, or where the value lies in a cell what it is as JSON, into a line of a file; an empty text removes the value."""
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    if name in table[0]:
        table[line - 1][table[0].index(name)] = text
    else:
        index = table[0].index(next(value.column for value in values_of(SummaryRow) if value.name == name))
        details: dict[str, Any] = json.loads(table[line - 1][index] or "{}")
        details.pop(name, None)
        if text:
            details[name] = json.loads(text)
        table[line - 1][index] = json.dumps(details)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
