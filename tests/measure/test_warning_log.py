from __future__ import annotations

import warnings

from savbench.measure.warning_log import WarningLog


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(text, category, stacklevel=1)


def test_every_warning_counts_and_distinct_first_lines_are_kept() -> None:
    with WarningLog() as log:
        for _ in range(3):
            warn("one\nmore")
        warn("one\nsomething else")
        warn("one", DeprecationWarning)
        warn("")
    assert log.count == 6
    assert log.lines == ["UserWarning: one", "DeprecationWarning: one", "UserWarning: "]


def test_filters_set_before_do_not_hide_anything() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with WarningLog() as log:
            warn("hidden otherwise")
    assert log.count == 1


def test_what_was_there_before_is_there_again() -> None:
    filters, show = list(warnings.filters), warnings.showwarning
    with WarningLog():
        warn("x")
    assert (list(warnings.filters), warnings.showwarning) == (filters, show)


def test_lines_are_limited_and_the_count_is_not() -> None:
    with WarningLog(limit=2) as log:
        for number in range(5):
            warn(f"number {number}")
    assert (log.count, len(log.lines)) == (5, 2)
