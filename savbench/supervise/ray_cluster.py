"""Runs jobs as tasks of a Ray cluster: an existing one, or one started on this machine for the run.

A task starts on its node the worker process that the supervisor would start on its own machine, and forwards every event. So a model runs
under Ray exactly as it does without, in a process that holds nothing else, and the supervisor receives a row as soon as its object is
done. Ray does not retry tasks: only the supervisor knows which objects already have a row.

The run ships the benchmark's own code to the nodes, so that all run the same version. It ships no split, weights or upstream checkouts:
they must be at the same path on every node.

Only this module imports Ray, and only when a cluster is opened.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.arguments.errors import UserError
from savbench.results.spool import SPOOL
from savbench.supervise.child import POLL_S, ROOT
from savbench.supervise.worker_process import WorkerProcess, WorkerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from savbench.plan.job import Job

INSTALL = "install it with scripts/setup.sh --ray (requirements-ray.txt)"
PACKAGES = ("attention", "runners", "savbench")
"""Packages of this repository that a node needs to run a worker process."""
GRACE_S = 60.0
"""How long a node may stay silent beyond the worker's timeout: its task reports a hanging worker, unless the node itself is gone."""
LOG_TAIL_BYTES = 1 << 16
CONNECT_S = 10.0


class ExecutorError(UserError, RuntimeError):
    """The cluster is unusable; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Need:
    """Resources that a task occupies on its node while it runs."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}" + (f" and {self.gpus} GPU" if self.gpus else "")

    def fits(self, resources: Mapping[str, float]) -> bool:
        """Whether a node with these total resources could run the task."""
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus


@dataclasses.dataclass(eq=False)
class Task:
    """A job submitted to the cluster."""

    job: Job
    need: Need
    node: str = ""
    """Name of the machine that runs the task; empty until it starts."""
    pid: int = 0
    """Process id of Ray's process there; Ray's log files are named after it."""
    heard: float = 0.0
    """When its last event arrived, in seconds of `time.monotonic`."""

    @property
    def where(self) -> str:
        return f"process {self.pid} on {self.node}" if self.node else "a task that had not started"


