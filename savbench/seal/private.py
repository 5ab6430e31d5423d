"""Takes paths of the machine and names of nodes out of what is sealed.

environment.json, config.toml and run.json name the folders of a run; errors and warnings in rows may name files of libraries. Known
folders become words such as `<split_dir>`, other absolute paths keep the name of their file. User and host names are recorded nowhere else;
nodes of a cluster are numbered.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.results.environment import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ABSOLUTE = re.compile(r"""(?<![\w./<>~])(?:/(?!/)[^\s/"'|;:,()<>\\]+){2,}/?""")
"""A path of two folders or more: 1/2 and `/` are none."""
_KEPT = re.compile(r"/(?:proc|sys|dev|etc)/")
"""Files of the kernel, the same on every machine."""


class Scrubber:
    """Replaces private texts, and counts what it replaced.

    Attributes:
        removed: number of replacements, by what was replaced.
    """

    def __init__(self, run: Path, invocations: Iterable[Mapping[str, Any]], nodes: Iterable[str]) -> None:
        """
        Args:
            run: the run's folder.
            invocations: of environment.json.
            nodes: names of machines in rows.
        """
        self.removed: Counter[str] = Counter()
        known: dict[str, str] = {}
        for invocation in invocations:
            arguments = invocation.get("arguments")
            for name, value in arguments.items() if isinstance(arguments, dict) else ():
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str) and text.startswith("/") and len(text) > 1:
                        known.setdefault(text, f"<{name}>")
        folders = {
            run.absolute(): "run",
            CHECKOUT: "benchmark",
            Path(sys.prefix): "venv",
            Path(tempfile.gettempdir()): "tmp",
            _home(): "home",
        }
        for folder, word in folders.items():
            for path in (folder, folder.resolve()):
                if len(path.parts) > 1:
                    known.setdefault(str(path), f"<{word}>")
        known |= {json.dumps(text, ensure_ascii=False)[1:-1]: word for text, word in known.items()}
        # the longest first: a split may lie in the home folder
        ordered = sorted(known, key=len, reverse=True)
        self._words = known
        self._folders = re.compile("|".join(f"{re.escape(text)}(?![\\w-])" for text in ordered) or r"(?!)")
        self._nodes = {name: f"node{number}" for number, name in enumerate(dict.fromkeys(filter(None, nodes)), 1)}
        self._node = re.compile("|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in self._nodes) or r"(?!)")

    def scrub(self, text: str) -> str:
        """The text without private parts. Quotes and commas are as before, so that JSON, TOML and CSV stay what they are."""
        text = self._folders.sub(lambda found: self._say("known folders", self._words[found[0]]), text)
        text = ABSOLUTE.sub(self._file, text)
        return self._node.sub(lambda found: self._say("names of nodes", self._nodes[found[0]]), text)

    def _file(self, found: re.Match[str]) -> str:
        if _KEPT.match(found[0]):
            return found[0]
        return self._say("other absolute paths", f"<path>/{found[0].rstrip('/').rpartition('/')[2]}")

    def _say(self, what: str, word: str) -> str:
        self.removed[what] += 1
        return word


def absolute_paths(text: str) -> list[str]:
    """Absolute paths that a text names, without those of the kernel."""
    return [found for found in dict.fromkeys(ABSOLUTE.findall(text)) if not _KEPT.match(found)]


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without an entry and without HOME
        return Path("/")
