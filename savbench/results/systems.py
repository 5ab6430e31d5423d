"""Describe the system a row was measured on, and check whether rows of one arm can be combined.

An arm's id identifies the requested settings. Its rows record the system: versions, device, power mode and hash of the weights. If the
system changes between two invocations of a run, the arm would mix two systems: the run continues only with --accept_changes, and then
under a new id that names the arm it belongs to.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SYSTEM = ("protocol_version", "torch_version", "benchmark_version", "implementation", "device", "device_name", "nvpmodel", "weights")
"""Columns that must be equal in all rows of an arm; with several machines under --executor ray, in all rows of one machine."""

_SEPARATOR = "~"


def system_of(row: object) -> dict[str, str]:
    """Return the columns of `SYSTEM` that a row has, without empty ones. If the power mode changed, the last one counts.

    Args:
        row: a row, or any object with some of its attributes.
    """
    given = {name: getattr(row, name, None) for name in SYSTEM}
    told = {name: str(value).rpartition(" > ")[2].removeprefix("MODE_") for name, value in given.items() if value is not None}
    return {name: text for name, text in told.items() if text}


def changes(before: Iterable[Mapping[str, str]], now: Mapping[str, str]) -> list[str]:
    """Describe changes as `torch_version was 2.5.0 and is 2.6.0`; empty if nothing is known to have changed.

    Args:
        before: systems of earlier rows, from `system_of`.
        now: the present system.
    """
    known = _values(before)
    return [f"{name} was {' and '.join(known[name])} and is {text}" for name, text in now.items() if known.get(name, [text]) != [text]]


def mixed(systems: Iterable[Mapping[str, str]]) -> list[str]:
    """Describe differences among rows that should be of one system, as `torch_version 2.5.0 and 2.6.0`."""
    return [f"{name} {' and '.join(texts)}" for name, texts in _values(systems).items() if len(texts) > 1]


def _values(systems: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the distinct values by name, in order of first appearance."""
    values: dict[str, dict[str, None]] = {}
    for system in systems:
        for name, text in system.items():
            values.setdefault(name, {})[text] = None
    return {name: list(texts) for name, texts in values.items()}


def split_id(arm_id: str, now: Mapping[str, str]) -> str:
    """Return the id of the part of an arm that is measured on this system."""
    digest = hashlib.sha256(json.dumps(sorted(now.items())).encode()).hexdigest()[:6]
    return f"{whole_id(arm_id)}{_SEPARATOR}{digest}"


def whole_id(arm_id: str) -> str:
    """Return the id of the arm that a part belongs to; the id itself if the arm was never split."""
    return arm_id.partition(_SEPARATOR)[0]


def is_part(arm_id: str) -> bool:
    return _SEPARATOR in arm_id
