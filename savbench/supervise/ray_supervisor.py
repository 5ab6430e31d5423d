"""The supervisor where the work is done by a Ray cluster: a task is one video under one arm, and many run at once.

What a worker says is taken, scored and written as it is from a worker on this machine. What is different is what can happen: a node, or
Ray's process on it, may go in the middle of a task. Objects whose rows have come keep them, the others run again elsewhere; an object that
was under way in so many lost tasks that it may be the cause is given up.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from runners import RUNNERS
from savbench.data.dataset import open_split
from savbench.plan.shards import video_work
from savbench.supervise import worker_process
from savbench.supervise.ray_executor import ExecutorError, Need
from savbench.supervise.supervisor import SAME_FAILURE_LIMIT, Shift, Supervisor
from savbench.supervise.worker_process import StopRequestedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.plan.job import Job
    from savbench.results.rows import SummaryRow
    from savbench.supervise.ray_executor import Cluster, Task
    from savbench.supervise.supervisor import PlannedArm

LOSS_LIMIT = 3
"""After so many tasks lost with an object under way, the object gets a row that says so."""
UNBEGUN_LIMIT = 20
"""After so many tasks in a row that were lost before they began, something is wrong with the cluster and not with an object."""
LOOKAHEAD = 2
"""Tasks handed to the cluster for each that it can run at once, so that a node never waits for the next one."""


@dataclasses.dataclass
class _Piece:
    """The objects of one video under one arm that are to be run in one task."""

    job: Job
    need: Need
    shift: Shift = dataclasses.field(default_factory=Shift)


class RaySupervisor(Supervisor):
    """Runs planned arms over targets on a cluster, into a run folder on this machine."""

    def __init__(self, *args: Any, cluster: Cluster) -> None:
        """
        Args:
            args: as `Supervisor` takes them.
            cluster: an open one.

        Raises:
            ExecutorError: no node can run a task.
        """
        super().__init__(*args)
        self._cluster = cluster
        self._has_gpus = cluster.has_gpus
        self._losses: Counter[tuple[str, str, str]] = Counter()
        self._unbegun = 0
        """Tasks lost before they began since the last one that did."""
        self._built: set[str] = set()
        """Arms whose model some node has built."""
        self._given_up: dict[str, tuple[str, str]] = {}
        """Status and reason of arms of which nothing more is run."""
        self._alike: dict[str, list[str]] = {}
        """Reasons of an arm's last deaths, as far as they are the same and no object was finished in between."""

    def _run_all(self, together: Sequence[Sequence[PlannedArm]]) -> None:
        jobs = [self._job_of(plans) for plans in together]
        for job in jobs:
            self._cluster.require(self._need(job))
        arms = {arm.arm_id: arm for job in jobs for arm in job.arms}
        done = [row for row in self._folder.done.values() if row.arm_id in arms]
        label = next(iter(arms.values())).label if len(arms) == 1 else f"{len(arms)} arms"
        self._progress.begin(f"{label} on Ray", len(self._targets) * len(arms), done)
        work = video_work(
            open_split(self._config.split_dir, self._split_name),
            self._targets,
            max_frames=self._config.max_frames,
            frame_stride=self._config.frame_stride,
        )
        waiting = deque(piece for job in jobs for piece in self._pieces(job, work))
        live: dict[Task, _Piece] = {}
        while waiting or live:
            if self._stop:
                raise StopRequestedError
            self._submit(waiting, live)
            for task, event in self._cluster.events():
                rest = self._take_of_task(event, task, live)
                if rest is not None:
                    waiting.appendleft(rest)
        self._keep_finished(wait=True)

    def _need(self, job: Job) -> Need:
        device, learned = job.config.device, RUNNERS[job.arm.model].is_learned
        on_gpu = learned and (device == "cuda" or (device == "auto" and self._has_gpus))
        return Need(job.config.cpus_per_task, int(on_gpu))

    def _pieces(self, job: Job, work: Mapping[str, int]) -> list[_Piece]:
        """A piece for each video, the longest first: the cluster is then done with all of them at about the same time."""
        of_video: dict[str, list[tuple[str, str]]] = {}
        for video, name in self._pending(job):
            of_video.setdefault(video, []).append((video, name))
        return [
            _Piece(dataclasses.replace(job, targets=tuple(of_video[video])), self._need(job))
            for video in sorted(of_video, key=lambda video: -work[video])
        ]

    def _submit(self, waiting: deque[_Piece], live: dict[Task, _Piece]) -> None:
        while waiting:
            piece = waiting[0]
            given_up = self._given_up.get(piece.job.arm.arm_id)
            if given_up is None:
                alike = sum(other.need == piece.need for other in live.values())
                if alike >= max(1, LOOKAHEAD * self._cluster.slots(piece.need)):
                    return
                command = worker_process.WORKER_COMMAND[1:]
                live[self._cluster.submit(piece.job, piece.need, command)] = piece
            else:
                self._fail_all(piece.job, piece.job.targets, piece.shift, *given_up)
            waiting.popleft()

    def _take_of_task(self, event: dict[str, Any], task: Task, live: dict[Task, _Piece]) -> _Piece | None:
        """Take an event of a task. Returns what is to run again where the task has ended before its work was done."""
        piece = live[task]
        job, shift, name = piece.job, piece.shift, event["event"]
        if name == "lost":
            del live[task]
            return self._after_loss(piece, event["status"], event["error"], begun=bool(task.node))
        if name == "ended":
            del live[task]
            self._write_log(job, task.node, event["log"])
            return self._after_end(piece, event["death"])
        if name == "built":
            self._built.add(job.arm.arm_id)
            shift.about_model = {**event["about_model"], "node": task.node}
            self._remember_worker(f"{job.arm.arm_id} on {task.node}", event["environment"])
        elif name == "started":
            self._unbegun = 0
        elif name == "progress":
            shift.frame = event["frame"]  # of many objects at once there is no one to show the progress of
        elif name != "phase":  # the boards of nodes are not watched from here
            if name == "row":
                event["row"]["node"] = task.node
            self._take(event, job, shift)
        return None

    def _after_end(self, piece: _Piece, ended: tuple[str, str] | None) -> _Piece | None:
        job, shift = piece.job, piece.shift
        shift.end(ended, len(job.targets))
        arm_id, keys = job.arm.arm_id, job.targets[shift.finished :]
        if shift.finished:
            self._alike.pop(arm_id, None)
        if shift.death is None:
            return None
        status, reason = shift.death
        if not shift.about_model:
            given_up = status, f"the model could not be built: {reason}"
            if arm_id not in self._built:
                # what no node has built yet, the next one will not either; where one has, this node is to blame
                self._given_up[arm_id] = given_up
            self._fail_all(job, keys, shift, *given_up)
            return None
        failed = shift.current or keys[:1]
        self._fail_all(job, failed, shift, status, reason)
        before = self._alike.get(arm_id, [])
        alike = self._alike[arm_id] = [*before, reason] if reason in before else [reason]
        if len(alike) >= SAME_FAILURE_LIMIT:
            self._given_up[arm_id] = "skipped", f"given up after {len(alike)} objects in a row failed with: {reason}"
        rest = keys[len(failed) :]
        return _Piece(dataclasses.replace(job, targets=rest), piece.need) if rest else None

    def _after_loss(self, piece: _Piece, status: str, reason: str, *, begun: bool) -> _Piece | None:
        job, shift = piece.job, piece.shift
        if not begun:
            self._unbegun += 1
            if self._unbegun >= UNBEGUN_LIMIT:
                said = f"{self._unbegun} tasks in a row were lost before they began; see Ray's logs"
                raise ExecutorError(f"--executor ray: {said} ({reason})")
            return _Piece(job, piece.need)
        self._keep_finished(wait=True)  # rows that have come count as done
        keys = [key for key in job.targets if self._missing(job, key)]
        for key in [key for key in shift.current or keys[:1] if key in keys]:
            lost = (job.arm.arm_id, *key)
            self._losses[lost] += 1
            if (count := self._losses[lost]) >= LOSS_LIMIT:
                said = f"{reason}, as in {count - 1} tasks before; Ray's logs there may tell why"
                self._fail(job, key, shift.about_model, status, said)
                keys.remove(key)
        self._progress.say(f"{reason}; {len(keys)} objects of {job.targets[0][0]} run again" if keys else reason)
        return _Piece(dataclasses.replace(job, targets=tuple(keys)), piece.need) if keys else None

    def _write_log(self, job: Job, node: str, text: str) -> None:
        if text:
            path = self._folder.path / "logs" / f"{job.arm.arm_id}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(f"== {job.targets[0][0]} on {node}\n{text}\n")

    def _tell(self, row: SummaryRow) -> None:
        self._progress.end_object(row, f"{row.model}_{row.prompt}")
