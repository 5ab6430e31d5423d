"""Who runs beside whom."""

from __future__ import annotations

import threading
from pathlib import Path

from turns import turn


def test_tests_run_together_unless_one_wants_to_be_alone(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=60)
    running: set[str] = set()
    seen: dict[str, set[str]] = {}

    def run(name: str, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            running.add(name)
            if not alone:
                together.wait()  # for the other one, which has to be let in meanwhile
            seen[name] = set(running)
            running.remove(name)

    for _ in range(20):
        threads = [threading.Thread(target=run, args=(name, name == "c")) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen["c"] == {"c"}


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def run(name: str, alone: bool) -> None:
        waits.set()
        with turn(tmp_path, alone=alone):
            order.append(name)

    with turn(tmp_path, alone=False):
        alone = threading.Thread(target=run, args=("alone", True))
        alone.start()
        waits.wait(60)
        while not _is_shut(tmp_path / "gate"):
            pass
        later = threading.Thread(target=run, args=("later", False))
        later.start()
    alone.join()
    later.join()
    assert order == ["alone", "later"]


def _is_shut(gate: Path) -> bool:
    import fcntl

    with gate.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
