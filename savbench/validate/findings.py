"""The tables that checks read and the report that they fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from savbench.data.csv_file import CsvFile, InputError
from savbench.results.cells import spread_cells
from savbench.results.foreign import to_numbers
from savbench.results.schema import columns, number_values, values_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from savbench.results.schema import Row


KEY = ("arm_id", "video", "object")


RELATIVE = 1e-9


_SHOWN = 3


Numbers = npt.NDArray[np.float64]


Flags = npt.NDArray[np.bool_]


Positions = npt.NDArray[np.int64]


@dataclass
class Report:
    """Result of the checks: `problems` fail the run, `notes` say what could not be checked, `checked` says what was."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)


class Table:
    """A results file by value, including values inside JSON cells: `text` as written, `numbers` as float64 with NaN for empty cells."""

    def __init__(self, csv_file: CsvFile, schema: type[Row], report: Report) -> None:
        self.path = csv_file.path
        self.lines = np.array(csv_file.lines)
        size = len(csv_file.lines)
        report.problems += csv_file.notes
        absent = [name for name in columns(schema) if name not in csv_file.columns]
        report.problems += spread_cells(csv_file, schema)
        names = [value.name for value in values_of(schema)]
        if absent:
            report.problems.append(f"{self.path.name}:1: missing column {', '.join(absent)}")
        extra = [name for name in csv_file.columns if name not in names]
        if extra:
            report.notes.append(f"{self.path.name}:1: columns unknown to the schema: {', '.join(extra)}")
        self.text = {name: np.array([cell or "" for cell in csv_file.columns.get(name, [""] * size)], dtype=object) for name in names}
        self.numbers: dict[str, Numbers] = {}
        notes: list[str] = []
        for name in number_values(schema):
            self.numbers[name] = np.full(size, np.nan)
            if name in csv_file.columns:
                try:
                    self.numbers[name] = to_numbers(csv_file, name, notes)
                except InputError as error:
                    report.problems.append(str(error))
        report.problems += notes

    def flag(self, report: Report, wrong: Flags, message: Callable[[int], str]) -> None:
        """Report wrong rows: the first `_SHOWN` with their message, the others as a count."""
        rows = np.flatnonzero(wrong)
        for row in rows[:_SHOWN]:
            name = "/".join(self.text[part][row] for part in ("video", "object"))
            report.problems.append(f"{self.path.name}:{self.lines[row]} ({name}): {message(row)}")
        if len(rows) > _SHOWN:
            report.problems.append(f"{self.path.name}: and {len(rows) - _SHOWN} more rows like the last")

    def repeats(self, names: tuple[str, ...]) -> Flags:
        """Which rows repeat an earlier row in these columns."""
        return pd.DataFrame({name: self.text[name] for name in names}).duplicated().to_numpy()


def keys_of(table: Table) -> list[tuple[str, str, str]]:
    return list(zip(*(table.text[name] for name in KEY), strict=True))


def positions_by_key(frames: Table) -> dict[tuple[str, str, str], Positions]:
    positions: dict[tuple[str, str, str], list[int]] = {}
    for position, key in enumerate(keys_of(frames)):
        positions.setdefault(key, []).append(position)
    return {key: np.array(listed) for key, listed in positions.items()}


def close(one: Numbers, other: Numbers) -> Flags:
    """Where both are equal up to rounding, or both missing."""
    return np.isclose(one, other, rtol=RELATIVE, atol=1e-12, equal_nan=True)
