"""Kinds of argument values: how each is parsed from the command line, its range, and its form in JSON.

A kind can be given to `argparse` as `type=`: calling it with a text parses and checks the text.
"""

from __future__ import annotations

import argparse
import difflib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

EMPTY = "''"
"""Shown in messages for an empty text."""


@dataclass(frozen=True)
class Kind(ABC):
    """Parsing, checking and formatting of an argument's values."""

    cell: ClassVar[type] = str
    """Type of a results column that holds such values: int, float or str."""

    @property
    def metavar(self) -> str | None:
        """Placeholder for the value in the help; None: argparse's own."""
        return None

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Parse a text.

        Raises:
            ValueError: the text is not a value; the message says what to give.
        """

    def check(self, value: Any) -> None:
        """
        Raises:
            ValueError: the value is invalid; the message names it and says what to give.
        """
        return

    def to_json(self, value: Any) -> Any:
        """The JSON form of a value that is not None."""
        return value

    def from_json(self, data: Any) -> Any:
        """The inverse of `to_json`."""
        return data

    def show(self, value: Any) -> str:
        """The value as written on the command line."""
        return str(value)

    def to_cell(self, value: Any) -> Any:
        """The value as a results column holds it."""
        if self.cell is not str:
            return value
        return "" if value is None else self.show(value)

    def __call__(self, text: str) -> Any:
        """Parse and check a text, for argparse."""
        try:
            value = self.parse(text)
            self.check(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value


@dataclass(frozen=True)
class Switch(Kind):
    """A flag without a value: on if it is given."""

    def parse(self, text: str) -> bool:
        raise ValueError(f"{text}: takes no value")

    def show(self, value: bool) -> str:
        return "on" if value else "off"


@dataclass(frozen=True)
class Text(Kind):
    """Any text except an empty one."""

    name: str = "NAME"

    @property
    def metavar(self) -> str:
        return self.name

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if not value:
            raise ValueError("'': the value is empty; give one, or leave the flag out")


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words."""

    words: tuple[str, ...]
    hint: str = ""
    """Appended to the message about a wrong word."""
    name: str = ""
    """Placeholder in the help where the words are too long for one line; the setting's text then lists them."""

    @property
    def metavar(self) -> str:
        return self.name or f"{{{','.join(self.words)}}}"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if value not in self.words:
            hint = self.hint and f"; {self.hint}"
            raise ValueError(f"{value or EMPTY}: use {_either(self.words)}{hint}{did_you_mean(value, self.words)}")


@dataclass(frozen=True)
class ChoiceOrFile(Choice):
    """One of several words, or a file behind a prefix: `csv:FILE`, made absolute when it is parsed."""

    prefix: str = ""

    @property
    def metavar(self) -> str:
        return f"{{{','.join(self.words)},{self.prefix}:FILE}}"

    def parse(self, text: str) -> str:
        prefix, colon, path = text.partition(":")
        return f"{prefix}:{FilePath(absolute=True).parse(path)}" if colon and prefix == self.prefix else text

    def check(self, value: str) -> None:
        if value.startswith(f"{self.prefix}:"):
            return
        if value not in self.words:
            raise ValueError(f"{value or EMPTY}: use {_either((*self.words, f'{self.prefix}:FILE'))}")


@dataclass(frozen=True)
class Device(Kind):
    """A device as torch names it, or `auto`."""

    _PATTERN: ClassVar[re.Pattern[str]] = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)

    @property
    def metavar(self) -> str:
        return "DEVICE"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: str) -> None:
        if self._PATTERN.fullmatch(value) is None:
            raise ValueError(f"{value or EMPTY}: use auto, cpu, cuda, or cuda:N with the number of the GPU, for example cuda:0")


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
            message = f"{self.show(value)}: use {self.show(self.low)} to {self.show(self.high)}"
            raise ValueError(f"{message}{self.unit and f' {self.unit}'}{self.hint and f'; {self.hint}'}")

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
            raise ValueError(f"{text or EMPTY}: give a whole number{of_what}, for example {self.show(max(1, self.low))}") from None

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
                f"{text or EMPTY}: give a number{self.unit and f' of {self.unit}'}, for example {self.show(max(1, self.low))}"
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
    """A file or folder. A `~` that the shell left is expanded to the home folder."""

    absolute: bool = False
    """Whether a relative path is made absolute when it is parsed, for processes that run in another folder."""
    name: str = "DIR"

    @property
    def metavar(self) -> str:
        return self.name

    def parse(self, text: str) -> Path:
        if not text:
            raise ValueError("'': the path is empty; give one")
        try:
            path = Path(text).expanduser()
            return path.absolute() if self.absolute else path
        except RuntimeError:
            raise ValueError(f"{text}: there is no such home folder; give the full path") from None
        except OSError as error:
            raise ValueError(f"{text}: the current folder is gone ({error.strerror}); change to a folder that exists") from None

    def to_json(self, value: Path) -> str:
        return str(value)

    def from_json(self, data: str) -> Path:
        return Path(data)


@dataclass(frozen=True)
class ListOf(Kind):
    """Comma-separated values without duplicates."""

    item: Kind
    may_be_empty: bool = False
    """Whether an empty list is valid, which is the flag left out on the command line."""

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
            raise ValueError(f"{self.show(value)}: names a value twice; give each once")

    def to_json(self, value: tuple[Any, ...]) -> list[Any]:
        return [self.item.to_json(one) for one in value]

    def from_json(self, data: list[Any]) -> tuple[Any, ...]:
        return tuple(self.item.from_json(one) for one in data)

    def show(self, value: tuple[Any, ...]) -> str:
        return ",".join(map(self.item.show, value))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` with the known name nearest to a mistyped one; empty if none is near."""
    nearest = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


INPUT_PATH = FilePath(name="PATH")
"""A path given to a subcommand, as the user wrote it except for `~`."""
SEED = Whole(0, 2**32 - 1)
"""Seeds that Python's, numpy's and torch's random generators all accept."""
