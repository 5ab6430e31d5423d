"""Choose what is compared and form the arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from savbench.compare.blocks import codes_of, concrete
from savbench.data.csv_file import InputError
from savbench.results.circumstances import ARM, SETTINGS
from savbench.results.foreign import KEY, NOT_APPLICABLE, UNKNOWN, Results

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from savbench.compare.blocks import Flags, Positions

FILE = "file"


@dataclass(frozen=True)
class Question:
    """What is compared.

    Attributes:
        columns: columns whose values are the arms.
        is_inferred: the user did not name the columns.
        notes: how the columns were chosen, for the reader.
    """

    columns: tuple[str, ...]
    is_inferred: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arms:
    """The arms: distinct values of the compared columns.

    Attributes:
        labels: labels in order; a requested baseline comes first.
        of_row: label of each row's arm; ignored for reference rows.
        codes: `of_row` as numbers.
        baseline: label of the requested baseline; None if none was requested.
        is_reference: rows of models to which the compared setting does not apply, for example the dtype of a model that has none. They
            form no arms; their figures are shown beside the arms'.
    """

    labels: tuple[str, ...]
    of_row: npt.NDArray[np.object_]
    codes: Positions
    baseline: str | None
    is_reference: Flags


def what_is_compared(results: Results, by: Sequence[str]) -> Question:
    """Return the requested columns, else the files, else the first setting that varies.

    Raises:
        InputError: a requested column does not exist.
    """
    rows = results.rows
    for name in by:
        if name not in rows.columns or name in ("path", "line", *KEY):
            settings = [column for column in SETTINGS if column in rows.columns]
            raise InputError(f"--by {name}: no such column to compare by; usual are {', '.join([FILE, *settings])}")
    if by:
        columns = dict.fromkeys(name for given in by for name in (("device", "device_name") if given == "device" else (given,)))
        return Question(tuple(columns), is_inferred=False)
    if len(results.labels) > 1:
        return Question((FILE,), is_inferred=True)
    varying = [name for name in SETTINGS if len(concrete(rows[name])) > 1]
    if not varying:
        return Question(("model",), is_inferred=True, notes=("one arm: there is nothing to compare it with",))
    first, others = varying[0], [name for name in varying[1:] if name in (*ARM, "device_name", "nvpmodel")]
    shown = f" (also varying: {', '.join(others)}; --by compares another column)" if others else ""
    return Question((first,), is_inferred=True, notes=(f"{first} varies and is what is compared{shown}",))


def with_devices_told_apart(rows: pd.DataFrame, question: Question) -> pd.DataFrame:
    """If devices are compared, replace unknown device names with file labels."""
    if question.is_inferred or "device_name" not in question.columns:
        return rows
    return rows.assign(device_name=rows["device_name"].where(rows["device_name"] != UNKNOWN, rows[FILE]))


def find_arms(rows: pd.DataFrame, question: Question, baseline: str | None) -> Arms:
    """Form the arms from the rows.

    Args:
        baseline: label of the arm to compare the others with; None takes the first.

    Raises:
        InputError: the baseline is not an arm.
    """
    shown = []
    for name in question.columns:
        values = [str(value) for value in rows[name]]
        shown.append([value[:8] for value in values] if name == "weights" else values)
    of_row = np.empty(len(rows), dtype=object)
    of_row[:] = [" ".join(dict.fromkeys(parts)) for parts in zip(*shown, strict=True)]
    is_reference = _references(rows, question)
    labels = tuple(dict.fromkeys(of_row[~is_reference]))
    if baseline is not None:
        if baseline not in labels:
            raise InputError(f"--baseline {baseline}: no such arm; there are {', '.join(labels)}")
        labels = (baseline, *(label for label in labels if label != baseline))
    return Arms(labels, of_row, codes_of(of_row), baseline, is_reference)


def _references(rows: pd.DataFrame, question: Question) -> Flags:
    """Flag rows to which the compared setting does not apply although it applies to others. None if models themselves are compared."""
    without = np.zeros(len(rows), np.bool_)
    for name in () if "model" in question.columns else question.columns:
        applies = rows[name] != NOT_APPLICABLE
        if applies.any():
            without |= ~applies.to_numpy()
    return without if not without.all() else np.zeros(len(rows), np.bool_)
