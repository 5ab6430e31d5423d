"""Settings declared once, as fields of a dataclass, and everything derived from a declaration.

A field made by `setting` states the flag, the allowed values, the measurements that the setting affects, and the columns of results that
report it. Flags, help, checks, JSON, the digest of an arm's settings, arguments of other dataclasses, and columns with their role in
comparisons are derived from it. To add a setting, add a field.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
from dataclasses import MISSING, Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from savbench.arguments.errors import UserError
from savbench.arguments.values import Kind, Switch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


class ConfigError(UserError, ValueError):
    """The arguments are invalid; the message says what to give instead."""


class DataclassLike(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class SubjectOfSettings(Protocol):
    """The part of an arm that decides which settings apply to it."""

    @property
    def family(self) -> str: ...

    @property
    def prompt(self) -> str: ...


COMMON = "flags that most runs need"
"""Title of the group of common settings in the help."""

Declaring = TypeVar("Declaring", bound=DataclassLike)
Made = TypeVar("Made")


class Compared(enum.Flag):
    """The role of a column when results are compared."""

    NO = 0
    """A figure, or a column that no figure depends on."""
    NOTED = enum.auto()
    """A circumstance: results can be compared by it, and differences are reported."""
    ARM = enum.auto()
    """Part of an arm's identity: rows pair if they agree in it."""
    MUST_AGREE = enum.auto()
    """Results that differ in it are compared only on request."""
    TELLS_APART = enum.auto()
    """Rows of one object that differ in it are different measurements."""


@dataclass(frozen=True)
class Column:
    """A column of results that reports a setting."""

    name: str
    meaning: str
    compared: Compared = Compared.NO
    filled: Literal["asked", "arm", "applied"] = "asked"
    """Source of the value: `asked`, the setting; `arm`, the arm's item of a list; `applied`, what the built model or measurement
    reports."""
    elsewhere: Any = None
    """With `asked` and `arm`: the value in rows of arms that the setting does not apply to."""
    empty: str = ""
    """In a comparison: text shown for an empty cell; empty: none."""
    kind: type | None = None
    """int, float or str; None: the type of the setting's values."""


@dataclass(frozen=True)
class Setting:
    """A setting's declaration, see `setting`."""

    kind: Kind
    help: str
    group: str
    flag: str
    default_text: str
    bare: Any
    decides: bool
    families: frozenset[str] | None
    prompts: frozenset[str] | None
    identifies_run: bool
    common: bool
    columns: tuple[Column, ...]

    def concerns(self, subject: SubjectOfSettings) -> bool:
        """Whether the setting applies to an arm."""
        return (self.families is None or subject.family in self.families) and (self.prompts is None or subject.prompt in self.prompts)


def setting(
    kind: Kind,
    group: str,
    help: str,
    *columns: Column,
    default: Any = MISSING,
    flag: str = "",
    default_text: str = "",
    bare: Any = None,
    decides: bool = False,
    families: frozenset[str] | None = None,
    prompts: frozenset[str] | None = None,
    identifies_run: bool = True,
    common: bool = False,
) -> Any:
    """Declare a dataclass field as a setting.

    Args:
        group: title of the flag's group in the help.
        help: help text of the flag; the default is appended.
        columns: columns of results that report it.
        default: MISSING: the setting is required. None: not set.
        flag: without dashes; empty: the field's name.
        default_text: the default in words, if its value does not explain it.
        bare: value if the flag is given without one; None: the flag needs a value.
        decides: whether measurements depend on it, so that different values make different arms.
        families, prompts: of the arms that it applies to; None: all.
        identifies_run: whether a command with a different value is another run; otherwise it resumes the same run.
        common: whether most runs need it: the help shows it first.
    """
    declared = Setting(kind, help, group, flag, default_text, bare, decides, families, prompts, identifies_run, common, columns)
    return dataclasses.field(default=default, metadata={"setting": declared})


def settings_of(schema: type[DataclassLike] | DataclassLike) -> Iterator[tuple[Field[Any], Setting]]:
    """The fields that are settings, in order, each with its declaration."""
    for field in dataclasses.fields(schema):
        if "setting" in field.metadata:
            yield field, field.metadata["setting"]


def flag_of(field: Field[Any]) -> str:
    """The flag of a setting, with its dashes."""
    declared: Setting = field.metadata["setting"]
    return f"--{declared.flag or field.name}"


