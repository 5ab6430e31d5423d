"""Counts the Python warnings that a model gives while it runs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import TracebackType


class WarningLog:
    """While active, counts every warning, including repeated ones, and keeps the first line of each distinct one.

    Do not use it in several threads at once: Python's warning filters belong to the process.

    Attributes:
        count: warnings given.
        lines: `Category: first line` of the distinct warnings, in order of first appearance, at most `limit`.
    """

    def __init__(self, limit: int = 20) -> None:
        self.count = 0
        self.lines: list[str] = []
        self._limit = limit
        self._catch = warnings.catch_warnings()

    def __enter__(self) -> WarningLog:
        self._catch.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._take
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._catch.__exit__(kind, error, trace)

    def _take(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self.count += 1
        text = f"{category.__name__}: {next(iter(str(message).strip().splitlines()), '')}"
        if text not in self.lines and len(self.lines) < self._limit:
            self.lines.append(text)
