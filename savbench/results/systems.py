"""What a row was measured on, and whether rows of one arm can be taken together.

An arm's id says what was asked for. What answered, the versions, the device, its power mode and the bytes of the weights, is in its rows.
Where that changes between two invocations of a run, the arm would mix two systems: the run goes on only with --accept_changes, and then
under an id of its own, which says to which arm it belongs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SYSTEM = ("torch_version", "benchmark_version", "implementation", "device", "device_name", "nvpmodel", "weights")
"""Columns that are to be the same in all rows of an arm, of one machine where --executor ray has several."""

_SEPARATOR = "~"


def system_of(row: object) -> dict[str, str]:
    """What a row tells of `SYSTEM`; without what it does not tell. A power mode that changed is the last one.

    Args:
        row: a row, or anything that has some of its attributes.
    """
    told = {name: str(getattr(row, name, "")).rpartition(" > ")[2].removeprefix("MODE_") for name in SYSTEM}
    return {name: text for name, text in told.items() if text}


def changes(before: Iterable[Mapping[str, str]], now: Mapping[str, str]) -> list[str]:
    """What is no longer as it was, in words, `torch_version was 2.5.0 and is 2.6.0`; empty where nothing is known to have changed.

    Args:
        before: of rows, as `system_of` gives it.
    """
    known = _values(before)
    return [f"{name} was {' and '.join(known[name])} and is {text}" for name, text in now.items() if known.get(name, [text]) != [text]]


def mixed(systems: Iterable[Mapping[str, str]]) -> list[str]:
    """What differs among rows that should be of one system, in words, `torch_version 2.5.0 and 2.6.0`."""
    return [f"{name} {' and '.join(texts)}" for name, texts in _values(systems).items() if len(texts) > 1]


def _values(systems: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """Distinct values by name, in the order in which they first come."""
    values: dict[str, dict[str, None]] = {}
    for system in systems:
        for name, text in system.items():
            values.setdefault(name, {})[text] = None
    return {name: list(texts) for name, texts in values.items()}


def split_id(arm_id: str, now: Mapping[str, str]) -> str:
    """Id of the part of an arm that is measured on this system."""
    digest = hashlib.sha256(json.dumps(sorted(now.items())).encode()).hexdigest()[:6]
    return f"{whole_id(arm_id)}{_SEPARATOR}{digest}"


def whole_id(arm_id: str) -> str:
    """Id of the arm that a part belongs to; an arm that was never split is whole."""
    return arm_id.partition(_SEPARATOR)[0]


def is_part(arm_id: str) -> bool:
    return _SEPARATOR in arm_id
