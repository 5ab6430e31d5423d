"""How one worker process ended, and how the successive workers of one arm failed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savbench.results.delivery import ModelFacts

SAME_FAILURE_LIMIT = 3
"""Consecutive workers that end for the same reason without finishing an object before the arm is given up."""

Key = tuple[str, str]
"""Video and object."""


@dataclasses.dataclass
class WorkerOutcome:
    """What one worker process did, according to its events."""

    finished: int = 0
    """Objects whose rows arrived."""
    under_way: list[Key] = dataclasses.field(default_factory=list)
    """Objects of the session that has begun and not ended."""
    last_frame: int | None = None
    """The last frame of the clip that the worker reported done for the objects under way."""
    facts: ModelFacts | None = None
    """None if the model was not built."""
    forecast: dict[str, float] = dataclasses.field(default_factory=dict)
    """Columns of --memory_budget, if the worker refused the arm."""
    node: str = ""
    """Name of the machine that ran the worker; empty for this machine."""
    death: tuple[str, str] | None = None
    """Status and reason, if the worker ended before it finished."""
    invalid: str = ""
    """With --strict: why a row was rejected. Every row after it was rejected too."""
    refused: str = ""
    """Why the arm must not run any further; empty if it may."""
    system: dict[str, str] = dataclasses.field(default_factory=dict)
    """The system the worker runs on, as `savbench.results.systems.system_of` returns it."""
    changes: list[str] = dataclasses.field(default_factory=list)
    """What differs from the system of the arm's earlier rows, if --accept_changes allows it. No object ran under this arm id."""
    is_enough: bool = False
    """With --sustained: the course is complete."""

    @property
    def is_cut_short(self) -> bool:
        """Whether the rest of the worker's output is of no use."""
        return bool(self.invalid or self.refused or self.changes or self.is_enough)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns known for a row whose object failed."""
        facts = {} if self.facts is None else vars(self.facts)
        return {**facts, **self.forecast, "node": self.node}

    def end(self, ended: tuple[str, str] | None, targets: int) -> None:
        """
        Args:
            ended: how the process ended, as `WorkerProcess.wait` returns it.
            targets: number of objects in its job.
        """
        # the worker's own report says more than its exit status
        self.death = self.death or ended
        if self.death is None and self.finished < targets:
            self.death = "error", "the worker ended before it finished its job; see the log"


@dataclasses.dataclass
class FailureStreak:
    """Consecutive failures of an arm for the same reason, with no object finished in between."""

    reason: str = ""
    count: int = 0

    def add(self, reason: str, *, finished: int = 0) -> None:
        """
        Args:
            finished: objects that the worker finished before it failed.
        """
        self.count = self.count + 1 if reason == self.reason and not finished else 1
        self.reason = reason

    @property
    def is_long(self) -> bool:
        return self.count >= SAME_FAILURE_LIMIT
