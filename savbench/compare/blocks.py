"""Form blocks: rows that agree in every setting that is not compared. An unknown or inapplicable setting agrees with any value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Positions = npt.NDArray[np.int64]
"""Positions of rows in `Results.rows`."""
Flags = npt.NDArray[np.bool_]
Setting = tuple[str, ...]
"""Values of the columns used to pair rows."""


@dataclass(frozen=True)
class Block:
    """Rows that agree in every setting that is not compared.

    Attributes:
        setting: values of the pairing columns, by column.
        arms: positions of the rows by arm, in the order of the arms; includes rows without figures.
        references: positions of reference rows by model: models to which the compared setting does not apply.
    """

    setting: dict[str, str]
    arms: dict[str, Positions]
    references: dict[str, Positions] = field(default_factory=dict)


@dataclass(frozen=True)
class CodedRows:
    """Rows with integer codes for the values of each column, used for grouping.

    Attributes:
        rows: as in `Results.rows`.
        codes: codes by column, from 0 in order of first appearance.
        live: rows to pair; the others are references or repeat an earlier row.
    """

    rows: pd.DataFrame
    codes: Mapping[str, Positions]
    live: Flags

    def groups(self, names: Iterable[str], *more: Positions) -> Positions:
        """Number the rows so that two have the same number only if they are equal in all these columns."""
        return combined([np.zeros(len(self.rows), np.int64), *more, *(self.codes[name] for name in names)])


def codes_of(values: npt.NDArray[np.object_]) -> Positions:
    """Code each distinct value, from 0 in order of first appearance."""
    return pd.factorize(values, use_na_sentinel=False)[0].astype(np.int64)


def combined(columns: Sequence[Positions]) -> Positions:
    """Code each distinct combination of codes."""
    codes = columns[0]
    for column in columns[1:]:
        codes = pd.factorize(codes * (int(column.max()) + 1) + column)[0].astype(np.int64)
    return codes


def concrete(values: Iterable[str]) -> set[str]:
    """Return the distinct values without unknown and inapplicable ones."""
    return set(values) - {UNKNOWN, NOT_APPLICABLE}


def form_blocks(table: CodedRows, paired_by: Sequence[str], arm_of_row: npt.NDArray[np.object_], arms: Sequence[str]) -> tuple[Block, ...]:
    """Form one block per setting, in order of first appearance. Rows of a vague setting join every block they agree with.

    Args:
        paired_by: columns that make up a setting.
        arm_of_row: label of each row's arm.
        arms: labels in order.
    """
    positions = _by_setting(table, paired_by)
    order = {setting: index for index, setting in enumerate(positions)}
    settings = _distinct_settings(positions)
    settings.sort(key=lambda setting: min(order[other] for other in positions if agree(setting, other)))
    blocks = []
    for setting in settings:
        inside = np.sort(np.concatenate([rows for other, rows in positions.items() if agree(setting, other)]))
        of_arm = {arm: inside[arm_of_row[inside] == arm] for arm in arms}
        blocks.append(Block(dict(zip(paired_by, setting, strict=True)), {arm: rows for arm, rows in of_arm.items() if rows.size}))
    return tuple(blocks)


def _by_setting(table: CodedRows, paired_by: Sequence[str]) -> dict[Setting, Positions]:
    """Return the positions of the live rows by setting, in order of first appearance."""
    live = np.flatnonzero(table.live)
    _, first, group = np.unique(table.groups(paired_by)[live], return_index=True, return_inverse=True)
    group = group.reshape(-1)
    positions: dict[Setting, Positions] = {}
    for number in np.argsort(first):
        inside = live[group == number]
        positions[tuple(str(table.rows[name].iloc[inside[0]]) for name in paired_by)] = inside
    return positions


def _distinct_settings(settings: Iterable[Setting]) -> list[Setting]:
    """Return settings that disagree pairwise; merge a vague setting into another if it agrees with only that one."""
    distinct: list[Setting] = []
    for setting in sorted(settings, key=_vagueness):
        agreeing = [index for index, other in enumerate(distinct) if agree(setting, other)]
        if not agreeing:
            distinct.append(setting)
        elif len(agreeing) == 1:
            distinct[agreeing[0]] = _merged(distinct[agreeing[0]], setting)
    return distinct


def _is_vague(value: str) -> bool:
    return value in (UNKNOWN, NOT_APPLICABLE)


def _vagueness(setting: Setting) -> int:
    return sum(map(_is_vague, setting))


def agree(one: Setting, other: Setting) -> bool:
    """Whether two settings are equal wherever both are known and apply."""
    return all(a == b or _is_vague(a) or _is_vague(b) for a, b in zip(one, other, strict=True))


def _merged(one: Setting, other: Setting) -> Setting:
    return tuple(b if _is_vague(a) and not _is_vague(b) else a for a, b in zip(one, other, strict=True))
