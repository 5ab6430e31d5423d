"""What decides on a board which rows are taken and in which order: --strict, --order, --sustained, --memory_budget. Real workers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, config, make_split
from watched_board import TellingProgress, WatchedBoard

from runners import RUNNERS
from savbench.board import cooling, validity
from savbench.board import watch as board
from savbench.board.power.base import PowerError
from savbench.board.power.choose import Choice
from savbench.results import sustained
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import RunFolder
from savbench.results.sustained import STEADY, TIME_IS_UP, SustainedRow
from savbench.results.telemetry import TelemetryRow
from savbench.supervise import local_executor, worker_process
from savbench.supervise import run as runs
from savbench.supervise.ledger import Ledger


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> WatchedBoard:
    """The board of a run, and no waiting that is not asked for."""
    for name in ("scripted", "other"):
        monkeypatch.setitem(RUNNERS, name, scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)
    for module, name, value in (
        (board, "SETTLE_S", 0.0),
        (board, "IDLE_S", 0.1),
        (cooling, "STEP_S", 0.02),
        (local_executor, "STRICT_PAUSE_S", 0.0),
        # the machine that the tests run on may be busy
        (validity, "MAX_BACKGROUND_CPUS", float("inf")),
    ):
        monkeypatch.setattr(module, name, value)
    watched = WatchedBoard()
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(watched, "power: watched"))
    return watched


def run(
    tmp_path: Path,
    videos: dict[str, int],
    on_say: Callable[[str], None] = lambda text: None,
    on_wait: Callable[[str], None] = lambda text: None,
    on_frame: Callable[[int], None] = lambda done: None,
    **settings: object,
) -> tuple[list[SummaryRow], str]:
    split_dir = tmp_path / "split"
    if not split_dir.exists():
        make_split(tmp_path, videos)
    said = io.StringIO()
    runs.run(config(split_dir, tmp_path / "run", **settings), [], TellingProgress(said, on_say, on_wait, on_frame))
    return read_rows(SummaryRow, tmp_path / "run" / "summary.csv"), said.getvalue()


def test_strict_waits_until_the_board_has_cooled_down(tmp_path: Path, watched: WatchedBoard) -> None:
    watched.celsius = 64.0

    def cool(text: str) -> None:
        watched.celsius -= 4.0

    rows, said = run(tmp_path, {"a": 9}, on_wait=cool, strict=True, cooldown_c=50.0)
    assert [(row.status, row.validity) for row in rows] == [("ok", "ok")]
    assert "scripted_mask: cooling: 64.0 C, waiting for 50 C, 0 s so far" in said
    assert (rows[0].temperature_start_c or 99) <= 50
    phases = [reading.phase for reading in read_rows(TelemetryRow, tmp_path / "run" / "telemetry.csv")]
    assert "cooling" in phases[: phases.index("idle")]


@pytest.mark.parametrize("settings", [{"strict": True}, {"min_frames": 16}, {"min_time_s": 0.001}])
def test_nothing_is_scored_while_frames_are_timed_that_are_to_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    happened: list[str] = []
    take, append = Ledger.take, RunFolder.append

    def taken(self: Ledger, event: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if event["event"] == "begun":
            happened.append(f"{event['targets'][0][0]} begun")
        take(self, event, *args, **kwargs)

    def appended(self: RunFolder, row: SummaryRow, *args: Any, **kwargs: Any) -> None:
        happened.append(f"{row.video} kept")
        time.sleep(0.2)  # the next object would begin meanwhile
        append(self, row, *args, **kwargs)

    monkeypatch.setattr(Ledger, "take", taken)
    monkeypatch.setattr(RunFolder, "append", appended)
    rows, _ = run(tmp_path, {"a": 9, "b": 9, "c": 9}, **settings)
    assert [row.status for row in rows] == ["ok"] * 3
    assert happened == [f"{video} {what}" for video in "abc" for what in ("begun", "kept")]


def test_strict_runs_an_object_again_whose_row_is_not_valid(tmp_path: Path, watched: WatchedBoard) -> None:
    watched.alarms = frozenset({"oc3"})

    def calm(text: str) -> None:
        if "try 2 of 3" in text:
            watched.alarms = frozenset()

    rows, said = run(tmp_path, {"slow_a": 9, "slow_b": 9}, on_say=calm, strict=True)
    assert [(row.video, row.status, row.validity, row.throttle_events) for row in rows] == [
        ("slow_a", "ok", "ok", 0),
        ("slow_b", "ok", "ok", 0),
    ]
    assert "slow_a/000: throttled (oc3=1): row rejected, try 2 of 3 follows" in said


def test_strict_refuses_in_the_end_and_gives_the_arm_up(tmp_path: Path, watched: WatchedBoard) -> None:
    watched.alarms = frozenset({"oc3"})
    rows, _ = run(tmp_path, dict.fromkeys(("slow_a", "slow_b", "slow_c", "slow_d"), 9), strict=True)
    assert [row.status for row in rows] == ["error", "error", "error", "skipped"]
    for row in rows[:3]:
        assert row.error == "refused under --strict after 3 tries: throttled (oc3=1)"
        assert row.validity == "throttled (oc3=1)"
        assert (row.fps, row.J, row.power_mean_w, row.frames) == (None,) * 4
    assert "given up after 3 objects in a row" in rows[3].error


@pytest.mark.parametrize("is_unplugged", [False, True])
def test_strict_does_not_wait_for_what_does_not_pass(tmp_path: Path, watched: WatchedBoard, is_unplugged: bool) -> None:
    def spoil(text: str) -> None:
        watched.jetson_clocks, watched.is_plugged, watched.celsius = False, not is_unplugged, 40.0

    # it waits for a moment before the first worker
    watched.celsius = 46.0
    rows, said = run(tmp_path, {"slow_a": 9, "slow_b": 9}, on_wait=spoil, strict=True, cooldown_c=45.0)
    assert [row.status for row in rows] == ["skipped"] * 2
    reason = "watched: unplugged; plug it in" if is_unplugged else "clocks not locked (sudo scripts/lock_clocks.sh)"
    assert rows[1].error == f"refused under --strict: {reason}"
    assert said.count("row rejected") == 1


def test_strict_says_at_once_where_no_row_could_be_valid(tmp_path: Path, watched: WatchedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.jetson_clocks = False
    with pytest.raises(PowerError, match=r"--strict would refuse every row: clocks not locked \(sudo scripts/lock_clocks.sh\)"):
        run(tmp_path, {"a": 9}, strict=True)
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(None, "power: none; jtop: no Jetson"))
    with pytest.raises(PowerError, match=r"--strict needs readings of the board .*no Jetson.*--power"):
        run(tmp_path, {"a": 9}, strict=True)


def test_a_power_mode_that_changes_in_mid_run_is_in_the_row(tmp_path: Path, watched: WatchedBoard) -> None:
    def change(done: int) -> None:
        if done > 20:
            watched.nvpmodel = "15W"

    rows, _ = run(tmp_path, {"slow_a": 60}, on_frame=change)
    assert (rows[0].status, rows[0].nvpmodel, rows[0].validity) == ("ok", "MAXN > 15W", "power mode changed (MAXN > 15W)")


def test_interleaved_arms_take_turns_by_video(tmp_path: Path) -> None:
    videos = dict.fromkeys(("a", "raise", "c"), 9)
    rows, _ = run(tmp_path, videos, models=("scripted_mask", "other_mask"), order="interleaved")
    assert [(row.model, row.video) for row in rows] == [
        ("scripted", "a"), ("other", "a"), ("other", "raise"), ("scripted", "raise"), ("scripted", "c"), ("other", "c"),
    ]  # fmt: skip
    assert [row.status for row in rows] == ["ok", "ok", "error", "error", "ok", "ok"]
    # the board idles before an arm, not before each of its turns
    readings = read_rows(TelemetryRow, tmp_path / "run" / "telemetry.csv")
    idle = [reading.arm_id for reading in readings if reading.phase == "idle"]
    assert sum(arm != before for arm, before in zip(idle, ["", *idle], strict=False)) == 2
    assert all(row.idle_w == pytest.approx(7.0) for row in rows if row.status == "ok")


def test_an_interleaved_arm_that_cannot_be_built_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", "runner_error")
    rows, _ = run(tmp_path, dict.fromkeys("abc", 9), models=("scripted_mask", "other_mask"), order="interleaved")
    assert [(row.model, row.status) for row in rows] == [("scripted", "error")] * 3 + [("other", "error")] * 3
    builds = [log.read_text() for log in (tmp_path / "run" / "logs").glob("*_mask*.log")]
    assert len(builds) == 2


def courses(tmp_path: Path) -> list[SustainedRow]:
    return read_rows(SustainedRow, tmp_path / "run" / "sustained.csv")


def test_sustained_repeats_the_objects_until_nothing_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sustained, "STEADY_MIN", 0.02)
    monkeypatch.setattr(sustained, "STEADY_SPEED", 10.0)
    rows, said = run(tmp_path, {"slow_a": 9, "raise": 9, "slow_b": 9}, sustained_minutes=2.0)
    assert [(row.video, row.status) for row in rows] == [("slow_a", "ok"), ("raise", "error"), ("slow_b", "ok")]
    runs = courses(tmp_path)
    # the worker that died began the course anew; all that follows ran in one
    assert [run.video for run in runs[:4]] == ["slow_a", "slow_b", "slow_a", "slow_b"]
    assert [run.round for run in runs[:4]] == [1, 1, 2, 2]
    assert [run.end for run in runs] == [""] * (len(runs) - 1) + [STEADY]
    assert 1.2 / 60 <= (runs[-1].minutes or 0) < 2.0
    assert {run.temperature_peak_c for run in runs} == {45.0}
    assert "scripted_mask: steady from" in said
    assert "FPS" in said.split("minutes")[1].splitlines()[0]
    # what is there is not run again
    before = (tmp_path / "run" / "sustained.csv").read_bytes()
    run(tmp_path, {}, sustained_minutes=2.0)
    assert (tmp_path / "run" / "sustained.csv").read_bytes() == before


def test_sustained_ends_when_the_time_is_up(tmp_path: Path) -> None:
    rows, said = run(tmp_path, {"slow_a": 9}, sustained_minutes=0.02)
    assert [row.status for row in rows] == ["ok"]
    runs = courses(tmp_path)
    assert len(runs) > 1
    assert (runs[-1].end, (runs[-1].minutes or 0) >= 0.02) == (TIME_IS_UP, True)
    assert "not steady after 0.0 min: too short" in said


def test_a_worker_that_dies_in_a_later_round_ends_the_course_and_keeps_the_rows(tmp_path: Path) -> None:
    rows, said = run(tmp_path, {"wear": 9}, sustained_minutes=2.0)
    assert [row.status for row in rows] == ["ok"]
    runs = courses(tmp_path)
    assert [run.round for run in runs] == [1, None]
    assert runs[-1].end == "ZeroDivisionError: worn out"
    assert "ZeroDivisionError: worn out" in said


def test_an_arm_that_outgrows_its_budget_is_refused_within_the_first_clip(tmp_path: Path) -> None:
    rows, _ = run(tmp_path, {"grow_a": 40, "long": 400}, memory_budget=600.0)
    assert [row.status for row in rows] == ["skipped", "skipped"]
    for row in rows:
        assert row.error.startswith("forecast ")
        assert "exceeds --memory_budget, 600 MiB; use shorter clips (--max_frames), or close other programs" in row.error
        assert row.memory_budget_MiB == 600.0
        # 2 MiB for each of 400 frames
        assert row.forecast_state_MiB == pytest.approx(800, rel=0.1)
        assert (row.fps, row.J) == (None, None)


def test_an_arm_that_fits_says_what_it_takes(tmp_path: Path) -> None:
    rows, _ = run(tmp_path, {"grow_a": 40, "b": 40}, memory_budget="auto")
    assert [row.status for row in rows] == ["ok", "ok"]
    for row in rows:
        assert row.forecast_state_MiB == pytest.approx(80, rel=0.1)
        parts = (row.forecast_weights_MiB, row.forecast_workspace_MiB, row.forecast_frames_MiB, row.forecast_state_MiB)
        assert row.forecast_MiB == pytest.approx(sum(part or 0 for part in parts))
        assert (row.memory_budget_MiB or 0) > (row.forecast_MiB or 0)
