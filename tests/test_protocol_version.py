"""The version of the protocol changes if and only if timing or scoring does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import protocol_record
import pytest

from savbench.finish import metrics
from savbench.measure import measured, session
from savbench.measure.measured import TimedFrame
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results.latency import LatencySamples

RECORDED = protocol_record.FOLDER / f"{PROTOCOL_VERSION}.json"


def recorded() -> Any:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def differing() -> list[str]:
    """Sections that are not what is recorded for this version. A figure that is new changes nothing of those that were there."""
    now, before = protocol_record.outputs(), recorded()
    return [name for name in before if not agree(before[name], now.get(name))]


def agree(before: Any, now: Any) -> bool:
    if isinstance(before, dict) and isinstance(now, dict):
        return all(name in now and agree(content, now[name]) for name, content in before.items())
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(agree, before, now))
    return bool(before == now)


def test_this_version_times_and_scores_as_recorded() -> None:
    assert not differing(), (
        "timing or scoring gives other figures on the same clip. If that is meant: raise PROTOCOL_VERSION in savbench/plan/protocols.py by "
        "1, and run PYTHONPATH=. .venv/bin/python tests/protocol_record.py"
    )


def test_every_version_is_recorded_and_none_twice() -> None:
    names = sorted(path.name for path in protocol_record.FOLDER.iterdir())
    assert names == sorted(f"{number}.json" for number in range(1, PROTOCOL_VERSION + 1))
    assert len({path.read_bytes() for path in protocol_record.FOLDER.iterdir()}) == len(names)


def test_what_is_recorded_is_not_recorded_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(protocol_record, "FOLDER", tmp_path / "new")
    assert protocol_record.main() == 0
    assert (tmp_path / "new" / RECORDED.name).read_text() == RECORDED.read_text()
    assert protocol_record.main() == 1


def test_the_clip_has_the_times_that_only_the_calls_took() -> None:
    alone = recorded()["timing"]["alone"][0]
    # frame n takes 10 + n^2 / 4 ms; opening, prompting, decoding and telling are not in it
    assert alone["frames"] == [[n, 0, 10 + n * n / 4, 40.0] for n in range(1, 33)]
    assert (alone["row"]["init_ms"], alone["row"]["first_frame_ms"], alone["row"]["frames"]) == (700.0, 90.0, 32)


def clock() -> protocol_record.Clock:
    """The one that stands in for the process' own meanwhile."""
    now: Any = time.perf_counter
    assert isinstance(now, protocol_record.Clock)
    return now


@pytest.mark.parametrize(
    ("where", "name", "changed", "section"),
    [
        (metrics, "BOUNDARY_TOLERANCE", 0.016, "scoring"),
        (metrics, "frames_to_score", lambda annotated: annotated[1:], "scoring"),
        (session, "is_first_use", lambda *args: clock().work(1), None),
        (TimedFrame, "call_ms", property(lambda frame: (frame.span[1] - frame.span[0]) * 1e3 + frame.decode_ms), "timing"),
        (LatencySamples, "percentile", lambda self, p: float(np.percentile(self.samples_ms, p, method="lower")), "timing"),
        (measured, "_mean", lambda samples: float(np.median(list(samples) or [0])), "timing"),
    ],
)
def test_a_change_of_timing_or_scoring_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, changed: Any, section: str | None
) -> None:
    """Work outside of the timed call (the third) changes nothing."""
    monkeypatch.setattr(where, name, changed)
    if name == "frames_to_score":
        from savbench.finish import scoring

        monkeypatch.setattr(scoring, name, changed)
    assert differing() == ([] if section is None else [section])
