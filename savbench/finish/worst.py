"""The objects with the lowest J&F of each arm, for --save_overlays worst:N.

Which they are is known only when an arm is done, and its masks are gone by then. So an object's video is written when the object is among
the worst of those finished so far, and the video of the one that it displaces is removed: at most N videos of an arm are on the disk, one
more while it is written. With objects in random order, N (1 + ln(M / N)) of M videos are written for N to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.finish.saving import overlay_of
from savbench.results.systems import whole_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from savbench.results.rows import SummaryRow

Key = tuple[str, str, str]
"""Whole arm, video and object."""


def worst_rows(rows: Iterable[SummaryRow], count: int) -> list[SummaryRow]:
    """Return the `count` rows of each arm with the lowest J&F, lowest first; rows without one are left out."""
    of_arm: dict[str, list[SummaryRow]] = {}
    for row in rows:
        if row.status == "ok" and row.JandF is not None:
            of_arm.setdefault(whole_id(row.arm_id), []).append(row)
    return [row for listed in of_arm.values() for row in sorted(listed, key=_rank)[:count]]


class WorstObjects:
    """Keeps the videos of the worst objects while rows are finished."""

    def __init__(self, count: int, out_dir: Path, rows: Iterable[SummaryRow]) -> None:
        """
        Args:
            rows: finished earlier; those that are not among the worst are forgotten.
        """
        self._count = count
        self._out_dir = out_dir
        self._kept: dict[Key, SummaryRow] = {_key(row): row for row in worst_rows(rows, count)}

    def takes(self, row: SummaryRow) -> bool:
        """Whether a finished row is among the worst of its arm, so that its video is to be written."""
        others = [other for key, other in self._kept.items() if key != _key(row)]
        return row in worst_rows([*others, row], self._count)

    def add(self, row: SummaryRow) -> None:
        """Count a row whose video was written, and remove the video of the one that it displaces."""
        self._kept[_key(row)] = row
        keys = {_key(kept) for kept in worst_rows(self._kept.values(), self._count)}
        for key in self._kept.keys() - keys:
            (self._out_dir / overlay_of(self._kept.pop(key))).unlink(missing_ok=True)


def _key(row: SummaryRow) -> Key:
    return whole_id(row.arm_id), row.video, row.object


def _rank(row: SummaryRow) -> tuple[float, str, str]:
    return row.JandF or 0.0, row.video, row.object
