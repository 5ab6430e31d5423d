"""Rows of earlier invocations that a command runs again because it asks for more than they hold."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, config, make_split
from watched_board import WatchedBoard

from runners import RUNNERS
from savbench.board import validity
from savbench.board import watch as board
from savbench.board.power.choose import Choice
from savbench.results.csv_rows import read_rows
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.supervise import local_executor, worker_process
from savbench.supervise import run as runs
from savbench.supervise.progress import Progress


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> WatchedBoard:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)
    for module, name, value in (
        (board, "SETTLE_S", 0.0),
        (board, "IDLE_S", 0.1),
        (local_executor, "STRICT_PAUSE_S", 0.0),
        (validity, "MAX_BACKGROUND_CPUS", float("inf")),
    ):
        monkeypatch.setattr(module, name, value)
    watched = WatchedBoard()
    monkeypatch.setattr(board, "open_source", lambda *_: Choice(watched, "power: watched"))
    return watched


def run(tmp_path: Path, **settings: object) -> tuple[int, dict[str, SummaryRow], str]:
    split_dir = tmp_path / "split"
    if not split_dir.exists():
        make_split(tmp_path, ["slow_a", "nan", "slow_b"])
    said = io.StringIO()
    status = runs.run(config(split_dir, tmp_path / "run", **settings), [], Progress(said, said))
    frames = read_rows(FrameRow, tmp_path / "run" / "frames.csv")
    assert len({(frame.key, frame.frame, frame.repeat) for frame in frames}) == len(frames)
    return status, {row.video: row for row in read_rows(SummaryRow, tmp_path / "run" / "summary.csv")}, said.getvalue()


def test_strict_runs_again_what_it_would_not_have_taken(tmp_path: Path, watched: WatchedBoard) -> None:
    watched.jetson_clocks = False
    _, before, _ = run(tmp_path)
    assert "clocks not locked" in before["slow_a"].validity
    watched.jetson_clocks = True
    _, after, said = run(tmp_path, strict=True, cooldown_c=60.0)
    assert "running 2 objects whose rows --strict rejects again" in said
    assert (after["slow_a"].validity, after["slow_b"].validity, after["nan"].status) == ("ok", "ok", "error")
    _, again, said = run(tmp_path, strict=True, cooldown_c=60.0)
    assert again == after
    assert "rejects" not in said


def test_strict_does_not_trust_rows_that_nobody_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(board, "open_source", lambda *_: Choice(None, "power: none"))
        _, before, _ = run(tmp_path)
    assert before["slow_a"].validity == ""
    _, after, _ = run(tmp_path, strict=True, cooldown_c=60.0)
    assert after["slow_a"].validity == "ok"


def test_masks_that_are_asked_for_later_are_made_and_once_alone(tmp_path: Path) -> None:
    run(tmp_path)
    _, first, said = run(tmp_path, save_masks=True)
    assert "running 2 objects without masks again" in said
    saved = sorted(path.relative_to(tmp_path / "run" / "masks").parts[1] for path in (tmp_path / "run" / "masks").rglob("*.png"))
    assert saved == ["slow_a"] * 3 + ["slow_b"] * 3
    _, second, _ = run(tmp_path, save_masks=True)
    assert second == first
    shutil.rmtree(next((tmp_path / "run" / "masks").glob("*/slow_b")))
    _, third, said = run(tmp_path, save_masks=True)
    assert "running 1 objects without masks again" in said
    assert third["slow_a"] == first["slow_a"]
    assert third["slow_b"] != first["slow_b"]


def test_overlays_that_are_asked_for_later_are_made(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    run(tmp_path)
    _, rows, said = run(tmp_path, save_overlays="all")
    assert "running 2 objects without overlays again" in said
    assert all((tmp_path / "run" / rows[video].overlay).is_file() for video in ("slow_a", "slow_b"))


def test_overlays_of_the_worst_are_made_in_one_pass_and_where_they_are_missing_again(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV")

    def overlays() -> list[str]:
        return sorted(path.name.split("__")[0] for path in (tmp_path / "run" / "overlays").iterdir())

    _, rows, said = run(tmp_path, save_overlays="worst:1")
    scores = {video: rows[video].JandF for video in ("slow_a", "slow_b")}
    worst = min(scores, key=lambda video: (scores[video], video))
    assert overlays() == [worst]
    assert [row.overlay for row in rows.values()] == [""] * 3
    _, again, said = run(tmp_path, save_overlays="worst:1")
    assert "again" not in said
    assert again == rows
    shutil.rmtree(tmp_path / "run" / "overlays")
    _, again, said = run(tmp_path, save_overlays="worst:1")
    assert "running 1 objects of the 1 worst without overlays again" in said
    assert overlays() == [worst]
    _, again, said = run(tmp_path, save_overlays="worst:5")
    assert "running 1 objects of the 5 worst without overlays again" in said
    assert overlays() == ["slow_a", "slow_b"]


def test_objects_that_the_command_does_not_ask_for_stay_as_they_are(tmp_path: Path) -> None:
    _, before, _ = run(tmp_path)
    _, after, said = run(tmp_path, save_masks=True, limit_videos=1)
    assert "running 1 objects without masks again" in said
    assert after["slow_b"] == before["slow_b"]
