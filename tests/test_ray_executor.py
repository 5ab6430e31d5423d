"""Arms as tasks of a cluster: what becomes of rows when workers die, tasks are lost and nodes go.

The supervisor's decisions are tested on a cluster that is no more than generators in this process, the rest on a real one of two nodes.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from tiny_split import TinySplit, rectangle

from runners import RUNNERS
from savbench import ray_executor, ray_supervisor, supervisor, worker_process
from savbench.config import ConfigError, RunConfig, plan_arms
from savbench.job import Job
from savbench.progress import Progress
from savbench.ray_executor import Cluster, ExecutorError, Need, Task, run_job
from savbench.results import FrameRow, SummaryRow, read_rows

WORKER = Path(scripted_worker.__file__)
Event = dict[str, Any]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, str(WORKER)])


def make_split(tmp_path: Path, videos: dict[str, int]) -> Path:
    """Clips named after what shall happen in them, with so many objects; the later ones are longer, and so run earlier."""
    split = TinySplit(tmp_path / "split")
    square = [rectangle(4, 2 + step, 8, 8) for step in range(3)]
    for index, (name, objects) in enumerate(videos.items()):
        split.write_video(name, 9 + index, {f"{number:03d}": square for number in range(objects)})
    (split.root / "val.txt").write_text("\n".join(videos) + "\n")
    return split.root


def config(split_dir: Path, out_dir: Path, **settings: object) -> RunConfig:
    defaults = {"models": ("scripted_mask",), "warmup_frames": 2, "out_dir": out_dir, "timeout_s": 60.0, "executor": "ray"}
    return RunConfig(**{"split_dir": split_dir, **defaults, **settings})  # type: ignore[arg-type]


def run(settings: RunConfig) -> tuple[int, dict[tuple[str, str, str], SummaryRow], str]:
    """Exit status, rows by (model, video, object), and what was said."""
    said = io.StringIO()
    status = supervisor.run(settings, ["jetson_benchmark.py"], Progress(said, said))
    assert settings.out_dir is not None
    rows = read_rows(SummaryRow, settings.out_dir / "summary.csv")
    assert len({row.key for row in rows}) == len(rows)
    return status, {(row.model, row.video, row.object): row for row in rows}, said.getvalue()


Lose = Callable[[Task, Event], str | None]
"""Status with which the task is lost after this event, or None."""


class FakeCluster(Cluster):
    """Runs tasks in this process, each in turn up to its next event. `lose` says which are lost, on nodes n0, n1, ... in turn."""

    def __init__(self, lose: Lose = lambda task, event: None, slots: int = 2) -> None:
        self._slots = slots
        self._lose = lose
        self._running: dict[Task, Iterator[Event]] = {}
        self.submitted: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self.most = 0

    def __enter__(self) -> FakeCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for events in self._running.values():
            events.close()  # type: ignore[attr-defined]

    @property
    def has_gpus(self) -> bool:
        return False

    def describe(self) -> str:
        return "a cluster"

    def require(self, need: Need) -> None:
        assert need == Need(1, 0)

    def slots(self, need: Need) -> int:
        return self._slots

    def submit(self, job: Job, need: Need, command: Sequence[str]) -> Task:
        self.submitted.append((job.arm.model, job.targets))
        task = Task(job, need)
        self._running[task] = run_job(job, command, worker_process.ROOT)
        self.most = max(self.most, len(self._running))
        return task

    def events(self) -> Iterator[tuple[Task, Event]]:
        for task, events in list(self._running.items()):
            event = next(events)
            if event["event"] == "started":
                task.node = f"n{len(self.submitted)}"
            status = self._lose(task, event)
            if status is not None:
                events.close()  # type: ignore[attr-defined]
                event = {"event": "lost", "status": status, "error": "n was lost"}
            if event["event"] in ("ended", "lost"):
                del self._running[task]
            yield task, event


def lose_on(video: str, object_name: str, times: int = 1, status: str = "killed", after: str = "begun") -> Lose:
    left = [times]

    def lose(task: Task, event: Event) -> str | None:
        hit = event["event"] == after and task.job.targets[0][0] == video
        if after == "begun":
            hit = hit and event["targets"] == [[video, object_name]]
        if not hit or not left[0]:
            return None
        left[0] -= 1
        return status

    return lose


@pytest.fixture
def on_fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeCluster], FakeCluster]:
    def use(cluster: FakeCluster) -> FakeCluster:
        monkeypatch.setattr(supervisor, "Cluster", lambda address: cluster)
        return cluster

    return use


Use = Callable[[FakeCluster], FakeCluster]


def test_a_task_is_a_video_of_an_arm_and_the_longest_goes_first(tmp_path: Path, on_fake: Use) -> None:
    cluster = on_fake(FakeCluster(slots=1))
    split_dir = make_split(tmp_path, {"a": 1, "b": 2})
    status, rows, said = run(config(split_dir, tmp_path / "run", models=("scripted_mask", "static_mask")))
    b = (("b", "000"), ("b", "001"))
    assert cluster.submitted == [("scripted", b), ("scripted", (("a", "000"),)), ("static", b), ("static", (("a", "000"),))]
    assert cluster.most == ray_supervisor.LOOKAHEAD
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
    assert len(cluster.submitted) == ray_supervisor.LOSS_LIMIT + 1
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


def unbegun(times: int) -> Lose:
    left = [times]

    def lose(task: Task, event: Event) -> str | None:
        if event["event"] != "started" or not left[0]:
            return None
        task.node = ""
        left[0] -= 1
        return "killed"

    return lose


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
    assert len(cluster.submitted) == ray_supervisor.LOOKAHEAD
    assert {row.error for row in rows.values()} == {"the model could not be built: this model cannot be built; do something else"}

    monkeypatch.setattr(ray_supervisor, "LOOKAHEAD", 1)
    cluster = on_fake(FakeCluster(build_fails_after(1), slots=1))
    _, rows, _ = run(config(split_dir, tmp_path / "one"))
    assert len(cluster.submitted) == 3
    assert [rows["scripted", video, "000"].status for video in "abc"] == ["error", "error", "ok"]


def test_an_arm_that_dies_alike_again_and_again_is_given_up(tmp_path: Path, on_fake: Use) -> None:
    cluster = on_fake(FakeCluster(slots=1))
    videos = {"never": 1, **{f"raise_{number}": 1 for number in range(3)}}
    _, rows, _ = run(config(make_split(tmp_path, videos), tmp_path / "run"))
    assert len(cluster.submitted) <= supervisor.SAME_FAILURE_LIMIT + ray_supervisor.LOOKAHEAD - 1
    assert rows["scripted", "never", "000"].status == "skipped"
    assert "ZeroDivisionError" in rows["scripted", "never", "000"].error


def test_an_interrupted_run_goes_on(tmp_path: Path, on_fake: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_supervisor, "LOOKAHEAD", 1)
    split_dir = make_split(tmp_path, {"a": 1, "b": 1})

    def interrupt(task: Task, event: Event) -> None:
        if event["event"] == "done":
            os.kill(os.getpid(), signal.SIGINT)

    on_fake(FakeCluster(interrupt, slots=1))
    assert run(config(split_dir, tmp_path / "run"))[0] == supervisor.EXIT_INTERRUPTED
    before = (tmp_path / "run" / "summary.csv").read_text()
    assert before.count("\n") == 2
    on_fake(FakeCluster())
    status, rows, _ = run(config(split_dir, tmp_path / "run"))
    assert (status, len(rows)) == (0, 2)
    assert (tmp_path / "run" / "summary.csv").read_text().startswith(before)


def test_a_node_without_the_split_is_named() -> None:
    job = Job(
        config=RunConfig(split_dir=Path("/nowhere/sav_val"), models=("static_mask",)),
        arm=plan_arms(RunConfig(split_dir=Path("/nowhere/sav_val"), models=("static_mask",)), "val")[0],
        targets=(("a", "000"),),
        split_name="val",
        run_id="",
        benchmark_version="",
        weights=Path("/nowhere/w.pt"),
    )
    (event,) = run_job(job, ["-m", "savbench.worker"], worker_process.ROOT)
    assert event["event"] == "unfit"
    assert "has no /nowhere/sav_val and no /nowhere/w.pt; " in event["error"]


def test_weights_that_are_part_of_the_code_are_those_that_came_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path | None] = []

    class Worker:
        def __init__(self, job: Job, *_: object) -> None:
            seen.append(job.weights)
            raise OSError("enough seen")

    monkeypatch.setattr(ray_executor, "WorkerProcess", Worker)
    monkeypatch.setattr(ray_executor, "ROOT", tmp_path / "here")
    shipped = tmp_path / "here" / "runners" / "nano" / "w.pt"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    there = Path("/elsewhere/repository")
    settings = RunConfig(split_dir=tmp_path, models=("static_mask",))
    (arm,) = plan_arms(settings, "val")
    job = Job(settings, arm, (("a", "000"),), "val", "", "", weights=there / "runners" / "nano" / "w.pt")
    with pytest.raises(OSError, match="enough seen"):
        list(run_job(job, [], there))
    assert seen == [shipped]


def test_what_fits_on_a_node() -> None:
    assert Need(2, 1).fits({"CPU": 2.0, "GPU": 1.0})
    assert not Need(2, 1).fits({"CPU": 8.0})
    assert not Need(3, 0).fits({"CPU": 2.0, "GPU": 1.0})
    assert str(Need(2, 1)) == "2 CPUs and 1 GPU"
    assert str(Need(1, 0)) == "1 CPU"


def test_how_many_tasks_run_at_once() -> None:
    cluster = FakeCluster()
    cluster._nodes = lambda: [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 16.0}]  # type: ignore[method-assign]
    assert Cluster.slots(cluster, Need(2, 1)) == 2 + 1 + 0
    assert Cluster.slots(cluster, Need(1, 0)) == 8 + 3 + 16


@pytest.mark.parametrize(
    ("device", "has_gpus", "gpus"), [("auto", True, [1, 0]), ("auto", False, [0, 0]), ("cuda", False, [1, 0]), ("cpu", True, [0, 0])]
)
def test_a_learned_model_takes_a_gpu_where_it_is_to_run_on_one(
    tmp_path: Path, on_fake: Use, device: str, has_gpus: bool, gpus: list[int]
) -> None:
    class Asked(FakeCluster):
        needs: list[Need] = []

        @property
        def has_gpus(self) -> bool:
            return has_gpus

        def require(self, need: Need) -> None:
            self.needs = [*self.needs, need]
            if len(self.needs) == 2:
                raise ExecutorError("enough seen")

    cluster = Asked()
    on_fake(cluster)
    models = ("sam2_tiny_mask", "static_mask")
    settings = config(make_split(tmp_path, {"a": 1}), tmp_path / "run", models=models, random_weights=True, device=device, cpus_per_task=4)
    with pytest.raises(ExecutorError, match="enough seen"):
        run(settings)
    assert cluster.needs == [Need(4, gpus[0]), Need(4, gpus[1])]


class StubRay:
    """As much of Ray as a `Cluster` with one task asks for; `get` raises `error`, or nothing is ever ready."""

    class exceptions:  # noqa: N801 - a module in Ray
        class RayError(Exception): ...

        class WorkerCrashedError(RayError): ...

        class NodeDiedError(RayError): ...

        class ObjectLostError(RayError): ...

        class OutOfMemoryError(RayError): ...

    def __init__(self, error: str = "") -> None:
        self._error = error
        self.cancelled: list[object] = []
        self.resources = {"CPU": 1.0}

    def wait(self, tasks: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return (tasks, []) if self._error else ([], tasks)

    def get(self, _: object) -> object:
        raise getattr(self.exceptions, self._error)("It is gone. See a page of advice.")

    def cancel(self, task: object, force: bool) -> None:
        self.cancelled.append(task)

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "Resources": self.resources}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]


def on_stub(monkeypatch: pytest.MonkeyPatch, stub: StubRay, node: str = "n0", heard: float = 1e9) -> tuple[Cluster, Task]:
    monkeypatch.setitem(sys.modules, "ray", stub)
    cluster = Cluster(None)
    settings = RunConfig(split_dir=Path(), models=("static_mask",), timeout_s=10.0)
    (arm,) = plan_arms(settings, "val")
    task = Task(Job(settings, arm, (("a", "000"),), "val", "", ""), Need(2, 0), node=node, pid=7, heard=heard)
    cluster._live[iter([object()])] = task
    return cluster, task


@pytest.mark.parametrize(
    ("error", "status"),
    [("WorkerCrashedError", "killed"), ("NodeDiedError", "killed"), ("ObjectLostError", "killed"), ("OutOfMemoryError", "oom")],
)
def test_what_ray_raises_is_a_lost_task(monkeypatch: pytest.MonkeyPatch, error: str, status: str) -> None:
    cluster, task = on_stub(monkeypatch, StubRay(error))
    ((of, event),) = cluster.events()
    assert of is task
    assert (event["event"], event["status"]) == ("lost", status)
    assert "(It is gone)" in event["error"]
    assert not cluster._live


def test_any_other_fault_of_ray_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, _ = on_stub(monkeypatch, StubRay("RayError"))
    with pytest.raises(ExecutorError, match="process 7 on n0 cannot run tasks: It is gone"):
        list(cluster.events())


def test_a_silent_node_is_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay()
    cluster, _ = on_stub(monkeypatch, stub, heard=time.monotonic() - 10 - ray_executor.GRACE_S + 5)
    assert list(cluster.events()) == []
    cluster, task = on_stub(monkeypatch, stub, heard=time.monotonic() - 10 - ray_executor.GRACE_S - 5)
    ((of, event),) = cluster.events()
    assert of is task
    assert event["error"] == "process 7 on n0 has been silent for 70 s"
    assert len(stub.cancelled) == 1


def test_a_task_that_waits_is_patient_as_long_as_some_node_could_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay()
    cluster, _ = on_stub(monkeypatch, stub, node="", heard=time.monotonic() - 15)
    with pytest.raises(ExecutorError, match="no node has 2 CPUs, which a task takes; the cluster has 1 node, 1 CPUs, 0 GPUs"):
        list(cluster.events())
    stub.resources = {"CPU": 2.0}
    cluster, _ = on_stub(monkeypatch, stub, node="", heard=time.monotonic() - 15)
    assert list(cluster.events()) == []


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'ray>="):
        Cluster(None)


def test_ray_client_is_refused() -> None:
    with pytest.raises(ExecutorError, match="--ray_address auto"):
        Cluster("ray://head:10001")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"executor": "slurm"}, "use local or ray"),
        ({"executor": "ray", "power": "jtop"}, "--power jtop: is read on this machine"),
        ({"executor": "ray", "device": "cuda:1"}, "use cuda"),
        ({"executor": "ray", "cpus_per_task": 0}, "1 or more"),
        ({"executor": "ray", "order": "interleaved"}, "--order interleaved: goes with one board"),
        ({"executor": "ray", "sustained_minutes": 3.0}, "--sustained: goes with one board"),
        ({"executor": "local", "cpus_per_task": 2}, "add that or leave them out"),
        ({"executor": "local", "ray_address": "auto"}, "add that or leave them out"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"split_dir": Path(), "models": ("static_mask",), **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A real cluster of two nodes with a CPU each, on this machine."""
    pytest.importorskip("ray", reason="needs ray (pip install ray)")
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


