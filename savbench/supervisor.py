"""The parent process: plans the arms, has workers run them, and keeps every row they finish.

It never imports torch, so that nothing that can go wrong with a model or a GPU takes it down. A worker that dies costs the object it was
on: that gets a row with the status and the reason, and a fresh worker goes on with the next. Where the workers run is decided by its two
kinds: on this machine one after the other (`savbench.local_supervisor`), or on a cluster (`savbench.ray_supervisor`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from typing import TYPE_CHECKING, Any

from runners import RUNNERS
from savbench import environment
from savbench.arms import Arm, plan_arms
from savbench.board import BoardWatch
from savbench.config import RunConfig
from savbench.dataset import open_split
from savbench.failures import memory_hint
from savbench.finisher_process import FinisherProcess
from savbench.job import Delivery, Job
from savbench.overlay import require_encoder
from savbench.power.base import PowerError
from savbench.ray_executor import Cluster
from savbench.results import without_figures
from savbench.run_folder import RunFolder, choose_out_dir
from savbench.sharding import take_shard
from savbench.sustained import SUSTAINED, course_table, statement
from savbench.table import closing_table, told_of_sharing, unfit_to_compare
from savbench.weights import find_weights
from savbench.worker_process import StopRequestedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType

    from savbench.dataset import Target
    from savbench.progress import Progress
    from savbench.results import FrameRow, StreamingRow, SummaryRow

SAME_FAILURE_LIMIT = 3
"""After so many workers in a row that died the same death before finishing an object, the arm is given up."""

EXIT_OK, EXIT_FAILED_ROWS, EXIT_INTERRUPTED = 0, 1, 130


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """An arm and the files it runs from."""

    arm: Arm
    weights: Path | None
    source_dir: Path | None


def run(config: RunConfig, argv: Sequence[str], progress: Progress, *, retry_failed: bool = False) -> int:
    """Run everything the configuration asks for that has no row yet. Returns the exit status.

    Args:
        config: with absolute paths; `out_dir` None lets the run choose its folder.
        argv: the command line, for environment.json.
        retry_failed: run objects again whose row has a status other than ok.

    Raises:
        ConfigError, DatasetError: the arguments or the split cannot be used; nothing was started.
        OverlayError: overlays were asked for and cannot be written here.
        ExecutorError: the cluster that --executor ray needs cannot be used, or cannot any more.
        PowerError: the source that --power names cannot be read; with --strict also: there is none, or it says that no row could be valid.
        RunFolderError, ResultsError: the folder cannot be used or written.
    """
    split = open_split(config.split_dir, config.split_name)
    planned = [_plan(config, arm) for arm in plan_arms(config, split.name)]
    if config.save_overlays:
        require_encoder()
    targets = split.select(
        limit_videos=config.limit_videos, limit_objects=config.limit_objects, shuffle=config.shuffle_videos, seed=config.seed
    )
    if config.shard is not None:
        targets = take_shard(split, targets, config.shard, max_frames=config.max_frames, frame_stride=config.frame_stride)
    out_dir, resumed = (config.out_dir, False) if config.out_dir is not None else choose_out_dir(config)
    config = dataclasses.replace(config, out_dir=out_dir.absolute())
    finisher = FinisherProcess(config, split.name, out_dir / "logs" / "finisher.log")
    with contextlib.ExitStack() as stack:
        cluster = None
        if config.executor == "ray":
            config = dataclasses.replace(config, power="none")
            cluster = stack.enter_context(Cluster(config.ray_address))
            progress.say(f"Ray: {cluster.describe()}; power is not read, for the boards are not here")
        board = stack.enter_context(BoardWatch(config))
        folder = stack.enter_context(RunFolder(out_dir, config, split.name))
        stack.enter_context(finisher)
        if retry_failed and (dropped := folder.forget(lambda row: row.status != "ok")):
            progress.say(f"running {dropped} failed objects again")
        if folder.done or resumed:
            progress.say(f"going on with the run in {out_dir}: {len(folder.done)} rows are there")
        board.record_into(folder.path)
        if cluster is None:
            progress.say(board.why)
        if config.strict and (unfit := board.unfit()):
            raise PowerError(f"--strict would refuse every row: {unfit}")
        supervisor = _supervisor(cluster, config, folder, split.name, targets, progress, argv, board, finisher)
        interrupted = supervisor.run(planned)
        arm_ids = {plan.arm.arm_id for plan in planned}
        keys = {(target.video, target.object) for target in targets}  # the folder may hold other shards too
        rows = [row for row in folder.done.values() if row.arm_id in arm_ids and (row.video, row.object) in keys]
        wanted = len(planned) * len(targets)
        folder.mark(complete=len(rows) >= wanted)
        progress.say(closing_table([plan.arm for plan in planned], rows, folder.latencies()))
        for remark in filter(None, (told_of_sharing(rows), unfit_to_compare(rows))):
            progress.say(remark)
        progress.say(f"{len(rows)} of {wanted} rows in {out_dir / 'summary.csv'}")
        if config.sustained_minutes is not None:
            _show_courses(planned, folder, progress)
        if interrupted:
            progress.say("interrupted; the same command goes on where it stopped")
            return EXIT_INTERRUPTED
        return EXIT_OK if all(row.status == "ok" for row in rows) else EXIT_FAILED_ROWS


def _supervisor(cluster: Cluster | None, *args: Any) -> Supervisor:
    # Both build on this module.
    if cluster is None:
        from savbench.local_supervisor import LocalSupervisor

        return LocalSupervisor(*args)
    from savbench.ray_supervisor import RaySupervisor

    return RaySupervisor(*args, cluster=cluster)


def _show_courses(planned: Sequence[PlannedArm], folder: RunFolder, progress: Progress) -> None:
    """How FPS, power and temperature went, and where they ended."""
    for arm in (plan.arm for plan in planned):
        course = folder.courses.get(arm.arm_id, [])
        if course:
            progress.say(f"\n{arm.label}\n{course_table(course)}")
        progress.say(statement(arm.label, course))
    progress.say(f"every run in {folder.path / SUSTAINED}")


def _plan(config: RunConfig, arm: Arm) -> PlannedArm:
    """Find the files an arm runs from, before anything is loaded."""
    spec = RUNNERS[arm.model]
    weights = None
    if spec.checkpoint is not None and not config.random_weights:
        weights = find_weights(spec.checkpoint, arm.model, config.weights_dirs)
    return PlannedArm(arm, weights, {"sam2": config.sam2_dir, "edgetam": config.edgetam_dir}.get(spec.family))


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
            self._keep(dataclasses.replace(job.blank_row(arm, *key), **about_model, status=status, error=reason), [])

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
