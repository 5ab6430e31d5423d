"""The report's section on latency spikes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from savbench.report.spikes import spikes


def arm(number: int) -> Any:
    return SimpleNamespace(number=number, shown=f"arm {number}", mark="", is_random=False)


def frames(*of_frame: tuple[float, str]) -> pd.DataFrame:
    latency_ms, causes = zip(*of_frame, strict=True)
    return pd.DataFrame({"video": "v", "object": "000", "latency_ms": latency_ms, "spike_cause": causes})


def test_spikes_are_counted_by_cause_with_their_excess(monkeypatch: Any) -> None:
    monkeypatch.setattr("savbench.report.spikes.notes_of", lambda arms: ())
    usual = [(10.0, "")] * 5
    tables = {
        1: frames(*usual, (30.0, "page fault; swap"), (20.0, "unknown")),
        2: frames(*usual, (40.0, "swap")),
        3: frames(*usual),
    }
    (figure,) = spikes([arm(1), arm(2), arm(3), arm(4)], tables)
    assert figure.table.header == ["arm", "frames", "median excess, ms", "page fault", "swap", "unknown"]
    assert figure.table.rows == [["arm 1", "2", "15.00", "1", "1", "1"], ["arm 2", "1", "30.00", "0", "1", "0"]]


def test_files_without_causes_have_no_such_section() -> None:
    assert spikes([arm(1)], {1: frames((10.0, ""), (20.0, ""))}) == []
    assert spikes([arm(1)], {}) == []
