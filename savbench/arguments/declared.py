"""Settings that are declared once, as fields of a dataclass, and everything that is derived from a declaration.

A field made by `setting` says how the setting is given on the command line, what it may be, which measurements it decides, and which
columns of results tell it. From there come the flags and their help, the checks, JSON, the digest of an arm's settings, the arguments of
other dataclasses, and the columns with how results are compared. To add a setting, add a field.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import re
from dataclasses import MISSING, Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Protocol, TypeVar

from savbench.arguments.values import Kind, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator


class ConfigError(ValueError):
    """The arguments cannot be run; the message says what to give instead."""


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError for what it cannot parse, so that bad arguments end in one way whatever is wrong with them."""

    def error(self, message: str) -> NoReturn:
        of_flag = re.fullmatch(r"argument (?:-\w/)?(--\w+): (.*)", message, re.DOTALL)
        raise ConfigError(f"{message}; see --help" if of_flag is None else " ".join(of_flag.groups()))


class DataclassLike(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class SubjectOfSettings(Protocol):
    """An arm, as far as it decides which settings concern it."""

    @property
    def family(self) -> str: ...

    @property
    def prompt(self) -> str: ...


Declaring = TypeVar("Declaring", bound=DataclassLike)
Made = TypeVar("Made")


class Compared(enum.Flag):
    """What a column means to a comparison of results."""

    NO = 0
    """A figure, or nothing that figures depend on."""
    NOTED = enum.auto()
    """A circumstance: it can be compared by, and is named where it differs."""
    ARM = enum.auto()
    """What an arm is made of: rows pair where they agree in it."""
    MUST_AGREE = enum.auto()
    """Results that differ in it are not compared unless that is asked for."""
    TELLS_APART = enum.auto()
    """Rows of one object that differ in it are different measurements."""


@dataclass(frozen=True)
class Column:
    """A column of results that tells a setting."""

    name: str
    meaning: str
    compared: Compared = Compared.NO
    filled: Literal["asked", "arm", "applied"] = "asked"
    """By what is in it: the value that was asked for, the arm's one of a list, or what the built model or the measurement says."""
    elsewhere: Any = None
    """With `asked`: what stands in rows of arms that the setting does not concern."""
    empty: str = ""
    """With a comparison: what an empty cell says; empty: nothing."""
    kind: type | None = None
    """int, float or str; None: as the setting's values."""


@dataclass(frozen=True)
class Setting:
    """A setting's declaration, see `setting`."""

    kind: Kind
    help: str
    group: str
    flag: str
    default_said: str
    bare: Any
    decides: bool
    families: frozenset[str] | None
    prompts: frozenset[str] | None
    identifies_run: bool
    columns: tuple[Column, ...]

    def concerns(self, subject: SubjectOfSettings) -> bool:
        """Whether a value of the setting makes a difference to an arm."""
        return (self.families is None or subject.family in self.families) and (self.prompts is None or subject.prompt in self.prompts)


def setting(
    kind: Kind,
    group: str,
    help: str,
    *columns: Column,
    default: Any = MISSING,
    flag: str = "",
    default_said: str = "",
    bare: Any = None,
    decides: bool = False,
    families: frozenset[str] | None = None,
    prompts: frozenset[str] | None = None,
    identifies_run: bool = True,
) -> Any:
    """A field of a dataclass that is a setting.

    Args:
        group: title of the group of flags that it is shown in.
        help: of the flag; the default is added to it.
        columns: of results, that tell it.
        default: missing: it has to be given. None: nothing is asked for.
        flag: without dashes; empty: the field's name.
        default_said: the default in words, where its value does not tell.
        bare: value of the flag that is given without one; None: it needs one.
        decides: whether a measurement depends on it, so that arms with different values are different arms.
        families, prompts: of the arms that it concerns; None: all.
        identifies_run: whether a command that differs in it is another run, rather than going on with the same one.
    """
    declared = Setting(kind, help, group, flag, default_said, bare, decides, families, prompts, identifies_run, columns)
    return dataclasses.field(default=default, metadata={"setting": declared})


def settings_of(schema: type[DataclassLike] | DataclassLike) -> Iterator[tuple[Field[Any], Setting]]:
    """The fields that are settings, in their order, each with its declaration."""
    for field in dataclasses.fields(schema):
        if "setting" in field.metadata:
            yield field, field.metadata["setting"]


def flag_of(field: Field[Any]) -> str:
    """The flag of a setting, with its dashes."""
    declared: Setting = field.metadata["setting"]
    return f"--{declared.flag or field.name}"


def add_flags(parser: argparse.ArgumentParser, schema: type[DataclassLike]) -> None:
    """Add a flag for every setting, in groups. What is not given is not in the namespace: defaults are the dataclass'."""
    groups: dict[str, Any] = {}
    for field, declared in settings_of(schema):
        group = groups.get(declared.group) or groups.setdefault(declared.group, parser.add_argument_group(declared.group))
        about: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": _help(field, declared).replace("%", "%%")}
        if isinstance(declared.kind, Switch):
            group.add_argument(flag_of(field), action="store_true", **about)
            continue
        if declared.bare is not None:
            about |= {"nargs": "?", "const": declared.bare}
        group.add_argument(
            flag_of(field), type=_reader(declared.kind), metavar=declared.kind.metavar, required=field.default is MISSING, **about
        )


def given_in(arguments: argparse.Namespace, schema: type[DataclassLike]) -> dict[str, Any]:
    """The settings that a command line gives, by field, for the dataclass to be made from."""
    return {field.name: getattr(arguments, field.name) for field, _ in settings_of(schema) if hasattr(arguments, field.name)}


def check(settings: DataclassLike) -> None:
    """Check every setting's own range. What several settings must agree in is the dataclass' business.

    Raises:
        ConfigError: a value cannot be used; names the flag and says what to give.
    """
    for field, declared in settings_of(settings):
        value = getattr(settings, field.name)
        if value is None and field.default is None:
            continue
        try:
            declared.kind.check(value)
        except ValueError as error:
            raise ConfigError(f"{flag_of(field)} {error}") from error


def to_json(settings: DataclassLike) -> dict[str, Any]:
    """All settings, as JSON holds them."""
    return {field.name: _plain(settings, field, declared) for field, declared in settings_of(settings)}


def from_json(schema: type[Declaring], data: dict[str, Any]) -> Declaring:
    """The inverse of `to_json`."""
    values = {}
    for field, declared in settings_of(schema):
        value = data[field.name]
        values[field.name] = value if value is None else declared.kind.from_json(value)
    return schema(**values)


def deciding(settings: DataclassLike, arm: SubjectOfSettings) -> dict[str, Any]:
    """The settings that decide what is measured under an arm, by name and as JSON holds them.

    Those with their default value are left out, so that a new setting leaves the arms as they are that do not use it.
    """
    return {
        field.name: _plain(settings, field, declared)
        for field, declared in settings_of(settings)
        if declared.decides and declared.concerns(arm) and getattr(settings, field.name) != field.default
    }


def identifying(settings: DataclassLike) -> dict[str, Any]:
    """The settings that make two commands the same, as JSON holds them."""
    return {field.name: _plain(settings, field, declared) for field, declared in settings_of(settings) if declared.identifies_run}


def made_from(made: type[Made], settings: DataclassLike, **own: Any) -> Made:
    """Make another dataclass whose fields take the settings of the same name.

    Args:
        own: fields that are not settings, or have a value of their own.
    """
    names = {field.name for field, _ in settings_of(settings)} & {field.name for field in dataclasses.fields(made)}  # type: ignore[arg-type]
    return made(**{**{name: getattr(settings, name) for name in names}, **own})


def columns_of(schema: type[DataclassLike]) -> dict[str, tuple[Column, type]]:
    """Every column that tells a setting, by name, with its type: int, float or str."""
    return {column.name: (column, column.kind or declared.kind.cell) for _, declared in settings_of(schema) for column in declared.columns}


def cells(settings: DataclassLike, arm: SubjectOfSettings) -> dict[str, Any]:
    """The columns that are known before anything has run, with their values in rows of an arm."""
    known: dict[str, Any] = {}
    for field, declared in settings_of(settings):
        for column in declared.columns:
            if column.filled == "arm":
                known[column.name] = getattr(arm, column.name)
            elif column.filled == "asked":
                value = declared.kind.to_cell(getattr(settings, field.name))
                known[column.name] = value if declared.concerns(arm) else column.elsewhere
    return known


def _plain(settings: DataclassLike, field: Field[Any], declared: Setting) -> Any:
    value = getattr(settings, field.name)
    return value if value is None else declared.kind.to_json(value)


def _help(field: Field[Any], declared: Setting) -> str:
    said = declared.default_said and f": {declared.default_said}"
    if not said and field.default not in (MISSING, None, ()) and not isinstance(declared.kind, Switch):
        said = f" {declared.kind.show(field.default)}"
    return f"{declared.help} (default{said})" if said else declared.help


def _reader(kind: Kind) -> Any:
    """For argparse: reads a text; ranges are checked with everything else."""

    def read(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
