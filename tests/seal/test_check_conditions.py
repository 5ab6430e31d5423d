"""Checking what figures were measured with: history, code, weights, self-check, clocks, coverage, and times that fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sealed_fixture import Sealed
from sealed_runs import Members, rewritten, said, verdicts, with_environment, with_rows

from savbench.results.rows import SummaryRow
from savbench.seal.history import check_wall_time
from savbench.seal.manifest import SealedRun


def _sitting(**changed: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda invocations: invocations.append({**invocations[0], **changed})


@pytest.mark.parametrize(
    ("change", "name", "verdict", "says"),
    [
        (_sitting(), "sittings", "pass", "2, with the same code"),
        (_sitting(code_sha256="0" * 64), "sittings", "warn", "code_sha256 changed"),
        (_sitting(arguments={"imgsz": 512}), "sittings", "warn", "--imgsz was [] and is 512"),
        (lambda i: i[0].update(benchmark={"commit": "a" * 40, "dirty": True}), "code", "warn", "had changes, nobody else has that code"),
        (lambda i: i[0].update(benchmark=None), "code", "warn", "no commit is known"),
        (lambda i: i[0].update(benchmark={"commit": "a" * 40, "dirty": False}), "code", "pass", "commit aaaaaaaaaaaa"),
        (lambda i: i[0]["arguments"].update(limit_videos=3), "coverage", "warn", "a part of the split: --limit_videos 3"),
        (lambda i: i[0].update(note="/home/jane/secret"), "private", "warn", "environment.json names /home/jane/secret"),
    ],
)
def test_history_and_code(
    sealed: Sealed, tmp_path: Path, change: Callable[[list[dict[str, Any]]], Any], name: str, verdict: str, says: str
) -> None:
    path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m: with_environment(m, change), mends_sums=True)
    assert verdicts(path)[name] == verdict
    assert says in said(path, name)


def test_code_that_is_not_its_commits_is_found(sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("savbench.seal.conditions.benchmark_version", lambda: "a" * 12)
    state = {"commit": "a" * 40, "dirty": False}
    for code, verdict in (("0" * 64, "fail"), (None, "pass")):

        def change(invocations: list[dict[str, Any]], code: str | None = code) -> None:
            invocations[0].update({"benchmark": state} | ({"code_sha256": code} if code else {}))

        path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m, c=change: with_environment(m, c), mends_sums=True)  # type: ignore[misc]
        assert verdicts(path)["code"] == verdict


def _learned(row: SummaryRow) -> None:
    row.weights, row.torch_version, row.device_name = "b" * 64, "2.6.0", "Orin"


SELFCHECK = {
    "passed": True, "when": "2026-11-28T08:00:00+00:00", "machine": "m", "device_name": "Orin", "torch": "2.6.0", "benchmark": "",
    "quick": False, "failed": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "verdict", "says"),
    [
        (None, "warn", "no selfcheck with this torch on this machine"),
        ({}, "warn", "but of benchmark"),
        ({"benchmark": "same"}, "pass", "selfcheck passed on 2026-11-28"),
        ({"passed": False, "failed": ["clocks"]}, "fail", "failed: clocks"),
        ({"torch": "2.5.0"}, "warn", "no selfcheck with this torch"),
    ],
)
def test_the_selfcheck_is_of_the_same_system(sealed: Sealed, tmp_path: Path, entry: dict[str, Any] | None, verdict: str, says: str) -> None:
    def change(members: Members) -> None:
        def learned(row: SummaryRow) -> None:
            _learned(row)
            row.benchmark_version = "same"

        with_rows(members, learned, tmp_path)
        listed = [] if entry is None else [{**SELFCHECK, **entry}]
        with_environment(members, lambda invocations: invocations[0].update(selfchecks=listed))

    path = rewritten(sealed.archive, tmp_path / "a.zip", change, mends_sums=True)
    assert (verdicts(path)["selfcheck"], verdicts(path)["weights"]) == (verdict, "warn")
    assert says in said(path, "selfcheck")


@pytest.mark.parametrize(
    ("changed", "verdict", "says"),
    [
        ({"validity": "throttled (tj=2)"}, "warn", "times of 6 of 6 rows are not comparable: throttled 6"),
        ({"validity": "", "power_source": "none"}, "warn", "clocks, heat and power of 6 of 6 rows were not read"),
        (
            {"temperature_peak_c": 61.0, "jetson_clocks": "on", "throttle_events": 0},
            "pass",
            "clocks locked, 61 C at most, throttled 0",
        ),
    ],
)
def test_clocks_and_throttling(sealed: Sealed, tmp_path: Path, changed: dict[str, Any], verdict: str, says: str) -> None:
    def change(row: SummaryRow) -> None:
        row.validity, row.power_source = "ok", "jtop"
        for name, value in changed.items():
            setattr(row, name, value)

    path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m: with_rows(m, change, tmp_path), mends_sums=True)
    assert (verdicts(path)["board"], says in said(path, "board")) == (verdict, True)


def test_failed_and_missing_objects_are_told(sealed: Sealed, tmp_path: Path) -> None:
    def fail(row: SummaryRow) -> None:
        if (row.video, row.object) == ("beta", "001"):
            row.arm_id = "other-arm"

    path = rewritten(sealed.archive, tmp_path / "a.zip", lambda m: with_rows(m, fail, tmp_path), mends_sums=True)
    told = said(path, "coverage")
    assert "other-arm lacks alpha/000, alpha/001, beta/000 and 2 more" in told
    assert "lacks beta/001" in told


@pytest.mark.parametrize(("columns", "verdict"), [({}, "fail"), ({"session_tracks": 2, "session_latency_ms": 400.0}, "pass")])
def test_objects_of_one_session_are_prepared_before_they_are_tracked(columns: dict[str, Any], verdict: str) -> None:
    """Two videos: the objects of a session start a second apart, and are then tracked for 40 s together."""
    rows = [
        SummaryRow(
            video=video, object=name, model="m", arm_id="m-1", started_at=f"2026-11-28T08:0{minute}:0{second}+00:00", frames=100,
            latency_ms=400.0, **columns,
        )
        for minute, video in enumerate("abc")
        for second, name in enumerate(("000", "001"))
    ]  # fmt: skip
    assert check_wall_time(SealedRun(rows)).verdict == verdict
    # a single one may be the clock's fault
    assert check_wall_time(SealedRun(rows[:2])).verdict == ("warn" if verdict == "fail" else "pass")
