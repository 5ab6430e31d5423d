"""The parent process: plans the arms, has workers run them, and keeps every row they finish.

It never imports torch, so that nothing that can go wrong with a model or a GPU takes it down. A worker that dies costs the object it was
on: that gets a row with the status and the reason, and a fresh worker goes on with the next. Where the workers run is decided by its two
kinds: on this machine one after the other (`savbench.supervise.local_supervisor`), or on a cluster (`savbench.supervise.ray_supervisor`).
"""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING, Any

from savbench.board.watch import BoardWatch
from savbench.measure.failures import memory_hint
from savbench.plan.arms import Arm
from savbench.plan.config import RunConfig
from savbench.plan.job import Job
from savbench.results import environment
from savbench.results.delivery import Delivery, blank_row
from savbench.results.rows import without_figures
from savbench.results.run_folder import RunFolder
from savbench.supervise.finisher_process import FinisherProcess
from savbench.supervise.worker_process import StopRequestedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType

    from savbench.data.dataset import Target
    from savbench.results.rows import FrameRow, StreamingRow, SummaryRow
    from savbench.supervise.progress import Progress

SAME_FAILURE_LIMIT = 3
"""After so many workers in a row that died the same death before finishing an object, the arm is given up."""


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """An arm and the files it runs from."""

    arm: Arm
    weights: Path | None
    source_dir: Path | None


def _sharing(planned: Sequence[PlannedArm]) -> list[list[PlannedArm]]:
    """Arms that differ in nothing but their prompt, put together, in the order of their first."""
    together: dict[Arm, list[PlannedArm]] = {}
    for plan in planned:
        together.setdefault(dataclasses.replace(plan.arm, prompt="", arm_id=""), []).append(plan)
    return list(together.values())


