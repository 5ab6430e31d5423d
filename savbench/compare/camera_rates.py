"""Streaming J&F by camera rate: one curve per arm, and the leading arm at each rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from savbench.compare.findings import ArmSummary, BlockComparison

RATE = "camera_fps"


@dataclass(frozen=True)
class Curve:
    """Scores of one arm by camera rate."""

    arm: str
    offline: float | None
    """Mean J&F over objects, taken at the lowest rate that has it, since offline scores do not depend on the rate."""
    streaming: tuple[float | None, ...]
    """Streaming J&F at each rate; None if missing."""


@dataclass(frozen=True)
class RateTable:
    """Curves over blocks that differ only in the camera rate.

    Attributes:
        setting: the settings that the blocks share.
        device: device on which all latencies were measured; empty if there are several.
        rates: camera rates in frames per second, as written in the rows, ascending.
        highest: arms with the highest mean, first offline, then at each rate; several if tied; none if the arms have different numbers of
            objects, any is untrained, or fewer than two have a score.
    """

    setting: dict[str, str]
    device: str
    rates: tuple[str, ...]
    curves: tuple[Curve, ...]
    highest: tuple[tuple[str, ...], ...]


def rate_tables(blocks: Iterable[BlockComparison]) -> list[RateTable]:
    """Build a table for each group of blocks that differ only in the rate and have at least two rates."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, BlockComparison]] = {}
    for block in blocks:
        if _is_rate(block.setting.get(RATE, "")):
            rest = tuple((name, value) for name, value in block.setting.items() if name != RATE)
            groups.setdefault(rest, {})[block.setting[RATE]] = block
    return [_table(dict(rest), group) for rest, group in groups.items() if len(group) > 1]


def _is_rate(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _table(setting: dict[str, str], of_rate: dict[str, BlockComparison]) -> RateTable:
    rates = tuple(sorted(of_rate, key=float))
    columns = [{arm.arm: arm for arm in of_rate[rate].arms} for rate in rates]
    names = list(dict.fromkeys(name for column in columns for name in column))
    curves = []
    for name in names:
        found = [column.get(name) for column in columns]
        offline = next((arm.means.JandF for arm in found if arm is not None and arm.means is not None), None)
        curves.append(Curve(name, offline, tuple(None if arm is None else arm.figures.get("streaming_JandF") for arm in found)))
    highest = [_highest({curve.arm: curve.offline for curve in curves}, columns[0])]
    for index, column in enumerate(columns):
        highest.append(_highest({curve.arm: curve.streaming[index] for curve in curves}, column))
    devices = {arm.streaming_device for column in columns for arm in column.values()}
    return RateTable(setting, devices.pop() if len(devices) == 1 else "", rates, tuple(curves), tuple(highest))


def _highest(scores: dict[str, float | None], arms: dict[str, ArmSummary]) -> tuple[str, ...]:
    known = {name: score for name, score in scores.items() if score is not None}
    counts = {(arm.scored, arm.timed) for arm in arms.values()}
    if len(known) < 2 or len(counts) > 1 or any(arm.random for arm in arms.values()):
        return ()
    best = max(known.values())
    return tuple(name for name, score in known.items() if score == best)
