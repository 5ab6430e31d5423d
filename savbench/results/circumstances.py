"""What a measurement depends on, as columns of results, and what a comparison makes of them: read from the schema's declarations.

The order is that in which a difference is looked for: the machine first, then settings in the order of `RunConfig`, then other columns.
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
"""What an arm is made of."""
CIRCUMSTANCES = tuple(name for name, _, _ in _compared() if name not in ARM)
"""What else a measurement depends on."""
SETTINGS = (*ARM, *CIRCUMSTANCES)
MUST_AGREE = _with(Compared.MUST_AGREE)
"""Circumstances under which results cannot be compared where they differ; the others are what a comparison of boards is about."""
TELLS_APART = _with(Compared.TELLS_APART)
"""Circumstances that tell rows of one object apart, where nothing else does."""
KNOWN_ONCE_BUILT = tuple(name for name, _, declared in _compared() if declared is None or declared.filled == "applied")
"""Columns that a row which failed before its model was built may lack; the arm's other rows tell."""
MEANING_OF_EMPTY = {name: declared.empty for name, _, declared in _compared() if declared is not None and declared.empty}
"""What an empty cell says; of any other column, nothing."""
