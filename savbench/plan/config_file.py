"""Settings of a run in a TOML file, with the names of the flags: what --config reads, and the file in a run's folder that reproduces it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from savbench.arguments.declared import ConfigError, flag_of, settings_of
from savbench.arguments.values import ListOf, Number, NumberOrWord, Switch, did_you_mean
from savbench.plan.settings import RunConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from savbench.arguments.declared import Setting

NOT_REPRODUCED = ("out_dir",)
"""Settings that the file of a run leaves out: running it makes another folder."""
_HEADER = """\
# The settings of this run, all of them. To run it once more, into a new folder:
#   .venv/bin/python jetson_benchmark.py run --config config.toml
# Flags on the command line win over this file; --no_NAME takes a switch back.
"""


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a file, by field name, as arguments of `RunConfig`.

    Raises:
        ConfigError: the file cannot be read, names an unknown setting, or has a value of the wrong kind.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}; give a TOML file") from error
    except ValueError as error:  # tomllib's own among them
        raise ConfigError(f"--config {path}: not TOML ({error}); write NAME = VALUE, with texts in quotes") from error
    fields = {flag_of(field).removeprefix("--"): (field.name, declared) for field, declared in settings_of(RunConfig)}
    given = {}
    for key, value in found.items():
        flag = key.replace("-", "_")
        if flag not in fields:
            raise ConfigError(f"--config {path}: {key}: no such setting{did_you_mean(flag, fields) or '; see --help_all'}")
        name, declared = fields[flag]
        try:
            given[name] = _parsed(declared, value)
        except ValueError as error:
            raise ConfigError(f"--config {path}: {key} = {error}") from error
    return given


def _parsed(declared: Setting, value: Any) -> Any:
    """
    Raises:
        ValueError: the value is of the wrong kind; the message names it and says what to give.
    """
    if isinstance(declared.kind, Switch):
        if not isinstance(value, bool):
            raise ValueError(f"{value!r}: write true or false")
        return value
    if value is True and declared.bare is not None:
        return declared.bare
    items = value if isinstance(value, list) and isinstance(declared.kind, ListOf) else [value]
    if not all(isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in items):
        raise ValueError(f"{value!r}: write a text or a number, as on the command line")
    return declared.kind.parse(",".join(map(str, items)))


def config_text(config: RunConfig) -> str:
    """The file that reproduces a run."""
    return _HEADER + "".join(f"{line}\n" for line in _lines(config))


def _lines(config: RunConfig) -> Iterator[str]:
    group = ""
    for field, declared in settings_of(config):
        value = getattr(config, field.name)
        if value is None or value == () or field.name in NOT_REPRODUCED:
            continue
        if declared.group != group:
            group = declared.group
            yield f"\n# {group}"
        yield f"{flag_of(field).removeprefix('--')} = {_toml(declared, value)}"


def _toml(declared: Setting, value: Any) -> str:
    """A value as TOML, which shares its forms of texts, numbers and lists with JSON."""
    kind = declared.kind
    is_number = isinstance(kind, (Number, NumberOrWord)) and not isinstance(value, str)
    plain = kind.to_json(value) if isinstance(kind, (Switch, ListOf)) or is_number else kind.show(value)
    text = json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "backslashreplace").decode()