class Watched(Cluster):
    """A real cluster with an eye on its events."""

    watch: Callable[[Task, Event], None]

    def events(self) -> Iterator[tuple[Task, Event]]:
        for task, event in super().events():
            type(self).watch(task, event)
            yield task, event


def test_on_a_real_cluster_a_killed_process_costs_nothing_but_time(two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    def kill_once(task: Task, event: Event) -> None:
        if event["event"] == "begun" and event["targets"] == [["slow", "001"]] and not killed:
            killed.append(task.pid)
            os.kill(task.pid, signal.SIGKILL)

    Watched.watch = staticmethod(kill_once)
    monkeypatch.setattr(supervisor, "Cluster", Watched)
    split_dir = make_split(tmp_path, {"a": 1, "raise": 1, "slow": 2})
    status, rows, said = run(config(split_dir, tmp_path / "run", ray_address=two_nodes.address))
    assert status == 1
    assert {video: rows["scripted", video, name].status for _, video, name in rows} == {"a": "ok", "raise": "error", "slow": "ok"}
    assert len(rows) == 4
    assert f"process {killed[0]} on " in said
    assert "1 objects of slow run again" in said
    assert rows["scripted", "slow", "001"].J == 7 / 9


def test_on_a_real_cluster_a_node_that_goes_costs_nothing_but_time(two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = two_nodes.list_all_nodes()[1]
    begun: set[Task] = set()

    def remove_once(task: Task, event: Event) -> None:
        if event["event"] == "begun" and len(begun) < 2:
            begun.add(task)
            if len(begun) == 2:  # one on each node
                two_nodes.remove_node(second, allow_graceful=False)

    Watched.watch = staticmethod(remove_once)
    monkeypatch.setattr(supervisor, "Cluster", Watched)
    split_dir = make_split(tmp_path, {"slow_1": 3, "slow_2": 3})
    status, rows, said = run(config(split_dir, tmp_path / "run", ray_address=two_nodes.address))
    assert (status, len(rows)) == (0, 6)
    assert said.count("run again") == 1


def test_a_real_cluster_says_what_it_lacks(two_nodes: Any, tmp_path: Path) -> None:
    split_dir = make_split(tmp_path, {"a": 1})
    settings = config(
        split_dir, tmp_path / "run", ray_address=two_nodes.address, models=("sam2_tiny_mask",), device="cuda", random_weights=True
    )
    with pytest.raises(ExecutorError, match="no node has 1 CPU and 1 GPU, which a task takes; the cluster has"):
        run(settings)
    assert (tmp_path / "run" / "summary.csv").read_text().count("\n") == 1
