"""What becomes of rows when workers die and tasks are lost, on a cluster without Ray."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import scripted_worker
from fake_cluster import Event, FakeCluster, Lose, config, lose_on, make_split, run, unbegun

from runners import RUNNERS
from savbench.results.csv_rows import read_rows
from savbench.results.frame_rows import FrameRow
from savbench.supervise import outcome, ray_executor, worker_process
from savbench.supervise import run as runs
from savbench.supervise.interrupts import EXIT_INTERRUPTED
from savbench.supervise.ray_cluster import ExecutorError, Need, Task

WORKER = Path(scripted_worker.__file__)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, str(WORKER)])


@pytest.fixture
def on_fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeCluster], FakeCluster]:
    def use(cluster: FakeCluster) -> FakeCluster:
        monkeypatch.setattr(runs, "Cluster", lambda address: cluster)
        return cluster

    return use


Use = Callable[[FakeCluster], FakeCluster]


def test_a_task_is_a_video_of_an_arm_and_the_longest_goes_first(tmp_path: Path, on_fake: Use) -> None:
    cluster = on_fake(FakeCluster(slots=1))
    split_dir = make_split(tmp_path, {"a": 1, "b": 2})
    status, rows, said = run(config(split_dir, tmp_path / "run", models=("scripted_mask", "static_mask")))
    b = (("b", "000"), ("b", "001"))
    assert cluster.submitted == [("scripted", b), ("scripted", (("a", "000"),)), ("static", b), ("static", (("a", "000"),))]
    assert cluster.most == ray_executor.LOOKAHEAD
    assert status == 0
    assert len(rows) == 6
    assert {row.J for row in rows.values()} == {7 / 9}
    assert all(row.node and row.power_source == "none" for row in rows.values())
    assert "6 of 6 rows" in said
    frames = read_rows(FrameRow, tmp_path / "run" / "frames.csv")
    assert len(frames) == 2 * (8 + 9 + 9)


def test_what_a_worker_dies_of_is_as_on_this_machine_and_its_log_comes_home(tmp_path: Path, on_fake: Use) -> None:
    on_fake(FakeCluster())
    _, rows, _ = run(config(make_split(tmp_path, {"kill": 2, "raise": 1, "nan": 1}), tmp_path / "run"))
    statuses = {(video, name): row.status for (_, video, name), row in rows.items()}
    assert statuses == {("kill", "000"): "killed", ("kill", "001"): "killed", ("raise", "000"): "error", ("nan", "000"): "error"}
    assert rows["scripted", "raise", "000"].implementation == "scripted"
    (log,) = (tmp_path / "run" / "logs").glob("scripted*.log")
    assert "== raise on n" in log.read_text()
    assert "ZeroDivisionError" in log.read_text()


def test_a_worker_that_hangs_is_ended_on_its_node(tmp_path: Path, on_fake: Use) -> None:
    on_fake(FakeCluster())
    _, rows, _ = run(config(make_split(tmp_path, {"hang": 1}), tmp_path / "run", timeout_s=2.0))
    assert rows["scripted", "hang", "000"].status == "timeout"
    (log,) = (tmp_path / "run" / "logs").glob("scripted*.log")
    assert "_do" in log.read_text()


def test_objects_of_a_lost_task_run_again_and_finished_ones_do_not(tmp_path: Path, on_fake: Use) -> None:
    cluster = on_fake(FakeCluster(lose_on("a", "001")))
    status, rows, said = run(config(make_split(tmp_path, {"a": 3}), tmp_path / "run"))
    assert status == 0
    assert cluster.submitted == [("scripted", (("a", "000"), ("a", "001"), ("a", "002"))), ("scripted", (("a", "001"), ("a", "002")))]
    assert {row.status for row in rows.values()} == {"ok"}
    assert "2 objects of a run again" in said


@pytest.mark.parametrize("status", ["killed", "oom"])
def test_an_object_under_way_in_every_lost_task_is_given_up_alone(tmp_path: Path, on_fake: Use, status: str) -> None:
    cluster = on_fake(FakeCluster(lose_on("a", "001", times=99, status=status)))
    _, rows, _ = run(config(make_split(tmp_path, {"a": 3}), tmp_path / "run"))
    assert len(cluster.submitted) == ray_executor.LOSS_LIMIT + 1
    assert [rows["scripted", "a", name].status for name in ("000", "001", "002")] == ["ok", status, "ok"]
    row = rows["scripted", "a", "001"]
    assert "as in 2 tasks before" in row.error
    assert row.implementation == "scripted"
    assert row.latency_ms is None


def test_tasks_lost_before_they_begin_cost_no_object_but_end_the_run_when_nothing_begins(tmp_path: Path, on_fake: Use) -> None:
    split_dir = make_split(tmp_path, {"a": 1})
    cluster = on_fake(FakeCluster(unbegun(5)))
    assert run(config(split_dir, tmp_path / "run"))[0] == 0
    assert len(cluster.submitted) == 6
    on_fake(FakeCluster(unbegun(99)))
    with pytest.raises(ExecutorError, match="20 tasks in a row were lost before they began"):
        run(config(split_dir, tmp_path / "other"))
    assert json.loads((tmp_path / "other" / "run.json").read_text())["complete"] is False


def test_a_model_that_no_node_builds_is_given_up_and_one_that_another_builds_is_not(
    tmp_path: Path, on_fake: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_dir = make_split(tmp_path, {"a": 1, "b": 1, "c": 1})

    def build_fails_after(good: int) -> Lose:
        started = [0]

        def fault(task: Task, event: Event) -> None:
            # the worker process starts when the event after this one is asked for
            if event["event"] == "started":
                started[0] += 1
                if started[0] > good:
                    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", "runner_error")
                else:
                    monkeypatch.delenv("SCRIPTED_BUILD_FAULT", raising=False)

        return fault

    cluster = on_fake(FakeCluster(build_fails_after(0), slots=1))
    _, rows, _ = run(config(split_dir, tmp_path / "none"))
    assert len(cluster.submitted) == ray_executor.LOOKAHEAD
    assert {row.error for row in rows.values()} == {"the model could not be built: this model cannot be built; do something else"}

    monkeypatch.setattr(ray_executor, "LOOKAHEAD", 1)
    cluster = on_fake(FakeCluster(build_fails_after(1), slots=1))
    _, rows, _ = run(config(split_dir, tmp_path / "one"))
    assert len(cluster.submitted) == 3
    assert [rows["scripted", video, "000"].status for video in "abc"] == ["error", "error", "ok"]


def test_one_kill_while_the_model_is_built_costs_that_attempt_alone(tmp_path: Path, on_fake: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_BUILD_FAULT", f"kill_once={tmp_path / 'mark'}")
    cluster = on_fake(FakeCluster(slots=1))
    status, rows, _ = run(config(make_split(tmp_path, {"a": 2}), tmp_path / "run"))
    assert (status, [row.status for row in rows.values()], len(cluster.submitted)) == (0, ["ok", "ok"], 2)


def test_an_arm_that_dies_alike_again_and_again_is_given_up(tmp_path: Path, on_fake: Use) -> None:
    cluster = on_fake(FakeCluster(slots=1))
    videos = {"never": 1, **{f"raise_{number}": 1 for number in range(4)}}
    _, rows, _ = run(config(make_split(tmp_path, videos), tmp_path / "run"))
    assert len(cluster.submitted) <= outcome.SAME_FAILURE_LIMIT + ray_executor.LOOKAHEAD - 1
    assert rows["scripted", "never", "000"].status == "skipped"
    assert "ZeroDivisionError" in rows["scripted", "never", "000"].error


def test_an_interrupted_run_goes_on(tmp_path: Path, on_fake: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "LOOKAHEAD", 1)
    split_dir = make_split(tmp_path, {"a": 1, "b": 1})

    def interrupt(task: Task, event: Event) -> None:
        if event["event"] == "done":
            os.kill(os.getpid(), signal.SIGINT)

    on_fake(FakeCluster(interrupt, slots=1))
    assert run(config(split_dir, tmp_path / "run"))[0] == EXIT_INTERRUPTED
    before = (tmp_path / "run" / "summary.csv").read_text()
    assert before.count("\n") == 2
    on_fake(FakeCluster())
    status, rows, _ = run(config(split_dir, tmp_path / "run"))
    assert (status, len(rows)) == (0, 2)
    assert (tmp_path / "run" / "summary.csv").read_text().startswith(before)


@pytest.mark.parametrize(
    ("device", "has_gpus", "gpus"), [("auto", True, [1, 0]), ("auto", False, [0, 0]), ("cuda", False, [1, 0]), ("cpu", True, [0, 0])]
)
def test_a_learned_model_takes_a_gpu_where_it_is_to_run_on_one(
    tmp_path: Path, on_fake: Use, device: str, has_gpus: bool, gpus: list[int]
) -> None:
    needs: list[Need] = []

    class Asked(FakeCluster):
        @property
        def has_gpus(self) -> bool:
            return has_gpus

        def require(self, need: Need) -> None:
            needs.append(need)
            if len(needs) == 2:
                raise ExecutorError("enough seen")

    on_fake(Asked())
    models = ("sam2_tiny_mask", "static_mask")
    settings = config(make_split(tmp_path, {"a": 1}), tmp_path / "run", models=models, random_weights=True, device=device, cpus_per_task=4)
    with pytest.raises(ExecutorError, match="enough seen"):
        run(settings)
    assert needs == [Need(4, gpus[0]), Need(4, gpus[1])]
