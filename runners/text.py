"""Cleans text from files, exceptions and programs for use in a row or a message."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""Terminal escape sequences: colours, cursor movements, titles (ECMA-48)."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Line breaks and other control characters, including those that change the direction of writing."""


def one_line(text: str) -> str:
    r"""The text on one line, without terminal escape sequences. Bytes that are not UTF-8 become escapes such as `\udcff`.

    Replaces control characters, with the spaces around them, by one space. Text without control characters stays unchanged, including
    double spaces, so that names survive.
    """
    parts = _CONTROLS.split(_ESCAPES.sub("", text))
    line = parts[0] if len(parts) == 1 else " ".join(filter(None, (part.strip(" ") for part in parts)))
    return line.encode("utf-8", "backslashreplace").decode()
