"""All rows of the results, reduced to the columns that vary, for the page's sortable table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from savbench.report.arms import numbers, texts
from savbench.results.rows import SummaryRow
from savbench.results.schema import number_values, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from savbench.report.arms import Arm

MOST_CELLS = 600_000
"""Maximum number of cells, about 6 MB of the page."""
DIGITS = 6
"""Significant digits; the CSV has all."""
FIRST = ("video", "object", "status", "J", "F", "JandF", "fps", "latency_ms", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms")
AT_FIRST = frozenset({
    *(name for name in FIRST if name not in ("latency_ms", "latency_p99_ms")), "unified_peak_used_MiB", "gpu_peak_alloc_MiB",
    "cpu_peak_rss_MiB", "energy_j_per_frame", "streaming_JandF", "session_latency_ms", "shared", "validity", "error",
})  # fmt: skip
"""Columns shown by default."""
_LEFT_OUT = frozenset({"path", "line", "failure", "invalid"})
_PLAIN_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_MEANINGS = {value.name: value.meaning for value in values_of(SummaryRow)} | {"arm": "Name of the arm in this report."}


@dataclass(frozen=True)
class Column:
    name: str
    meaning: str
    is_number: bool
    at_first: bool


@dataclass(frozen=True)
class RowsTable:
    """
    Attributes:
        cells: a list per row; None if a number is missing.
        constant: columns with the same value in every row, and that value.
        left_out: number of rows that did not fit.
    """

    columns: tuple[Column, ...]
    cells: tuple[tuple[str | float | None, ...], ...]
    constant: tuple[tuple[str, str], ...]
    left_out: int


def make_rows_table(rows: pd.DataFrame, arms: Sequence[Arm]) -> RowsTable:
    """Make the table in the order of the files. Leaves out empty columns; names constant columns once."""
    label_of = {int(position): arm.shown for arm in arms for position in arm.rows}
    known = number_values(SummaryRow)
    listed = [*FIRST, *(value.name for value in values_of(SummaryRow)), *map(str, rows.columns)]
    names = [name for name in dict.fromkeys(listed) if name in rows and name not in _LEFT_OUT and _PLAIN_NAME.fullmatch(name)]
    columns = [Column("arm", _MEANINGS["arm"], False, True)]
    values: list[list[str | float | None]] = [[label_of.get(position, "") for position in range(len(rows))]]
    constant = []
    for name in names:
        # the loader keeps numeric settings as text, with a word if they do not apply
        is_number = name in known or rows[name].dtype.kind == "f"
        column: list[str | float | None] = _numbers(rows, name) if is_number else [*texts(rows, name)]
        distinct = set(column)
        if distinct <= {None, ""}:
            continue
        if len(distinct) == 1 and len(rows) > 1 and name not in FIRST:
            constant.append((name, str(column[0])))
            continue
        columns.append(Column(name, _MEANINGS.get(name, ""), is_number, name in AT_FIRST or (name == "file" and len(distinct) > 1)))
        values.append(column)
    most = max(1, MOST_CELLS // len(columns))
    cells = tuple(zip(*(column[:most] for column in values), strict=True))
    return RowsTable(tuple(columns), cells, tuple(constant), max(0, len(rows) - most))


def _numbers(rows: pd.DataFrame, name: str) -> list[str | float | None]:
    """Return rounded numbers; None if a cell is empty or a word such as `all`."""
    found: list[str | float | None] = []
    for value in numbers(rows, name):
        if np.isnan(value):
            found.append(None)
        else:
            rounded = float(f"{value:.{DIGITS}g}")
            found.append(int(rounded) if rounded.is_integer() else rounded)
    return found
