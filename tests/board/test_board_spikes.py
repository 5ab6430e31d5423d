"""Causes of latency spikes that the board's readings show."""

from __future__ import annotations

from typing import Any

import pytest

from savbench.board.power.base import Reading
from savbench.board.spikes import add_causes
from savbench.results.frame_rows import FrameRow
from savbench.results.spikes import CAUSES, UNKNOWN, count_causes

SPANS = [(second + 0.2, second + 0.4) for second in range(6)]


def readings(**of_third: Any) -> list[Reading]:
    """A reading at every full second; the one at 3 differs."""
    usual: dict[str, Any] = {"gpu_clock_khz": 1000.0, "swap_io_mib": 7.0}
    return [Reading(t_s=float(second), unix_s=0.0, **(usual | (of_third if second == 3 else {}))) for second in range(8)]


def found(given: list[Reading], cause: str = UNKNOWN, device: str = "cuda:0") -> list[str]:
    """Causes of six frames, of which those in seconds 1 and 3 are spikes."""
    frames = [FrameRow(frame=number, spike_cause=cause if number in (1, 3) else "") for number in range(6)]
    add_causes(frames, SPANS, given, device)
    return [frame.spike_cause for frame in frames]


@pytest.mark.parametrize(
    ("of_third", "cause"),
    [
        ({"gpu_clock_khz": 900.0}, "clock drop"),
        ({"alarms": frozenset({"VDD_IN crit"})}, "thermal event"),
        ({"gpu_others_pct": 5.0}, "another process"),
    ],
)
def test_what_the_readings_around_a_spike_tell(of_third: dict[str, Any], cause: str) -> None:
    assert found(readings(**of_third)) == ["", UNKNOWN, "", cause, "", ""]


def test_swapping_is_seen_between_two_readings() -> None:
    given = [Reading(t_s=float(second), unix_s=0.0, swap_io_mib=7.0 + (second > 3)) for second in range(8)]
    assert found(given)[3] == "swap"


def test_events_that_the_board_counts_are_seen() -> None:
    given = [Reading(t_s=float(second), unix_s=0.0, events={"oc3": 2 + (second > 1)}) for second in range(8)]
    assert found(given) == ["", "thermal event", "", UNKNOWN, "", ""]


def test_a_cause_that_the_worker_knows_stays() -> None:
    assert found(readings(gpu_clock_khz=900.0), "page fault") == ["", "page fault", "", "page fault; clock drop", "", ""]


def test_a_gpus_clock_says_nothing_of_a_model_on_the_cpu() -> None:
    assert found(readings(gpu_clock_khz=900.0), device="cpu")[3] == UNKNOWN


def test_without_readings_nothing_is_added() -> None:
    assert found([]) == ["", UNKNOWN, "", UNKNOWN, "", ""]


def test_causes_are_counted_one_by_one() -> None:
    frames = [FrameRow(spike_cause=cause) for cause in ("", "swap; clock drop", "swap", UNKNOWN)]
    assert count_causes(frames) == {"swap": 2, "clock drop": 1, "unknown": 1}
    assert set(count_causes(frames)) <= {*CAUSES, UNKNOWN}