class Cluster:
    """A connection to a Ray cluster. Use as a context manager; leaving it cancels the tasks that still run."""

    def __init__(self, address: str | None) -> None:
        """
        Args:
            address: as for `ray.init`, HOST:PORT or `auto`. None uses the environment variable RAY_ADDRESS, else the cluster that runs on
                this machine, else starts one here that ends with the run.

        Raises:
            ExecutorError: Ray is not installed, or the address is a Ray Client address.
        """
        if address is not None and address.startswith("ray://"):
            remedy = "run on a node of the cluster with --ray_address auto"
            raise ExecutorError(f"--ray_address {address}: Ray Client cannot stream results; {remedy}")
        try:
            import ray
        except ImportError as error:
            raise ExecutorError(f"--executor ray: Ray is not installed ({error}); {INSTALL}") from error
        self._ray = ray
        self._address = address
        self._live: dict[Any, Task] = {}
        """Tasks by the generator of their events."""

    def __enter__(self) -> Cluster:
        """
        Raises:
            ExecutorError: there is no cluster, or it cannot be joined.
        """
        if self._address is not None:
            _require_reachable(self._address)
        # a benchmark sends no usage statistics unless its user asks; a running cluster keeps its own setting
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with tempfile.TemporaryDirectory() as staged:
            for package in PACKAGES:
                shutil.copytree(ROOT / package, Path(staged) / package, ignore=shutil.ignore_patterns("__pycache__"))
            try:
                self._ray.init(
                    self._address,
                    runtime_env={"working_dir": staged},
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
                where = "here" if self._address is None else f"at {self._address}"
                raise ExecutorError(f"--executor ray: no cluster {where} ({error}); look with `ray status`") from error
        return self

    def __exit__(self, *_: object) -> None:
        for events in self._live:
            self._ray.cancel(events, force=True)
        self._live.clear()
        self._ray.shutdown()

    @property
    def has_gpus(self) -> bool:
        """Whether any node has a GPU."""
        return any(resources.get("GPU", 0) for resources in self._nodes())

    def describe(self) -> str:
        """Counts of nodes, CPUs and GPUs, as one line for people."""
        nodes = self._nodes()
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        return f"{len(nodes)} node{'s' * (len(nodes) != 1)}, {cpus:.0f} CPUs, {gpus:.0f} GPUs"

    def require(self, need: Need) -> None:
        """
        Raises:
            ExecutorError: no node could ever run a task with this need.
        """
        if not any(need.fits(resources) for resources in self._nodes()):
            raise ExecutorError(f"--executor ray: a task needs {need}, and no node has that; the cluster has {self.describe()}")

    def slots(self, need: Need) -> int:
        """How many tasks with this need the cluster can run at once."""
        counts = (
            min(int(resources.get(kind, 0) // per_task) for kind, per_task in (("CPU", need.cpus), ("GPU", need.gpus)) if per_task)
            for resources in self._nodes()
        )
        return sum(counts)

    def submit(self, job: Job, need: Need, command: Sequence[str]) -> Task:
        """Submit a job to the cluster, which runs it once, as soon as a node is free.

        Args:
            command: of the worker process, without the interpreter; the node's own is used.
        """
        body = self._ray.remote(run_job).options(
            name=f"{job.arm.arm_id} {job.targets[0][0]}",
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            num_returns="streaming",
            max_retries=0,
            # share a node only if no node is idle: another task on the same board slows what is measured
            scheduling_strategy="SPREAD",
        )
        task = Task(job, need, heard=time.monotonic())
        self._live[body.remote(job, tuple(command), ROOT)] = task
        return task

    def events(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Events that the tasks have sent; waits up to `POLL_S` for the first.

        In addition to a worker's own events there are `started` (the task has a node) and, as the last event of a task, either `ended`
        (the result of `WorkerProcess.wait` and the end of the log) or `lost` (status and reason: the node or Ray's process there is gone).

        Raises:
            ExecutorError: a node cannot run any task, or no node is left that could run one.
        """
        ready, _ = self._ray.wait(list(self._live), timeout=POLL_S) if self._live else ([], [])
        for events in ready:
            task = self._live[events]
            event = self._next(events, task)
            if event is None:
                continue
            task.heard = time.monotonic()
            if event["event"] == "started":
                task.node, task.pid = event["node"], event["pid"]
            if event["event"] in ("ended", "lost"):
                del self._live[events]
            yield task, event
        yield from self._silent()

    def _next(self, events: Any, task: Task) -> dict[str, Any] | None:
        ray = self._ray
        try:
            event: dict[str, Any] = ray.get(next(events))
        except StopIteration:  # a task's last event removes it from `_live`, so it ended without one
            raise ExecutorError(f"the task of {task.job.targets[0][0]} ended without a result; see the cluster's logs") from None
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:
            return {"event": "lost", "status": "killed", "error": f"{task.where} was lost ({_first_sentence(error)})"}
        except ray.exceptions.OutOfMemoryError as error:
            return {
                "event": "lost",
                "status": "oom",
                "error": f"Ray ended the task, out of memory ({_first_sentence(error)})",
            }
        except ray.exceptions.RayError as error:
            raise ExecutorError(f"--executor ray: {task.where} cannot run tasks: {error}") from error
        if event["event"] == "unusable":
            raise ExecutorError(f"--executor ray: {event['error']}")
        return event

    def _silent(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        now = time.monotonic()
        for events, task in list(self._live.items()):
            limit_s = task.job.config.timeout_s + (GRACE_S if task.node else 0)
            if now - task.heard < limit_s:
                continue
            if task.node:
                self._ray.cancel(events, force=True)
                del self._live[events]
                yield task, {"event": "lost", "status": "killed", "error": f"{task.where} has been silent for {limit_s:g} s"}
            else:
                self.require(task.need)  # a task may wait long for others to finish
                task.heard = now

    def _nodes(self) -> list[dict[str, float]]:
        """Total resources of every node that is alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def _require_reachable(address: str) -> None:
    """Connect once, because Ray tries for minutes before it gives up. Raises ExecutorError if nothing answers at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto` or `local`
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutorError(
            f"--ray_address {address}: nothing answers there ({error}); run `ray status` on a node for the address"
        ) from error


def run_job(job: Job, command: Sequence[str], root: Path) -> Iterator[dict[str, Any]]:
    """On the node: run a worker process and forward its events, with the further ones that `Cluster.events` lists.

    A `row` event carries its masks as `masks_bytes`: the contents of the file that the worker named.

    Args:
        root: of the repository on the submitting machine; weights inside its packages were shipped with the code.
    """
    node = socket.gethostname()
    if job.weights is not None and any(job.weights.is_relative_to(root / package) for package in PACKAGES):
        job = dataclasses.replace(job, weights=ROOT / job.weights.relative_to(root))
    needed = (job.config.split_dir, job.weights, job.source_dir)
    missing = [str(path) for path in needed if path is not None and not path.exists()]
    if missing:
        remedy = "put the split, weights and checkouts at the same path on every node"
        yield {"event": "unusable", "error": f"{node} has no {' and no '.join(missing)}; {remedy}"}
        return
    yield {"event": "started", "node": node, "pid": os.getpid()}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "worker.log"
        job = dataclasses.replace(job, spool=Path(folder) / SPOOL)
        worker = WorkerProcess(job, log, (sys.executable, *command))
        try:
            for event in worker.events(job.config.timeout_s, lambda: False):
                if event.get("masks_file"):
                    masks_file = Path(event["masks_file"])
                    event["masks_bytes"] = masks_file.read_bytes()
                    masks_file.unlink()
                yield event
            death = worker.wait()
        except WorkerTimeoutError as error:
            worker.kill(dump_stack=True)
            death = "timeout", str(error)
        finally:
            worker.close()
        yield {"event": "ended", "death": death, "log": _tail(log)}


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
