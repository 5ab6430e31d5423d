"""Which process gets which tests."""

from __future__ import annotations

import pytest
from dealing import deal

TESTS = ["a1", "b1", "b2", "c1", "D1", "d2", "e1", "F1", "g1", "g2", "H1", "h2"]
"""Named by their module; those in capitals are slow."""


def dealt(processes: int, tests: list[str] = TESTS) -> list[str]:
    return deal(tests, lambda test: test[0].lower(), str.isupper, processes)


def test_each_process_begins_with_its_share_of_slow_modules() -> None:
    assert dealt(2) == ["D1", "d2", "H1", "h2", "a1", "b1", "F1", "b2", "c1", "e1", "g1", "g2"]
    assert dealt(1) == ["D1", "d2", "F1", "H1", "h2", "a1", "b1", "b2", "c1", "e1", "g1", "g2"]


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 40])
def test_none_is_lost_or_run_twice(processes: int) -> None:
    assert sorted(dealt(processes)) == sorted(TESTS)
    assert dealt(processes, ["A1", "a2", "B1"]) == ["A1", "a2", "B1"]
    assert dealt(processes, []) == []
