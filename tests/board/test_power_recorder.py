from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from savbench.board.power.base import PowerError, Reading, Scope
from savbench.board.power.recorder import Recorder


class Scripted:
    """A source that gives what it is told, reading by reading."""

    name = "scripted"
    interval_s = 0.005
    scope: Scope = "module"

    def __init__(self, script: Callable[[int], list[Reading]]) -> None:
        self._script = script
        self.calls = 0
        self.closed = threading.Event()

    def read(self) -> list[Reading]:
        self.calls += 1
        return self._script(self.calls)

    def close(self) -> None:
        self.closed.set()


def _at(t_s: float) -> Reading:
    return Reading(t_s=t_s, unix_s=t_s)


def _times(readings: Sequence[Reading]) -> list[float]:
    return [reading.t_s for reading in readings]


def _recorded(times: list[float]) -> Recorder:
    recorder = Recorder(Scripted(lambda call: [_at(times[call - 1])] if call <= len(times) else []))
    with recorder:
        assert recorder.wait_past(times[-1] - 0.5, timeout_s=20)
    return recorder


def test_a_stretch_has_one_reading_before_it_and_one_after() -> None:
    recorder = _recorded([1, 2, 3, 4, 5, 6])

    assert _times(recorder.around(2.5, 4.5)) == [2, 3, 4, 5]
    assert _times(recorder.around(2, 4)) == [1, 2, 3, 4, 5]
    assert _times(recorder.around(0, 1.5)) == [1, 2]
    assert _times(recorder.around(5.5, 9)) == [5, 6]


def test_what_is_forgotten_leaves_the_reading_before_what_comes() -> None:
    recorder = _recorded([1, 2, 3, 4])
    recorder.forget(2.5)

    assert _times(recorder.around(0, 9)) == [2, 3, 4]


def test_readings_out_of_step_are_left_out() -> None:
    batches = [[_at(1), _at(2)], [_at(1.5), _at(2)], [_at(2.5)]]
    recorder = Recorder(Scripted(lambda call: batches[call - 1] if call <= 3 else []))
    with recorder:
        assert recorder.wait_past(2.4, timeout_s=20)

    assert _times(recorder.around(0, 9)) == [1, 2, 2.5]


def test_readings_are_handed_on_as_they_come_and_once_more_at_the_end() -> None:
    handed: list[float] = []
    sampler = Scripted(lambda call: [_at(float(call))])
    with Recorder(sampler, lambda readings: handed.extend(_times(readings))) as recorder:
        assert recorder.wait_past(3, timeout_s=20)

    assert handed == [float(call) for call in range(1, sampler.calls + 1)]
    assert handed == _times(recorder.around(0, 1e9))
    assert sampler.closed.is_set()


def test_a_source_that_dies_ends_the_recording_and_nothing_else() -> None:
    def script(call: int) -> list[Reading]:
        if call == 3:
            raise PowerError("scripted: gone; mend it")
        return [_at(float(call))]

    sampler = Scripted(script)
    with Recorder(sampler) as recorder:
        # nobody waits for a dead source
        assert not recorder.wait_past(99, timeout_s=60)
        assert recorder.died == "scripted: gone; mend it"
        assert sampler.closed.wait(20)
    assert _times(recorder.around(0, 9)) == [1, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_of_ours_is_said_too() -> None:
    def script(call: int) -> list[Reading]:
        raise ZeroDivisionError("oops")

    with Recorder(Scripted(script)) as recorder:
        assert not recorder.wait_past(0, timeout_s=60)
    assert recorder.died == "scripted: the recording ended with ZeroDivisionError: oops; report this as a bug"


def test_waiting_ends_with_its_time() -> None:
    with Recorder(Scripted(lambda call: [])) as recorder:
        assert not recorder.wait_past(0, timeout_s=0.01)
        assert recorder.died == ""


def test_a_recorder_serves_once() -> None:
    recorder = Recorder(Scripted(lambda call: []))
    with recorder, pytest.raises(RuntimeError, match="started only once"):
        recorder.start()
    recorder.stop()
