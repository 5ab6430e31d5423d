"""What came of one check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from runners.text import one_line

Status = Literal["ok", "failed", "not applicable"]


@dataclass(frozen=True)
class Outcome:
    """One line of the self-check."""

    check: str
    """Group and name, for example `clocks: parts sum to the call`."""
    status: Status
    said: str
    """What was found, with figures; of a check that is not applicable the reason."""
    meaning: str = ""
    """Of a failure: what it means for the numbers of a run."""
    remedy: str = ""
    """Of a failure: what to do."""
    figures: dict[str, Any] = field(default_factory=dict)
    """JSON types; units are in the names."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judged(check: str, good: bool, said: str, *, meaning: str, remedy: str, **figures: Any) -> Outcome:
    """An outcome that is ok or failed; meaning and remedy are kept where it failed."""
    if good:
        return Outcome(check, "ok", said, figures=figures)
    return Outcome(check, "failed", said, meaning, remedy, figures)


def broken(check: str, how: BaseException | str) -> Outcome:
    """The outcome of a check, or of a group of them, that did not come to its end.

    Args:
        how: the exception that ended it, or in words.
    """
    return judged(
        check,
        False,
        one_line(f"{type(how).__name__}: {how}" if isinstance(how, BaseException) else how),
        meaning="nothing is known of what is checked here; runs may end the same way",
        remedy="run `jetson_benchmark.py doctor`, then this again",
    )


def not_applicable(check: str, reason: str) -> Outcome:
    return Outcome(check, "not applicable", reason)