def add_flags(parser: argparse.ArgumentParser, schema: type[DataclassLike], *, show_all: bool, only: Collection[str] | None = None) -> None:
    """Add a flag for every setting, the common ones first, the others in their groups.

    Flags not given are absent from the namespace; the dataclass holds the defaults.

    Args:
        show_all: whether the help shows all flags, or only the common ones.
        only: fields to add; None: all.
    """
    groups = {COMMON: parser.add_argument_group(COMMON)}
    for field, declared in settings_of(schema):
        if only is not None and field.name not in only:
            continue
        title = COMMON if declared.common else declared.group
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        shown = _help(field, declared).replace("%", "%%") if show_all or declared.common else argparse.SUPPRESS
        about: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": shown}
        if isinstance(declared.kind, Switch):
            group.add_argument(flag_of(field), action="store_true", **about)
            # takes back what a file of settings switches on
            group.add_argument(f"--no_{flag_of(field)[2:]}", action="store_false", **{**about, "help": argparse.SUPPRESS})
            continue
        if declared.bare is not None:
            about |= {"nargs": "?", "const": declared.bare}
        group.add_argument(flag_of(field), type=_reader(declared.kind), metavar=declared.kind.metavar, **about)


def given_in(arguments: argparse.Namespace, schema: type[DataclassLike]) -> dict[str, Any]:
    """The settings given on a command line, by field name, as arguments of the dataclass."""
    return {field.name: getattr(arguments, field.name) for field, _ in settings_of(schema) if hasattr(arguments, field.name)}


def require(given: Collection[str], schema: type[DataclassLike]) -> None:
    """
    Args:
        given: names of the fields that have a value.

    Raises:
        ConfigError: a setting without a default is not among them.
    """
    for field, declared in settings_of(schema):
        if field.default is MISSING and field.name not in given:
            raise ConfigError(f"{flag_of(field)}: not given; it names the {declared.help}; see --help")


def check(settings: DataclassLike) -> None:
    """Check the range of every setting. The dataclass checks combinations of settings.

    Raises:
        ConfigError: a value is invalid; the message names the flag and says what to give.
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
    """All settings as JSON values."""
    return {field.name: _plain(settings, field, declared) for field, declared in settings_of(settings)}


def from_json(schema: type[Declaring], data: dict[str, Any]) -> Declaring:
    """The inverse of `to_json`."""
    values = {}
    for field, declared in settings_of(schema):
        value = data[field.name]
        values[field.name] = value if value is None else declared.kind.from_json(value)
    return schema(**values)


def deciding(settings: DataclassLike, arm: SubjectOfSettings) -> dict[str, Any]:
    """The settings that an arm's measurements depend on, by name, as JSON values.

    Settings with their default value are left out, so that a new setting does not change the arms that do not use it.
    """
    return {
        field.name: _plain(settings, field, declared)
        for field, declared in settings_of(settings)
        if declared.decides and declared.concerns(arm) and getattr(settings, field.name) != field.default
    }


def identifying(settings: DataclassLike) -> dict[str, Any]:
    """The settings that identify a run, as JSON values: equal for commands that resume one another."""
    return {field.name: _plain(settings, field, declared) for field, declared in settings_of(settings) if declared.identifies_run}


def made_from(made: type[Made], settings: DataclassLike, **own: Any) -> Made:
    """Make another dataclass, with fields set from the settings of the same name.

    Args:
        own: values of fields that are not settings or differ from them.
    """
    names = {field.name for field, _ in settings_of(settings)} & {field.name for field in dataclasses.fields(made)}  # type: ignore[arg-type]
    return made(**{**{name: getattr(settings, name) for name in names}, **own})


def columns_of(schema: type[DataclassLike]) -> dict[str, tuple[Column, type]]:
    """Every column that reports a setting, by name, with its type: int, float or str."""
    return {column.name: (column, column.kind or declared.kind.cell) for _, declared in settings_of(schema) for column in declared.columns}


def cells(settings: DataclassLike, arm: SubjectOfSettings) -> dict[str, Any]:
    """The columns known before the run, with their values in rows of an arm."""
    known: dict[str, Any] = {}
    for field, declared in settings_of(settings):
        for column in declared.columns:
            if column.filled == "applied":
                continue
            asked = column.filled == "asked"
            value = declared.kind.to_cell(getattr(settings, field.name)) if asked else getattr(arm, column.name)
            known[column.name] = value if declared.concerns(arm) else column.elsewhere
    return known


def _plain(settings: DataclassLike, field: Field[Any], declared: Setting) -> Any:
    value = getattr(settings, field.name)
    return value if value is None else declared.kind.to_json(value)


def _help(field: Field[Any], declared: Setting) -> str:
    text = declared.default_text and f": {declared.default_text}"
    if not text and field.default not in (MISSING, None, ()) and not isinstance(declared.kind, Switch):
        text = f" {declared.kind.show(field.default)}"
    return f"{declared.help} (default{text})" if text else declared.help


def _reader(kind: Kind) -> Any:
    """For argparse: parse a text. `check` checks ranges later."""

    def read(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
