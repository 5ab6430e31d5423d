from __future__ import annotations

import pytest

from runners.text import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  two  blanks\u00a0 and more ", "  two  blanks\u00a0 and more "),
        ("first\n    second\r\n\n\tthird\n", "first second third"),
        ("\x1b[31;1mred\x1b[0m and \x1b]0;title\x07bold\x1b[2K", "red and bold"),
        ("bell\x07 and \x9b31m", "bell and 31m"),
        ("\u202eevil\u202c", "evil"),
        ("not \udcff UTF-8", "not \\udcff UTF-8"),
        ("\x1b", ""),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_text_is_one_line_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert one_line(text) == shown
