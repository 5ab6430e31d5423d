"""A section of a printed comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from savbench.results.grid import Grid


@dataclass
class Section:
    """A heading, an optional table, and lines of text before and after it."""

    title: str
    level: int = 2
    before: list[str] = field(default_factory=list)
    grid: Grid | None = None
    after: list[str] = field(default_factory=list)
