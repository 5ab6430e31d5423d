"""Kinds of values that arguments take: how each is read from the command line, what it may be, and how JSON holds it.

A kind is also what `argparse` takes as `type=`: called with a text it reads and checks it.
"""

from __future__ import annotations

import argparse
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

_EMPTY = "''"
"""What an empty text is called."""


@dataclass(frozen=True)
class Kind(ABC):
    """What the values of an argument have in common."""

    cell: ClassVar[type] = str
    """Type of a column of results that holds such a value."""

    @property
    def metavar(self) -> str | None:
        """What stands for the value in the help; None leaves it to argparse."""
        return None

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value that a text means.

        Raises:
            ValueError: it means none; says what to give.
        """

    def check(self, value: Any) -> None:
        """
        Raises:
            ValueError: the value cannot be used; names it and says what to give.
        """
        return

    def to_json(self, value: Any) -> Any:
        """A value, not None, as JSON holds it."""
        return value

    def from_json(self, data: Any) -> Any:
        """The inverse of `to_json`."""
        return data

    def show(self, value: Any) -> str:
        """The value as it is given on the command line."""
        return str(value)

    def to_cell(self, value: Any) -> Any:
        """A value as a column of results holds it."""
        if self.cell is not str:
            return value
        return "" if value is None else self.show(value)

    def __call__(self, text: str) -> Any:
        """Read and check a text, for argparse."""
        try:
            value = self.parse(text)
            self.check(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value


@dataclass(frozen=True)
class Switch(Kind):
    """On where the flag is given; takes no value."""

    def parse(self, text: str) -> bool:
        raise ValueError(f"{text}: takes no value")

    def show(self, value: bool) -> str:
        return "on" if value else "off"


@dataclass(frozen=True)
class Text(Kind):
    """Any text but none."""

    name: str = "NAME"

    @property
    def metavar(self) -> str:
        return self.name

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if not value:
            raise ValueError("'': the value is empty; write it out, or leave the flag out")


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]
    hint: str = ""
    """What else a user who gave another word may need to know."""

    @property
    def metavar(self) -> str:
        return f"{{{','.join(self.words)}}}"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if value not in self.words:
            raise ValueError(f"{value or _EMPTY}: use {_either(self.words)}{self.hint and f'; {self.hint}'}")


@dataclass(frozen=True)
class Device(Kind):
    """What a model runs on, as torch names it."""

    _PATTERN: ClassVar[re.Pattern[str]] = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)

    @property
    def metavar(self) -> str:
        return "DEVICE"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if self._PATTERN.fullmatch(value) is None:
            raise ValueError(f"{value or _EMPTY}: use auto, cpu, cuda, or cuda:N with the number of the GPU, for example cuda:0")


@dataclass(frozen=True)
class Number(Kind):
    """A finite number from `low` to `high`, both included."""

    low: float
    high: float
    unit: str = ""
    hint: str = ""
    name: str = "N"

    @property
    def metavar(self) -> str:
        return self.name

    def check(self, value: float) -> None:
        if not self.low <= value <= self.high:
            said = f"{self.show(value)}: use {self.show(self.low)} to {self.show(self.high)}"
            raise ValueError(f"{said}{self.unit and f' {self.unit}'}{self.hint and f'; {self.hint}'}")

    def show(self, value: float) -> str:
        return f"{value:.12g}"


@dataclass(frozen=True)
class Whole(Number):
    """A whole number."""

    cell: ClassVar[type] = int

    def parse(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            of_what = f" of {self.unit}" if self.unit else ""
            raise ValueError(f"{text or _EMPTY}: give a whole number{of_what}, for example {self.show(max(1, self.low))}") from None

    def show(self, value: float) -> str:
        return str(value)


@dataclass(frozen=True)
class Real(Number):
    """A real number."""

    cell: ClassVar[type] = float

    def parse(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"{text or _EMPTY}: give a number{self.unit and f' of {self.unit}'}, for example {self.show(max(1, self.low))}"
            ) from None

    def from_json(self, data: Any) -> float:
        return float(data)


@dataclass(frozen=True)
class NumberOrWord(Kind):
    """A number, or a word in its place."""

    number: Number
    word: str

    cell: ClassVar[type] = float

    @property
    def metavar(self) -> str | None:
        return self.number.metavar

    def parse(self, text: str) -> Any:
        try:
            return text if text == self.word else self.number.parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or {self.word}") from None

    def check(self, value: Any) -> None:
        if value == self.word:
            return
        if isinstance(value, str):
            raise ValueError(f"{value}: give a number, or {self.word}")
        try:
            self.number.check(value)
        except ValueError as error:
            raise ValueError(f"{error}, or {self.word}") from None

    def show(self, value: Any) -> str:
        return self.word if value == self.word else self.number.show(value)


@dataclass(frozen=True)
class FilePath(Kind):
    """A file or folder. `~` is the home folder whatever the shell did with it."""

    absolute: bool = False
    """Whether a path is counted from the current folder at once, for processes that run elsewhere."""
    name: str = "DIR"

    @property
    def metavar(self) -> str:
        return self.name

    def parse(self, text: str) -> Path:
        if not text:
            raise ValueError("'': the path is empty; write it out")
        try:
            path = Path(text).expanduser()
            return path.absolute() if self.absolute else path
        except RuntimeError:
            raise ValueError(f"{text}: there is no such home folder; write the path out") from None
        except OSError as error:
            raise ValueError(f"{text}: the current folder is gone ({error.strerror}); change to one that is there") from None

    def to_json(self, value: Path) -> str:
        return str(value)

    def from_json(self, data: str) -> Path:
        return Path(data)


@dataclass(frozen=True)
class ListOf(Kind):
    """Values separated by commas, none of them twice."""

    item: Kind
    may_be_empty: bool = False
    """Whether there is a meaning to giving none; on the command line that is leaving the flag out."""

    @property
    def metavar(self) -> str:
        return "LIST"

    def parse(self, text: str) -> tuple[Any, ...]:
        values = tuple(self.item.parse(part) for part in map(str.strip, text.split(",")) if part)
        if not values:
            raise ValueError("'': the list is empty; name at least one")
        return values

    def check(self, value: tuple[Any, ...]) -> None:
        if not value and not self.may_be_empty:
            raise ValueError("'': the list is empty; name at least one")
        for one in value:
            self.item.check(one)
        if len(set(value)) < len(value):
            raise ValueError(f"{self.show(value)}: names something twice")

    def to_json(self, value: tuple[Any, ...]) -> list[Any]:
        return [self.item.to_json(one) for one in value]

    def from_json(self, data: list[Any]) -> tuple[Any, ...]:
        return tuple(self.item.from_json(one) for one in data)

    def show(self, value: tuple[Any, ...]) -> str:
        return ",".join(map(self.item.show, value))


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
        raise ValueError(f"{text or _EMPTY}: give one of the {self.noun} and their number, for example 2/4")

    def check(self, value: tuple[int, int]) -> None:
        number, count = value
        if not 1 <= count <= self.most:
            raise ValueError(f"{self.show(value)}: there can be 1 to {self.most} {self.noun}")
        if not 1 <= number <= count:
            raise ValueError(f"{self.show(value)}: {self.noun} are counted from 1; use 1/{count} to {count}/{count}")

    def to_json(self, value: tuple[int, int]) -> list[int]:
        return list(value)

    def from_json(self, data: list[int]) -> tuple[int, int]:
        number, count = data
        return number, count

    def show(self, value: tuple[int, int]) -> str:
        return f"{value[0]}/{value[1]}"


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


INPUT_PATH = FilePath(name="PATH")
"""A path of a subcommand, as the user wrote it but for `~`."""
SEED = Whole(0, 2**32 - 1)
"""What every generator of random numbers takes: Python's, numpy's and torch's."""
