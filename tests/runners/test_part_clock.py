from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners.base import PARTS  # noqa: E402
from runners.torch_common import PartClock  # noqa: E402


def test_parts_follow_each_other() -> None:
    clock = PartClock(torch.device("cpu"))
    clock.start()
    for part in PARTS:
        clock.mark(part)
    assert tuple(clock.parts_ms()) == PARTS
    assert all(value >= 0 for value in clock.parts_ms().values())


def test_a_call_that_raised_leaves_nothing_behind() -> None:
    clock = PartClock(torch.device("cpu"))
    clock.start()
    clock.mark("preprocess_ms")
    clock.start()
    assert clock.parts_ms() == {}


def test_a_part_out_of_order_is_refused() -> None:
    clock = PartClock(torch.device("cpu"))
    clock.start()
    with pytest.raises(ValueError, match="output_ms was marked where preprocess_ms is due"):
        clock.mark("output_ms")


def test_ranges_are_balanced_and_named_after_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clock = PartClock(torch.device("cpu"))
    nvtx = SimpleNamespace(range_push=said.append, range_pop=lambda: said.append("pop"))
    monkeypatch.setattr(clock, "_nvtx", nvtx)
    clock.start()
    clock.mark("preprocess_ms")
    clock.start()  # the model raised
    for part in PARTS:
        clock.mark(part)
    assert said == ["preprocess", "pop", "model", "pop", "preprocess", "pop", "model", "pop", "output", "pop"]


def test_events_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Event] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = 0.0
            made.append(self)

        def record(self, stream: object) -> None:
            self.at = next(times)

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    times = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0])
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    clock = PartClock(torch.device("cuda", 0))
    for expected in ([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]):
        clock.start()
        for part in PARTS:
            clock.mark(part)
        assert list(clock.parts_ms().values()) == expected
    assert len(made) == 1 + len(PARTS)
