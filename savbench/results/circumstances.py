"""Columns of results that a measurement depends on, and their role in comparisons, read from the schema's declarations.

The order is the order in which differences are searched: the machine first, then settings in the order of `RunConfig`, then others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.arguments.declared import Column, Compared, columns_of
from savbench.plan.settings import RunConfig
from savbench.results.rows import SummaryRow
from savbench.results.schema import compared_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE = ("device", "device_name", "nvpmodel")


def _compared() -> Iterator[tuple[str, Compared, Column | None]]:
    found = compared_of(SummaryRow)
    for name in dict.fromkeys((*MACHINE, *columns_of(RunConfig), *found)):
        if name in found:
            yield name, *found[name]


def _with(role: Compared) -> tuple[str, ...]:
    return tuple(name for name, compared, _ in _compared() if role in compared)


ARM = _with(Compared.ARM)
"""Columns that identify an arm."""
CIRCUMSTANCES = tuple(name for name, _, _ in _compared() if name not in ARM)
"""Other columns that a measurement depends on."""
SETTINGS = (*ARM, *CIRCUMSTANCES)
MUST_AGREE = _with(Compared.MUST_AGREE)
"""Circumstances that must be equal for results to be compared; a comparison of boards is about the others."""
TELLS_APART = _with(Compared.TELLS_APART)
"""Circumstances that distinguish rows of one object if nothing else does."""
KNOWN_ONCE_BUILT = tuple(name for name, _, declared in _compared() if declared is None or declared.filled == "applied")
"""Columns that may be empty in a row that failed before its model was built; the arm's other rows have them."""
MEANING_OF_EMPTY = {name: declared.empty for name, _, declared in _compared() if declared is not None and declared.empty}
"""Meaning of an empty cell, by column; in other columns an empty cell means unknown."""
