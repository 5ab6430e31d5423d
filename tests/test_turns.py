"""Who runs beside whom."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path

from turns import turn

PATIENCE_S = 60.0


def start(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body)
    thread.start()
    return thread


def wait_until_shut(gate: Path) -> None:
    """Until a test waits behind the gate to be alone."""
    while True:
        with gate.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return


def test_tests_run_together(tmp_path: Path) -> None:
    met = threading.Barrier(2, timeout=PATIENCE_S)

    def run() -> None:
        with turn(tmp_path, alone=False):
            met.wait()

    other = start(run)
    run()
    other.join()
    assert not met.broken


def test_one_that_is_alone_is_waited_for(tmp_path: Path) -> None:
    order: list[str] = []

    def run(name: str) -> None:
        with turn(tmp_path, alone=False):
            order.append(name)

    with turn(tmp_path, alone=True):
        others = [start(lambda name=name: run(name)) for name in "ab"]  # type: ignore[misc]
        wait_until_shut(tmp_path / "gate")
        order.append("alone")
    for other in others:
        other.join()
    assert order[0] == "alone"
    assert sorted(order) == ["a", "alone", "b"]


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    order: list[str] = []

    def run(name: str, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)

    with turn(tmp_path, alone=False):
        alone = start(lambda: run("alone", True))
        wait_until_shut(tmp_path / "gate")
        later = start(lambda: run("later", False))
        order.append("first")
    alone.join()
    later.join()
    assert order == ["first", "alone", "later"]
