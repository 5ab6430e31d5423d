"""Runs jobs on a Ray cluster: a task is one video under one arm, and many tasks run at once.

The ledger takes, scores and writes events as it does for a worker on this machine. In addition, a node or Ray's process on it may be lost
in the middle of a task. Objects whose rows have arrived keep them and the others run again elsewhere; an object that was under way in
`LOSS_LIMIT` lost tasks, and so may be the cause, is given up.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

from runners import RUNNERS
from savbench.plan.shards import video_work
from savbench.supervise import worker_process
from savbench.supervise.outcome import FailureStreak, WorkerOutcome
from savbench.supervise.ray_cluster import ExecutorError, Need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.data.dataset import Target
    from savbench.plan.job import Job
    from savbench.plan.settings import RunConfig
    from savbench.results.run_folder import RunFolder
    from savbench.supervise.interrupts import Interrupts
    from savbench.supervise.ledger import Ledger
    from savbench.supervise.progress import Progress
    from savbench.supervise.ray_cluster import Cluster, Task

LOSS_LIMIT = 3
"""Tasks lost with an object under way before the object gets a row that says so."""
UNBEGUN_LIMIT = 20
"""Consecutive tasks lost before they began that show a fault of the cluster rather than of an object."""
LOOKAHEAD = 2
"""Tasks submitted per task that the cluster can run at once, so that a node never waits for the next one."""


@dataclasses.dataclass
class _Piece:
    """Objects of one video under one arm, to run in one task."""

    job: Job
    need: Need
    outcome: WorkerOutcome = dataclasses.field(default_factory=WorkerOutcome)


class RayExecutor:
    """Implements `savbench.supervise.jobs.Executor`. The run's folder is on this machine."""

    def __init__(
        self,
        cluster: Cluster,
        config: RunConfig,
        targets: Sequence[Target],
        ledger: Ledger,
        folder: RunFolder,
        progress: Progress,
        interrupts: Interrupts,
    ) -> None:
        """
        Args:
            cluster: already entered.
        """
        self._cluster = cluster
        self._config = config
        self._targets = targets
        self._ledger = ledger
        self._folder = folder
        self._progress = progress
        self._interrupts = interrupts
        self._has_gpus = cluster.has_gpus
        self._losses: Counter[tuple[str, str, str]] = Counter()
        self._unbegun = 0
        """Tasks lost before they began, since the last one that began."""
        self._built: set[str] = set()
        """Arms whose model at least one node has built."""
        self._given_up: dict[str, tuple[str, str]] = {}
        """Status and reason, by the id of an arm that must not run any further."""
        self._failures: defaultdict[str, FailureStreak] = defaultdict(FailureStreak)
        """By arm id."""

    def run(self, jobs: Sequence[Job]) -> None:
        """As `savbench.supervise.jobs.Executor.run`.

        Raises:
            ExecutorError: no node can run a task, or the cluster is no longer usable; rows that have arrived are kept.
        """
        try:
            self._run(jobs)
        except ExecutorError:
            self._ledger.settle()
            raise

    def _run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._cluster.require(self._need(job))
        arms = {arm.arm_id: arm for job in jobs for arm in job.arms}
        done = [row for row in self._folder.done.values() if row.arm_id in arms]
        label = next(iter(arms.values())).label if len(arms) == 1 else f"{len(arms)} arms"
        self._progress.begin(f"{label} on Ray", len(self._targets) * len(arms), done, at_once=True)
        work = video_work(self._targets, max_frames=self._config.max_frames, frame_stride=self._config.frame_stride)
        waiting = deque(piece for job in jobs for piece in self._pieces(job, work))
        live: dict[Task, _Piece] = {}
        while waiting or live:
            self._interrupts.check()
            self._submit(waiting, live)
            for task, event in self._cluster.events():
                rest = self._take_of_task(event, task, live)
                if rest is not None:
                    waiting.appendleft(rest)

    def _need(self, job: Job) -> Need:
        device, learned = job.config.device, RUNNERS[job.arm.model].is_learned
        on_gpu = learned and (device == "cuda" or (device == "auto" and self._has_gpus))
        return Need(job.config.cpus_per_task, int(on_gpu))

    def _pieces(self, job: Job, work: Mapping[str, int]) -> list[_Piece]:
        """One piece per video, longest first, so that the cluster's nodes finish at about the same time."""
        of_video: dict[str, list[tuple[str, str]]] = {}
        for video, name in self._ledger.pending(job, self._targets):
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
                same_need = sum(other.need == piece.need for other in live.values())
                if same_need >= max(1, LOOKAHEAD * self._cluster.slots(piece.need)):
                    return
                command = worker_process.WORKER_COMMAND[1:]
                live[self._cluster.submit(piece.job, piece.need, command)] = piece
            else:
                self._ledger.fail(piece.job, piece.job.targets, piece.outcome, *given_up)
            waiting.popleft()

    def _take_of_task(self, event: dict[str, Any], task: Task, live: dict[Task, _Piece]) -> _Piece | None:
        """Take an event of a task. Returns what has to run again if the task ended before it finished."""
        piece = live[task]
        job, outcome = piece.job, piece.outcome
        match event["event"]:
            case "started":
                self._unbegun = 0
                outcome.node = task.node
            case "lost":
                del live[task]
                return self._after_loss(piece, event["status"], event["error"], begun=bool(task.node))
            case "ended":
                del live[task]
                self._write_log(job, task.node, event["log"])
                return self._after_end(piece, event["death"])
            case name:
                if name == "built":
                    self._built.add(job.arm.arm_id)
                if "masks_bytes" in event:
                    event["masks_file"] = str(self._folder.spool_bytes(event.pop("masks_bytes")))
                self._ledger.take(event, job, outcome)
        return None

    def _after_end(self, piece: _Piece, ended: tuple[str, str] | None) -> _Piece | None:
        job, outcome = piece.job, piece.outcome
        outcome.end(ended, len(job.targets))
        arm_id, keys = job.arm.arm_id, job.targets[outcome.finished :]
        if outcome.death is None:
            if outcome.finished:
                self._failures.pop(arm_id, None)
            return None
        status, reason = outcome.death
        if outcome.facts is None:
            failures = self._failures[arm_id]
            failures.add(reason)
            if status == "killed" and not failures.is_long:
                return _Piece(job, piece.need)
            given_up = status, f"the model could not be built: {reason}"
            if arm_id not in self._built:
                # a model that no node has built will fail on the next node too; if one has built it, this node is at fault
                self._given_up[arm_id] = given_up
            self._ledger.fail(job, keys, outcome, *given_up)
            return None
        failed = outcome.under_way or keys[:1]
        self._ledger.fail(job, failed, outcome, status, reason)
        failures = self._failures[arm_id]
        failures.add(reason, finished=outcome.finished)
        if failures.is_long:
            self._given_up[arm_id] = "skipped", f"given up after {failures.count} objects in a row failed with: {reason}"
        rest = keys[len(failed) :]
        return _Piece(dataclasses.replace(job, targets=rest), piece.need) if rest else None

    def _after_loss(self, piece: _Piece, status: str, reason: str, *, begun: bool) -> _Piece | None:
        job, outcome = piece.job, piece.outcome
        if not begun:
            self._unbegun += 1
            if self._unbegun >= UNBEGUN_LIMIT:
                summary = f"{self._unbegun} tasks in a row were lost before they began; see Ray's logs"
                raise ExecutorError(f"--executor ray: {summary} ({reason})")
            return _Piece(job, piece.need)
        self._ledger.settle()  # rows that have arrived count as done
        keys = [key for key in job.targets if self._ledger.missing(job, key)]
        for key in [key for key in outcome.under_way or keys[:1] if key in keys]:
            lost = (job.arm.arm_id, *key)
            self._losses[lost] += 1
            if (count := self._losses[lost]) >= LOSS_LIMIT:
                repeated = f"{reason}, as in {count - 1} tasks before; see Ray's logs there for the cause"
                self._ledger.fail(job, [key], outcome, status, repeated)
                keys.remove(key)
        self._progress.say(f"{reason}; {len(keys)} objects of {job.targets[0][0]} run again" if keys else reason)
        return _Piece(dataclasses.replace(job, targets=tuple(keys)), piece.need) if keys else None

    def _write_log(self, job: Job, node: str, text: str) -> None:
        if text:
            path = self._folder.path / "logs" / f"{job.arm.arm_id}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(f"== {job.targets[0][0]} on {node}\n{text}\n")
