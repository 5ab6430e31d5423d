"""Kinds of values that hold more than one number or word: factors with their error, the worst of several, parts, pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from savbench.arguments.values import EMPTY, Kind


@dataclass(frozen=True)
class Factor(Kind):
    """A factor and its standard error, `1.085+-0.013`; the error may be left out. A pair, the error None if it is not known."""

    low: float
    high: float

    @property
    def metavar(self) -> str:
        return "FACTOR+-ERROR"

    def parse(self, text: str) -> tuple[float, float | None]:
        factor, sign, error = text.partition("+-")
        try:
            return float(factor), float(error) if sign else None
        except ValueError:
            raise ValueError(f"{text or EMPTY}: give a factor and its standard error, for example 1.085+-0.013") from None

    def check(self, value: tuple[float, float | None]) -> None:
        factor, error = value
        if not self.low <= factor <= self.high:
            raise ValueError(f"{self.show(value)}: the factor must be from {self.low:g} to {self.high:g}")
        if error is not None and not 0 <= error < factor:
            raise ValueError(f"{self.show(value)}: the error must be from 0 to the factor")

    def to_json(self, value: tuple[float, float | None]) -> list[float | None]:
        return list(value)

    def from_json(self, data: list[float | None]) -> tuple[Any, ...]:
        return tuple(data)

    def show(self, value: tuple[float, float | None]) -> str:
        factor, error = value
        return f"{factor:.12g}" if error is None else f"{factor:.12g}+-{error:.12g}"


@dataclass(frozen=True)
class AllOrWorst(Kind):
    """`all`, or `worst:N` for the N worst."""

    most: int

    ALL: ClassVar[str] = "all"
    _WORST: ClassVar[str] = "worst:"

    @property
    def metavar(self) -> str:
        return "WHICH"

    def parse(self, text: str) -> str:
        self.check(text)
        return text

    def check(self, value: str) -> None:
        if value == self.ALL:
            return
        digits = value.removeprefix(self._WORST)
        is_count = value.startswith(self._WORST) and digits.isascii() and digits.isdecimal() and len(digits) <= len(str(self.most))
        if not is_count or not 1 <= int(digits) <= self.most:
            raise ValueError(f"{value or EMPTY}: use {self.ALL}, or {self._WORST}N with N from 1 to {self.most}, for example worst:10")

    @classmethod
    def count(cls, value: str | None) -> int | None:
        """Return the N of `worst:N`; None if the value is another."""
        return int(value.removeprefix(cls._WORST)) if value is not None and value.startswith(cls._WORST) else None


@dataclass(frozen=True)
class Part(Kind):
    """One of N parts, counted from 1: `2/4` is (2, 4)."""

    noun: str = "parts"
    most: int = 1_000_000

    @property
    def metavar(self) -> str:
        return "I/N"

    def parse(self, text: str) -> tuple[int, int]:
        number, slash, count = text.partition("/")
        try:
            if slash:
                return int(number), int(count)
        except ValueError:
            pass
        raise ValueError(f"{text or EMPTY}: give one of the {self.noun} and their number, for example 2/4")

    def check(self, value: tuple[int, int]) -> None:
        number, count = value
        if not 1 <= count <= self.most:
            raise ValueError(f"{self.show(value)}: use 1 to {self.most} {self.noun}")
        if not 1 <= number <= count:
            raise ValueError(f"{self.show(value)}: {self.noun} are numbered from 1; use 1/{count} to {count}/{count}")

    def to_json(self, value: tuple[int, int]) -> list[int]:
        return list(value)

    def from_json(self, data: list[int]) -> tuple[int, int]:
        number, count = data
        return number, count

    def show(self, value: tuple[int, int]) -> str:
        return f"{value[0]}/{value[1]}"


@dataclass(frozen=True)
class Pixel(Kind):
    """A pixel of a frame, x then y: `412,300`."""

    @property
    def metavar(self) -> str:
        return "X,Y"

    def parse(self, text: str) -> tuple[int, int]:
        x, comma, y = text.partition(",")
        try:
            if comma:
                return int(x), int(y)
        except ValueError:
            pass
        raise ValueError(f"{text or EMPTY}: give a pixel as X,Y, for example 412,300")

    def check(self, value: tuple[int, int]) -> None:
        if min(value) < 0:
            raise ValueError(f"{self.show(value)}: pixels are counted from 0")

    def to_json(self, value: tuple[int, int]) -> list[int]:
        return list(value)

    def from_json(self, data: list[int]) -> tuple[int, int]:
        x, y = data
        return x, y

    def show(self, value: tuple[int, int]) -> str:
        return f"{value[0]},{value[1]}"
