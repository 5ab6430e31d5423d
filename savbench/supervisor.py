"""The parent process: plans the arms, starts one worker after the other, and keeps every row they finish.

It never imports torch, so that nothing that can go wrong with a model or a GPU takes it down. A worker that dies costs the object it was
on: that gets a row with the status and the reason, and a fresh worker goes on with the next.
"""

from __future__ import annotations

import dataclasses
import signal
from typing import TYPE_CHECKING, Any

from runners import RUNNERS
from savbench import environment
from savbench.board import BoardWatch
from savbench.config import Arm, RunConfig, plan_arms
from savbench.dataset import open_split
from savbench.job import Job, rows_of
from savbench.overlay import require_encoder
from savbench.run_folder import RunFolder, choose_out_dir
from savbench.table import closing_table
from savbench.weights import find_weights
from savbench.worker_process import StopRequestedError, WorkerProcess, WorkerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType

    from savbench.dataset import Target
    from savbench.progress import Progress
    from savbench.results import FrameRow, SummaryRow

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
        PowerError: the source that --power names cannot be read.
        RunFolderError, ResultsError: the folder cannot be used or written.
    """
    split = open_split(config.split_dir, config.split_name)
    planned = [_plan(config, arm) for arm in plan_arms(config, split.name)]
    if config.save_overlays:
        require_encoder()
    targets = split.select(
        limit_videos=config.limit_videos, limit_objects=config.limit_objects, shuffle=config.shuffle_videos, seed=config.seed
    )
    out_dir, resumed = (config.out_dir, False) if config.out_dir is not None else choose_out_dir(config)
    with BoardWatch(config) as board, RunFolder(out_dir, config, split.name) as folder:
        if retry_failed and (dropped := folder.forget(lambda row: row.status != "ok")):
            progress.say(f"running {dropped} failed objects again")
        if folder.done or resumed:
            progress.say(f"going on with the run in {out_dir}: {len(folder.done)} rows are there")
        board.record_into(folder.path)
        progress.say(board.why)
        interrupted = Supervisor(config, folder, split.name, targets, progress, argv, board).run(planned)
        arm_ids = {plan.arm.arm_id for plan in planned}
        rows = [row for row in folder.done.values() if row.arm_id in arm_ids]
        wanted = len(planned) * len(targets)
        folder.mark(complete=len(rows) >= wanted)
        progress.say(closing_table([plan.arm for plan in planned], rows, folder.latencies()))
        progress.say(f"{len(rows)} of {wanted} rows in {out_dir / 'summary.csv'}")
        if interrupted:
            progress.say("interrupted; the same command goes on where it stopped")
            return EXIT_INTERRUPTED
        return EXIT_OK if all(row.status == "ok" for row in rows) else EXIT_FAILED_ROWS


def _plan(config: RunConfig, arm: Arm) -> PlannedArm:
    """Find the files an arm runs from, before anything is loaded."""
    spec = RUNNERS[arm.model]
    weights = None
    if spec.checkpoint is not None and not config.random_weights:
        weights = find_weights(spec.checkpoint, arm.model, config.weights_dirs)
    return PlannedArm(arm, weights, {"sam2": config.sam2_dir, "edgetam": config.edgetam_dir}.get(spec.family))


@dataclasses.dataclass
class _Shift:
    """What came of one worker process."""

    finished: int = 0
    """Objects whose row came."""
    current: tuple[str, str] | None = None
    """The object that was under way when the worker ended."""
    death: tuple[str, str] | None = None
    """Status and reason where it did not end by having finished."""
    about_model: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Columns of a row that the built model decided; empty where the model was not built."""