@dataclasses.dataclass
class Shift:
    """What came of one worker process."""

    finished: int = 0
    """Objects whose rows came."""
    current: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """The objects that were under way when the worker ended."""
    death: tuple[str, str] | None = None
    """Status and reason where it did not end by having finished."""
    about_model: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Columns of a row that the built model decided; empty where the model was not built."""
    frame: int | None = None
    """The last frame of the clip that the worker is known to have done of the objects under way."""
    invalid: str = ""
    """With --strict: why a row was not taken. Nothing after it was taken either."""
    refused: str = ""
    """Why nothing more of the arm is to be run; empty where nothing speaks against it."""

    @property
    def is_cut_short(self) -> bool:
        """Whether what the worker does from here on is of no use."""
        return bool(self.invalid or self.refused)

    def end(self, ended: tuple[str, str] | None, targets: int) -> None:
        """
        Args:
            ended: how the process ended, as `WorkerProcess.wait` tells it.
            targets: objects that it had to run.
        """
        # What the worker said of itself is more than its exit status tells.
        self.death = self.death or ended
        if self.death is None and self.finished < targets:
            self.death = "error", "the worker ended before its work was done; see the log"


class Supervisor:
    """Runs planned arms over targets into a run folder; `_run_all` is for its kinds to say."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        split_name: str,
        targets: Sequence[Target],
        progress: Progress,
        argv: Sequence[str],
        board: BoardWatch,
        finisher: FinisherProcess,
    ) -> None:
        """
        Args:
            config: with `out_dir` the folder of the run, absolute.
        """
        self._board = board
        self._finisher = finisher
        self._config = config
        self._folder = folder
        self._split_name = split_name
        self._targets = targets
        self._progress = progress
        self._stop = False
        self._version = environment.benchmark_version()
        self._invocation = environment.collect(list(argv), config.to_json())
        self._invocations: list[dict[str, Any]] = [*folder.read_environment().get("invocations", []), self._invocation]

    def run(self, planned: Sequence[PlannedArm]) -> bool:
        """Run the arms one after the other. Returns True where the user ended the run early."""
        self._write_environment()
        before = {number: signal.signal(number, self._request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._run_all(_sharing(planned) if self._config.share_prompts else [[plan] for plan in planned])
        except StopRequestedError:
            return True
        finally:
            self._keep_finished(wait=True)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._progress.close()
        return False

    def _request_stop(self, number: int, _: FrameType | None) -> None:
        self._stop = True

    def _run_all(self, together: Sequence[Sequence[PlannedArm]]) -> None:
        """
        Args:
            together: the arms in their order, those that share sessions put together.

        Raises:
            StopRequestedError: the user ended the run.
        """
        raise NotImplementedError

    def _job_of(self, plans: Sequence[PlannedArm]) -> Job:
        """The job of one arm, or of arms that share their sessions, with no target yet."""
        plan = plans[0]
        return Job(
            config=self._config,
            arm=plan.arm,
            targets=(),
            split_name=self._split_name,
            run_id=self._folder.run_id,
            benchmark_version=self._version,
            weights=plan.weights,
            source_dir=plan.source_dir,
            companions=tuple(plan.arm for plan in plans[1:]),
            objects_in_arm=len(self._targets),
        )

    def _pending(self, job: Job) -> list[tuple[str, str]]:
        """The (video, object) that have no row yet; those that cannot be run get theirs here."""
        pending = [target for target in self._targets if self._missing(job, (target.video, target.object))]
        for target in pending:
            if target.defect is not None:
                self._fail(job, (target.video, target.object), {}, "error", target.defect)
        return [(target.video, target.object) for target in pending if target.defect is None]

    def _missing(self, job: Job, key: tuple[str, str]) -> list[Arm]:
        """Arms of the job under which the object has no row."""
        return [arm for arm in job.arms if (arm.arm_id, *key) not in self._folder.done]

    def _take(self, event: dict[str, Any], job: Job, shift: Shift) -> None:
        name = event["event"]
        if name == "built":
            shift.about_model = event["about_model"]
            self._remember_worker(job.arm.arm_id, event["environment"])
        elif name == "begun":
            shift.current, shift.frame = [(video, name) for video, name in event["targets"]], None
            self._progress.begin_object(*shift.current[0])
        elif name == "progress":
            shift.frame = event["frame"]
            self._progress.advance(event["done"], event["total"])
        elif name == "phase":
            self._board.mark(event["phase"], event["t_s"], job.arm.arm_id, *(shift.current[0] if shift.current else ("", "")))
        elif name == "row":
            self._take_row(event, job, shift)
        elif name == "done":
            shift.finished += event["targets"]
            shift.current, shift.frame = [], None
        elif name == "refused":
            shift.refused = event["error"]
            shift.about_model = {**shift.about_model, **event["columns"]}
        elif name == "failed":
            shift.death = event["status"], event["error"]
        self._keep_finished()

    def _take_row(self, event: dict[str, Any], job: Job, shift: Shift) -> None:
        delivery = Delivery.from_event(event)
        row = delivery.row
        # a shared session that was cut off after this row runs again, and so does everything with --sustained
        is_new = row.key not in self._folder.done
        if row.status != "ok":
            if is_new:
                self._keep_finished(wait=True)  # rows stay in the order in which the objects ran
                self._keep(row, delivery.frames)
            return
        self._board.add_to(row, delivery.spans, idle_of=job.arm.arm_id)
        if self._is_wanted(delivery, shift) and is_new:
            self._finisher.submit(next(arm for arm in job.arms if arm.arm_id == row.arm_id), delivery, event)

    def _is_wanted(self, delivery: Delivery, shift: Shift) -> bool:
        """Whether a row that is ok is to be scored and kept."""
        return True

    def _keep_finished(self, *, wait: bool = False) -> None:
        """Keep the rows that have been scored; with `wait` all that are on their way."""
        for finished in self._finisher.collect(wait=wait):
            row = finished.row
            self._keep(without_figures(row, "error", finished.error) if finished.error else row, finished.frames, finished.streaming)

    def _fail(self, job: Job, key: tuple[str, str], about_model: dict[str, Any], status: str, reason: str) -> None:
        # of a shared session some rows may have come, and be on their way
        self._keep_finished(wait=True)
        for arm in self._missing(job, key):
            self._keep(dataclasses.replace(blank_row(job, arm, *key), **about_model, status=status, error=reason), [])

    def _fail_all(self, job: Job, keys: Sequence[tuple[str, str]], shift: Shift, status: str, reason: str) -> None:
        if status == "oom":
            reason = f"{reason}; {self._memory_hint(job)}"
        for key in keys:
            at = {"failed_at_frame": shift.frame} if key in shift.current else {}
            self._fail(job, key, {**shift.about_model, **at}, status, reason)

    def _memory_hint(self, job: Job, *, grows: bool = False) -> str:
        return memory_hint(dtype=job.arm.autocast_dtype, has_size=job.arm.imgsz is not None, joint=job.config.joint_objects, grows=grows)

    def _keep(self, row: SummaryRow, frames: list[FrameRow], streaming: Sequence[StreamingRow] = ()) -> None:
        """Make a finished row durable, then show it."""
        self._folder.append(row, frames, streaming)
        self._tell(row)

    def _tell(self, row: SummaryRow) -> None:
        self._progress.end_object(row)

    def _remember_worker(self, key: str, about: dict[str, Any]) -> None:
        """Put what a worker process says of its torch and its GPU into environment.json."""
        workers = self._invocation.setdefault("workers", {})
        if about and workers.get(key) != about:
            workers[key] = about
            self._write_environment()

    def _write_environment(self) -> None:
        self._folder.write_environment({"run_id": self._folder.run_id, "invocations": self._invocations})
