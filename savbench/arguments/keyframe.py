"""The value of --keyframe: how many frames lie between two that the model sees, and what gives the others' masks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from savbench.arguments.values import EMPTY, Kind

EVERY_FRAME = "1"
"""The model on every frame."""
MOST = 1_000


def every_of(keyframe: str) -> int:
    """K of `K:flow` or `K:hold`; 1 of an empty text, where the model sees every frame."""
    return int(keyframe.partition(":")[0] or 1)


@dataclass(frozen=True)
class Keyframe(Kind):
    """`1`, `K:flow` or `K:hold`; `K` alone is `K:flow`."""

    _PATTERN: ClassVar[re.Pattern[str]] = re.compile(r"([1-9]\d{0,3}):(flow|hold)", re.ASCII)

    @property
    def metavar(self) -> str:
        return "K[:flow|hold]"

    def parse(self, text: str) -> str:
        return f"{text}:flow" if text != EVERY_FRAME and text.isdecimal() else text

    def check(self, value: str) -> None:
        if value == EVERY_FRAME:
            return
        match = self._PATTERN.fullmatch(value)
        if match is None or not 2 <= int(match[1]) <= MOST:
            raise ValueError(
                f"{value or EMPTY}: give {EVERY_FRAME} (the model on every frame), or K, K:flow or K:hold with K from 2 to {MOST}, for "
                "example 4:hold"
            )