class Supervisor:
    """Runs planned arms over targets into a run folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        split_name: str,
        targets: Sequence[Target],
        progress: Progress,
        argv: Sequence[str],
        board: BoardWatch,
    ) -> None:
        self._board = board
        self._config = dataclasses.replace(config, out_dir=folder.path.absolute())
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
            for plan in planned:
                self._run_arm(plan)
        except StopRequestedError:
            return True
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._progress.close()
        return False

    def _request_stop(self, number: int, _: FrameType | None) -> None:
        self._stop = True

    def _run_arm(self, plan: PlannedArm) -> None:
        arm = plan.arm
        job = Job(
            config=self._config,
            arm=arm,
            targets=(),
            split_name=self._split_name,
            run_id=self._folder.run_id,
            benchmark_version=self._version,
            weights=plan.weights,
            source_dir=plan.source_dir,
        )
        done = [row for row in self._folder.done.values() if row.arm_id == arm.arm_id]
        self._progress.begin_arm(arm, len(self._targets), done)
        pending = [target for target in self._targets if (arm.arm_id, target.video, target.object) not in self._folder.done]
        for target in pending:
            if target.defect is not None:
                self._fail(job, (target.video, target.object), {}, "error", target.defect)
        keys = [(target.video, target.object) for target in pending if target.defect is None]
        alike: list[str] = []
        while keys:
            shift = self._work(dataclasses.replace(job, targets=tuple(keys)))
            keys = keys[shift.finished :]
            if shift.death is None:
                continue
            status, reason = shift.death
            if not shift.about_model:
                # Without a model no object can run; the next one would only fail the same way.
                self._fail_all(job, keys, shift, status, f"the model could not be built: {reason}")
                return
            self._fail(job, shift.current or keys[0], shift.about_model, status, reason)
            keys = keys[1:]
            alike = [*alike, reason] if shift.finished == 0 and reason in alike else [reason]
            if len(alike) >= SAME_FAILURE_LIMIT:
                self._fail_all(job, keys, shift, "skipped", f"given up after {len(alike)} objects in a row failed with: {reason}")
                return

    def _work(self, job: Job) -> _Shift:
        """One worker process from its start to its end, whatever that is."""
        shift = _Shift()
        self._board.measure_idle(job.arm.arm_id, lambda: self._stop)
        worker = WorkerProcess(job, self._folder.path / "logs" / f"{job.arm.arm_id}.log")
        try:
            for event in worker.events(self._config.timeout_s, lambda: self._stop):
                self._take(event, job, shift)
            ended = worker.wait()
            # What the worker said of itself is more than its exit status tells.
            shift.death = shift.death or ended
            if shift.death is None and shift.finished < len(job.targets):
                shift.death = "error", "the worker ended before its work was done; see the log"
        except WorkerTimeoutError:
            worker.kill(dump_stack=True)
            shift.death = "timeout", f"no progress for {self._config.timeout_s:g} s (--timeout); the log has the stack where it hung"
        finally:
            worker.close()
        return shift

    def _take(self, event: dict[str, Any], job: Job, shift: _Shift) -> None:
        name = event["event"]
        if name == "built":
            shift.about_model = event["about_model"]
            if event["environment"]:
                self._invocation.setdefault("workers", {})[job.arm.arm_id] = event["environment"]
                self._write_environment()
        elif name == "begun":
            shift.current = (event["video"], event["object"])
            self._progress.begin_object(*shift.current)
        elif name == "progress":
            self._progress.advance(event["done"], event["total"])
        elif name == "phase":
            self._board.mark(event["phase"], event["t_s"], job.arm.arm_id, *(shift.current or ("", "")))
        elif name == "row":
            row, frames, spans = rows_of(event)
            if row.status == "ok":
                self._board.add_to(row, spans)
            self._keep(row, frames)
            shift.finished += 1
            shift.current = None
        elif name == "failed":
            shift.death = event["status"], event["error"]

    def _fail(self, job: Job, key: tuple[str, str], about_model: dict[str, Any], status: str, reason: str) -> None:
        self._keep(dataclasses.replace(job.blank_row(*key), **about_model, status=status, error=reason), [])

    def _fail_all(self, job: Job, keys: list[tuple[str, str]], shift: _Shift, status: str, reason: str) -> None:
        for key in keys:
            self._fail(job, key, shift.about_model, status, reason)

    def _keep(self, row: SummaryRow, frames: list[FrameRow]) -> None:
        """Make a finished row durable, then show it."""
        self._folder.append(row, frames)
        self._progress.end_object(row)

    def _write_environment(self) -> None:
        self._folder.write_environment({"run_id": self._folder.run_id, "invocations": self._invocations})
