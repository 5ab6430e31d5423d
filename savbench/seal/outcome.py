"""What came of one check of a sealed run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runners.text import one_line

MOST_LINES = 4


@dataclass(frozen=True)
class Check:
    """One check, in words."""

    name: str
    verdict: Literal["pass", "warn", "fail", "skip"]
    said: tuple[str, ...]


def passed(name: str, *said: str) -> Check:
    return Check(name, "pass", ("; ".join(said),))


def warned(name: str, *said: str) -> Check:
    return Check(name, "warn", _few(said))


def failed(name: str, *said: str) -> Check:
    return Check(name, "fail", _few(said))


def skipped(name: str, *said: str) -> Check:
    return Check(name, "skip", _few(said))


def _few(said: tuple[str, ...]) -> tuple[str, ...]:
    """The first lines, without control characters: they come from files of strangers."""
    more = [f"and {len(said) - MOST_LINES} more"] if len(said) > MOST_LINES else []
    return (*(one_line(text)[:500] for text in said[:MOST_LINES]), *more)
