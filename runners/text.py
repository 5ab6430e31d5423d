"""Text that came from a file, an exception or a program, on its way into a row or a message."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""What terminals obey: colours, movements, titles (ECMA-48)."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Line breaks and other control characters, those that turn the direction of writing included."""


def one_line(text: str) -> str:
    r"""The text on one line and without what a terminal would obey. Bytes that were no UTF-8 become `\udcff` and the like.

    Line breaks and other control characters, with the blanks around them, become a blank. Text without any stays as it is to the letter,
    double blanks included, so that names survive.
    """
    parts = _CONTROLS.split(_ESCAPES.sub("", text))
    line = parts[0] if len(parts) == 1 else " ".join(filter(None, (part.strip(" ") for part in parts)))
    return line.encode("utf-8", "backslashreplace").decode()
