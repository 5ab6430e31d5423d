from __future__ import annotations

from collections.abc import Callable

import pytest

from savbench.board.cooling import LIMIT_S, STILL_S, cool_down


class Board:
    """A board whose temperature is a function of the time since it was left alone."""

    def __init__(self, celsius_at: Callable[[float], float | None]) -> None:
        self._celsius_at = celsius_at
        self.now_s = 0.0
        self.told: list[str] = []
        self.stop_at_s = float("inf")

    def cool(self, target_c: float, **options: float) -> str:
        return cool_down(
            lambda: self._celsius_at(self.now_s),
            target_c,
            self.told.append,
            lambda: self.now_s >= self.stop_at_s,
            now_s=lambda: self.now_s,
            sleep=self._sleep,
            **options,
        )

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_it_waits_until_the_target_is_reached_and_says_how_long() -> None:
    board = Board(lambda t: 70 - 0.25 * t)
    assert board.cool(50.0) == ""
    assert board.now_s == 80.0
    assert board.told[0] == "cooling: 70.0 C, waiting for 50 C, 0 s so far"
    assert board.told[-1] == "cooling: 50.2 C, waiting for 50 C, 1 min 19 s so far"


def test_a_cold_board_is_not_waited_for_unless_asked() -> None:
    board = Board(lambda t: 40.0)
    assert board.cool(50.0) == ""
    assert (board.now_s, board.told) == (0.0, [])
    assert board.cool(50.0, at_least_s=10.0) == ""
    assert board.now_s == 10.0


def test_a_board_that_becomes_no_colder_is_not_waited_for_any_longer() -> None:
    board = Board(lambda t: max(54.0, 60 - 0.1 * t))
    assert board.cool(50.0) == "54.0 C after 3 min 56 s and not cooling further, continuing"
    assert board.now_s == pytest.approx(60 + STILL_S, abs=6)


def test_there_is_a_limit() -> None:
    board = Board(lambda t: 90 - 0.01 * t)
    assert board.cool(50.0) == "still 72.0 C after 30 min 00 s, continuing"
    assert board.now_s == LIMIT_S


def test_it_ends_where_the_user_or_the_source_ends() -> None:
    board = Board(lambda t: 70.0 if t < 5 else None)
    assert board.cool(50.0) == "the temperature cannot be read, continuing"
    board = Board(lambda t: 70.0)
    board.stop_at_s = 3.0
    assert board.cool(50.0) == ""
    assert board.now_s == 3.0
