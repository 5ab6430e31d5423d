"""Tasks of a Ray cluster: on a node, from the connection to it, and on a real cluster of two nodes of which one goes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from fake_cluster import Event, FakeCluster, config, make_split, run

from runners import RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.settings import RunConfig
from savbench.supervise import child, ray_cluster, worker_process
from savbench.supervise import run as runs
from savbench.supervise.ray_cluster import Cluster, ExecutorError, Need, Task, run_job

WORKER = Path(scripted_worker.__file__)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, str(WORKER)])


def test_a_node_without_the_split_is_named() -> None:
    job = Job(
        config=RunConfig(split_dir=Path("/nowhere/sav_val"), models=("static_mask",)),
        arm=plan_arms(RunConfig(split_dir=Path("/nowhere/sav_val"), models=("static_mask",)), "val")[0],
        targets=(("a", "000"),),
        split_name="val",
        run_id="",
        benchmark_version="",
        spool=Path(),
        weights=Path("/nowhere/w.pt"),
    )
    (event,) = run_job(job, ["-m", "savbench.measure.worker"], child.ROOT)
    assert event["event"] == "unusable"
    assert "has no /nowhere/sav_val and no /nowhere/w.pt; " in event["error"]


def test_weights_that_are_part_of_the_code_are_those_that_came_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path | None] = []

    class Worker:
        def __init__(self, job: Job, *_: object) -> None:
            seen.append(job.weights)
            raise OSError("enough seen")

    monkeypatch.setattr(ray_cluster, "WorkerProcess", Worker)
    monkeypatch.setattr(ray_cluster, "ROOT", tmp_path / "here")
    shipped = tmp_path / "here" / "runners" / "nano" / "w.pt"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    there = Path("/elsewhere/repository")
    settings = RunConfig(split_dir=tmp_path, models=("static_mask",))
    (arm,) = plan_arms(settings, "val")
    job = Job(settings, arm, (("a", "000"),), "val", "", "", Path(), weights=there / "runners" / "nano" / "w.pt")
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
    task = Task(Job(settings, arm, (("a", "000"),), "val", "", "", Path()), Need(2, 0), node=node, pid=7, heard=heard)
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
    cluster, _ = on_stub(monkeypatch, stub, heard=time.monotonic() - 10 - ray_cluster.GRACE_S + 5)
    assert list(cluster.events()) == []
    cluster, task = on_stub(monkeypatch, stub, heard=time.monotonic() - 10 - ray_cluster.GRACE_S - 5)
    ((of, event),) = cluster.events()
    assert of is task
    assert event["error"] == "process 7 on n0 has been silent for 70 s"
    assert len(stub.cancelled) == 1


def test_a_task_that_waits_is_patient_as_long_as_some_node_could_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay()
    cluster, _ = on_stub(monkeypatch, stub, node="", heard=time.monotonic() - 15)
    with pytest.raises(ExecutorError, match="a task needs 2 CPUs, and no node has that; the cluster has 1 node, 1 CPUs, 0 GPUs"):
        list(cluster.events())
    stub.resources = {"CPU": 2.0}
    cluster, _ = on_stub(monkeypatch, stub, node="", heard=time.monotonic() - 15)
    assert list(cluster.events()) == []


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"scripts/setup.sh --ray \(requirements-ray.txt\)"):
        Cluster(None)


def test_ray_client_is_refused() -> None:
    with pytest.raises(ExecutorError, match="--ray_address auto"):
        Cluster("ray://head:10001")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nothing_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", StubRay())
    with pytest.raises(ExecutorError, match=f"--ray_address {address}: nothing answers there"):
        Cluster(address).__enter__()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"executor": "slurm"}, "use local or ray"),
        ({"executor": "ray", "power": "jtop"}, "--power jtop: reads this machine"),
        ({"executor": "ray", "device": "cuda:1"}, "use cuda"),
        ({"executor": "ray", "cpus_per_task": 0}, "--cpus_per_task 0: use 1 to 4096"),
        ({"executor": "ray", "order": "interleaved"}, "--order interleaved: needs one board"),
        ({"executor": "ray", "sustained_minutes": 3.0}, "--sustained: needs one board"),
        ({"executor": "local", "cpus_per_task": 2}, "add it or leave them out"),
        ({"executor": "local", "ray_address": "auto"}, "add it or leave them out"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"split_dir": Path(), "models": ("static_mask",), **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A real cluster of two nodes with a CPU each, on this machine."""
    pytest.importorskip("ray", reason="needs ray (scripts/setup.sh --dev --ray)")
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
    monkeypatch.setattr(runs, "Cluster", Watched)
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
    monkeypatch.setattr(runs, "Cluster", Watched)
    split_dir = make_split(tmp_path, {"slow_1": 3, "slow_2": 3})
    status, rows, said = run(config(split_dir, tmp_path / "run", ray_address=two_nodes.address))
    assert (status, len(rows)) == (0, 6)
    assert said.count("run again") == 1


def test_a_real_cluster_says_what_it_lacks(two_nodes: Any, tmp_path: Path) -> None:
    split_dir = make_split(tmp_path, {"a": 1})
    settings = config(
        split_dir, tmp_path / "run", ray_address=two_nodes.address, models=("sam2_tiny_mask",), device="cuda", random_weights=True
    )
    with pytest.raises(ExecutorError, match="a task needs 1 CPU and 1 GPU, and no node has that; the cluster has"):
        run(settings)
    assert (tmp_path / "run" / "summary.csv").read_text().count("\n") == 1
