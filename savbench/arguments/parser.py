"""The parser of every subcommand: flags with dashes or underscores, the nearest flag for one that does not exist, errors in one line."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

from savbench.arguments.declared import ConfigError
from savbench.arguments.values import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the paragraphs of a description to the terminal, and leaves indented lines, such as examples, as they are.

    The placeholder of a flag's value is that of its kind. The usage shows what cannot be left out; the list below it has every flag.
    """

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return getattr(action.type, "metavar", None) or super()._get_default_metavar_for_optional(action)

    def _format_usage(self, usage: str | None, actions: Iterable[argparse.Action], groups: Any, prefix: str | None) -> str:
        if usage is None:
            actions = list(actions)
            words = ["%(prog)s"]
            for action in actions:
                if not action.option_strings:
                    words.append(self._format_args(action, self._get_default_metavar_for_positional(action)))
                elif action.required:
                    values = self._format_args(action, self._get_default_metavar_for_optional(action))
                    words.append(f"{action.option_strings[0]} {values}")
            usage = " ".join([*words, "[FLAGS]"])
        return super()._format_usage(usage, actions, groups, prefix)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts: list[str] = []
        for is_raw, group in itertools.groupby(text.splitlines(), key=lambda line: not line or line.startswith(" ")):
            lines = list(group)
            parts += lines if is_raw else textwrap.wrap(" ".join(lines), width, break_on_hyphens=False)
        return "\n".join(indent + part for part in parts)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Break a flag's text between words only: many values have hyphens."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError for bad arguments. Flags are declared with underscores and may be given with dashes."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **how})

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's.

        Raises:
            ConfigError: an argument is invalid.
        """
        return super().parse_known_args(self._with_underscores(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        of_flag = re.fullmatch(r"argument (?:-\w/)?(--\w+): (.*)", message, re.DOTALL)
        raise ConfigError(f"{message}; see --help" if of_flag is None else " ".join(of_flag.groups()))

    def _with_underscores(self, words: Sequence[str]) -> list[str]:
        """Spell the parser's own flags as declared: those up to `--`, or up to the name of a subcommand if it has any."""
        own = list(words)
        for place, word in enumerate(words):
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                own[place] = f"{self._declared(name)}{equals}{value}"
        return own

    def _declared(self, name: str) -> str:
        """
        Raises:
            ConfigError: there is neither such a flag nor one that begins so.
        """
        flags = [flag for action in self._actions for flag in action.option_strings]
        spelled = f"--{name[2:].replace('-', '_')}"
        if not any(flag.startswith(spelled) for flag in flags):
            raise ConfigError(f"{name}: no such flag{did_you_mean(spelled, flags) or '; see --help'}")
        return spelled
