"""Deliveries of objects that are finished together, held until every object of their video has come or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from savbench.data.video import in_order
from savbench.results.systems import whole_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from savbench.data.video import Target
    from savbench.plan.arms import Arm
    from savbench.results.delivery import Delivery

Held = tuple["Arm", "Delivery", "Mapping[str, Any]"]
"""An arm, its delivery and the event that this was parsed from."""


class Gathering:
    """Holds nothing if objects are finished one by one."""

    def __init__(self, targets: Iterable[Target], *, together: bool) -> None:
        """
        Args:
            targets: all targets of the run.
        """
        self._together = together
        self._objects: dict[str, list[str]] = {}
        for target in targets:
            self._objects.setdefault(target.video, []).append(target.object)
        self._held: dict[tuple[str, str], dict[str, Held]] = {}

    def holds(self, arm_id: str, video: str, name: str) -> bool:
        """Whether an object's delivery is held."""
        return name in self._held.get((whole_id(arm_id), video), {})

    def add(self, held: Held) -> None:
        arm, delivery, _ = held
        self._held.setdefault((whole_id(arm.arm_id), delivery.row.video), {})[delivery.row.object] = held

    def take(self, arm_id: str, video: str, has_row: Callable[[str], bool]) -> list[Held]:
        """The deliveries of a video in the order of its objects, if no more will come; else none.

        Args:
            has_row: whether an object has a row already.
        """
        key = (whole_id(arm_id), video)
        held = self._held.get(key, {})
        if self._together and not all(name in held or has_row(name) for name in self._objects.get(video, [])):
            return []
        self._held.pop(key, None)
        return [held[name] for name in sorted(held, key=in_order)]
