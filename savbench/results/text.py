"""Text from files that anyone may have written, made safe for where it is shown."""

from __future__ import annotations

import re
import unicodedata

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENTITY = re.compile(r"&(?=#?\w{2,};)")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""Those that may begin or end emphasis: within a word they cannot."""
_LINK = re.compile(r"\](?=[(\[:])")
_MARKDOWN = str.maketrans({**{sign: f"\\{sign}" for sign in "\\`*|~#$"}, "<": "&lt;"})


def printable(text: str) -> str:
    """On one line, without what a terminal would obey: control characters and what is no Unicode become escapes, `\\x1b`, `\\udcff`."""
    folded = " ".join(text.split())
    if folded.isprintable():
        return folded
    return "".join(sign if sign == " " or not _is_control(sign) else ascii(sign)[1:-1] for sign in folded)


def _is_control(sign: str) -> bool:
    # Cf has the marks that turn the direction of what follows
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def for_spreadsheet(text: str) -> str:
    """A cell that a spreadsheet shows instead of running it: an apostrophe stands before what would be a formula. Numbers stay numbers."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def for_markdown(text: str) -> str:
    """Text without what markdown or HTML would make of it, on one line."""
    escaped = _ENTITY.sub("&amp;", printable(text)).translate(_MARKDOWN)
    return _LINK.sub(r"\\]", _UNDERSCORE.sub(r"\\_", escaped))
