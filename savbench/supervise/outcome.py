"""What came of one worker process, and of the worker processes of an arm one after the other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from savbench.results.delivery import ModelFacts

SAME_FAILURE_LIMIT = 3
"""After so many workers in a row that ended for the same reason before they finished an object, the arm is given up."""

Key = tuple[str, str]
"""Video and object."""


@dataclasses.dataclass
class WorkerOutcome:
    """What came of one worker process, as far as its events tell."""

    finished: int = 0
    """Objects whose rows came."""
    under_way: list[Key] = dataclasses.field(default_factory=list)
    """The objects of the session that had begun and not ended."""
    last_frame: int | None = None
    """The last frame of the clip that the worker is known to have done of the objects under way."""
    facts: ModelFacts | None = None
    """None where the model was not built."""
    forecast: dict[str, float] = dataclasses.field(default_factory=dict)
    """Columns of --memory_budget, of a worker that refused the arm."""
    node: str = ""
    """Name of the machine that ran it, where that is not this one."""
    death: tuple[str, str] | None = None
    """Status and reason where the worker did not end by having finished."""
    invalid: str = ""
    """With --strict: why a row was not taken. Nothing after it was taken either."""
    refused: str = ""
    """Why nothing more of the arm is to be run; empty where nothing speaks against it."""
    system: dict[str, str] = dataclasses.field(default_factory=dict)
    """What the worker runs on, as `savbench.results.circumstances.system_of` gives it."""
    changes: list[str] = dataclasses.field(default_factory=list)
    """What is not as it was when earlier rows of the arm were measured, where that is accepted: nothing of it ran under this id."""
    is_enough: bool = False
    """With --sustained: the course has ended."""

    @property
    def is_cut_short(self) -> bool:
        """Whether what the worker does from here on is of no use."""
        return bool(self.invalid or self.refused or self.changes or self.is_enough)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of a row that are known although its object failed."""
        facts = {} if self.facts is None else vars(self.facts)
        return {**facts, **self.forecast, "node": self.node}

    def end(self, ended: tuple[str, str] | None, targets: int) -> None:
        """
        Args:
            ended: how the process ended, as `WorkerProcess.wait` tells it.
            targets: objects that it had to run.
        """
        # What the worker said of itself is more than its exit status tells.
        self.death = self.death or ended
        if self.death is None and self.finished < targets:
            self.death = "error", "the worker ended before its work was done; see the log"


@dataclasses.dataclass
class FailureStreak:
    """Failures of an arm in a row, for the same reason, with no object finished in between."""

    reason: str = ""
    count: int = 0

    def add(self, reason: str, *, finished: int = 0) -> None:
        """
        Args:
            finished: objects that the worker had finished before it failed.
        """
        self.count = self.count + 1 if reason == self.reason and not finished else 1
        self.reason = reason

    @property
    def is_long(self) -> bool:
        return self.count >= SAME_FAILURE_LIMIT
