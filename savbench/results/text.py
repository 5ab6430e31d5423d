"""Making text from untrusted files safe for spreadsheets and markdown."""

from __future__ import annotations

import re

from runners.text import one_line

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENTITY = re.compile(r"&(?=#?\w{2,};)")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""Underscores that may begin or end emphasis; inside a word they cannot."""
_LINK = re.compile(r"\](?=[(\[:])")
_MARKDOWN = str.maketrans({**{sign: f"\\{sign}" for sign in "\\`*|~#$"}, "<": "&lt;"})


def for_spreadsheet(text: str) -> str:
    """A cell that a spreadsheet shows as text: an apostrophe precedes what it would run as a formula. Numbers stay numbers."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def for_markdown(text: str) -> str:
    """The text on one line, with markdown and HTML escaped."""
    escaped = _ENTITY.sub("&amp;", one_line(text).strip()).translate(_MARKDOWN)
    return _LINK.sub(r"\\]", _UNDERSCORE.sub(r"\\_", escaped))
