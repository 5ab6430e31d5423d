"""Keeps every row of a run: takes events of workers and failures, writes finished rows to the disk and shows them.

The process that holds the ledger never imports torch, so that no fault of a model or a GPU can end it. A worker that dies costs the objects
that it was tracking: they get rows with the status and the reason. An executor decides where workers run
(`savbench.supervise.local_executor`, `savbench.supervise.ray_executor`).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from savbench.measure.failures import memory_hint
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results.delivery import Delivery, ModelFacts, blank_row
from savbench.results.environment import power_mode
from savbench.results.rows import without_figures
from savbench.results.run_folder import RunFolderError, write_failed
from savbench.results.spikes import count_causes
from savbench.results.systems import changes, system_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from savbench.board.watch import BoardWatch
    from savbench.data.dataset import Target
    from savbench.finish.finisher import Finished
    from savbench.plan.arms import Arm
    from savbench.plan.job import Job
    from savbench.results.frame_rows import FrameRow, StreamingRow
    from savbench.results.rows import SummaryRow
    from savbench.results.run_folder import RunFolder
    from savbench.supervise.finisher_process import FinisherProcess
    from savbench.supervise.gathering import Gathering
    from savbench.supervise.interrupts import Interrupts
    from savbench.supervise.invocation import Invocation
    from savbench.supervise.outcome import Key, WorkerOutcome
    from savbench.supervise.progress import Progress

LAST_ROWS_S = 1.5
"""How long to wait, after an interrupt, for the next row that is being scored."""


class Ledger:
    """Takes workers' events, has rows scored, writes them durably and shows them."""

    def __init__(
        self,
        folder: RunFolder,
        finisher: FinisherProcess,
        board: BoardWatch,
        progress: Progress,
        invocation: Invocation,
        interrupts: Interrupts,
        gathering: Gathering,
    ) -> None:
        self._folder = folder
        self._finisher = finisher
        self._board = board
        self._progress = progress
        self._invocation = invocation
        self._interrupts = interrupts
        self._gathering = gathering

    def missing(self, job: Job, key: Key) -> list[Arm]:
        """Arms of the job for which the object has no row, and none that waits for other objects of its video."""
        return [arm for arm in job.arms if not (self._folder.has_row(arm.arm_id, key) or self._gathering.holds(arm.arm_id, *key))]

    def pending(self, job: Job, targets: Sequence[Target]) -> list[Key]:
        """Objects without a row. Objects that cannot run are not listed: they get a row with status `error` here."""
        pending = [target for target in targets if self.missing(job, (target.video, target.object))]
        if any(target.defect is not None for target in pending):
            self.settle()
        for target in pending:
            if target.defect is not None:
                self._keep_failed(job, (target.video, target.object), {}, "error", target.defect)
        return [(target.video, target.object) for target in pending if target.defect is None]

    def take(
        self, event: dict[str, Any], job: Job, outcome: WorkerOutcome, accepts: Callable[[Delivery], bool] = lambda delivery: True
    ) -> None:
        """Take an event of a worker process, see `savbench.results.delivery.EventName`.

        Args:
            outcome: of that process; changed by the event.
            accepts: whether to score and keep an ok row.

        Raises:
            RunFolderError: the disk is full or gone; or the system differs from that of the arm's earlier rows, without --accept_changes.
        """
        match event["event"]:
            case "said":
                self._progress.say(event["text"])
            case "built":
                outcome.facts = ModelFacts(**event["facts"])
                outcome.changes = self._changes(job, outcome)
                self._invocation.add_worker(job.arm.arm_id, outcome.node, event["environment"])
            case "begun":
                outcome.under_way, outcome.last_frame = [(video, name) for video, name in event["targets"]], None
                self._progress.begin_object(*outcome.under_way[0])
            case "progress":
                outcome.last_frame = event["frame"]
                self._progress.advance(event["done"], event["total"])
            case "phase":
                self._board.mark(event["phase"], event["t_s"], job.arm.arm_id, *(outcome.under_way or [("", "")])[0])
            case "row":
                self._take_row(event, job, outcome, accepts)
            case "done":
                outcome.finished += event["targets"]
                outcome.under_way, outcome.last_frame = [], None
            case "unwritten":
                path = f"{outcome.node}:{event['path']}" if outcome.node else event["path"]
                raise write_failed(Path(path), OSError(event["errno"], os.strerror(event["errno"])))
            case "refused":
                outcome.refused, outcome.forecast = event["error"], event["columns"]
            case "failed":
                outcome.death = event["status"], event["error"]
        self._keep_all(self._finisher.collect())

    def fail(self, job: Job, keys: Sequence[Key], outcome: WorkerOutcome, status: str, reason: str, **columns: Any) -> None:
        """Give each failed object a row under every arm of the job that has none for it.

        Args:
            columns: of the rows, in addition to `outcome.columns`.

        Raises:
            StopRequestedError: the user stopped the run while earlier rows were being scored; the objects will run again.
        """
        if status == "oom":
            reason = f"{reason}; {memory_hint_for(job)}"
        self.settle()  # some rows of a shared session may have arrived and still be unscored
        for key in keys:
            at = {"failed_at_frame": outcome.last_frame} if key in outcome.under_way else {}
            self._keep_failed(job, key, {**outcome.columns, **at, **columns}, status, reason)

    def settle(self) -> None:
        """Wait until every submitted row is scored and kept.

        Raises:
            StopRequestedError: the user stopped the run meanwhile.
        """
        self._keep_all(self._finisher.collect(wait=True, give_up=self._interrupts.requested))
        self._interrupts.check()

    def close(self) -> None:
        """After an interrupt: keep the rows being scored as long as one arrives every `LAST_ROWS_S`; the next command runs the others."""
        if waiting := self._finisher.waiting:
            self._progress.say(f"interrupted; waiting until up to {waiting} rows are scored; press Ctrl-C again to end at once")
        while self._finisher.waiting:
            is_over = partial(_is_past, time.monotonic() + LAST_ROWS_S)
            rows = list(itertools.islice(self._finisher.collect(wait=True, give_up=is_over), 1))
            if not rows:
                return
            self._keep_all(rows)

    def _changes(self, job: Job, outcome: WorkerOutcome) -> list[str]:
        """What differs from the system of the earlier rows of the job's arms. Raises RunFolderError without --accept_changes."""
        mode = None if outcome.node else power_mode()
        columns = {
            **outcome.columns,
            "protocol_version": PROTOCOL_VERSION,
            "benchmark_version": job.benchmark_version,
            "nvpmodel": "" if mode is None else mode["name"],
        }
        outcome.system = system_of(SimpleNamespace(**columns))
        arm_ids = {arm.arm_id for arm in job.arms}
        rows = [row for row in self._folder.done.values() if row.arm_id in arm_ids and row.node == outcome.node]
        found = changes(map(system_of, rows), outcome.system)
        if found and not job.config.accept_changes:
            self.settle()
            raise RunFolderError(
                f"{self._folder.path}: {len(rows)} rows of {job.arm.label} were measured on another system: {'; '.join(found)}; give "
                "another --out_dir, or continue here with --accept_changes, which records new rows as a separate arm"
            )
        return found

    def _take_row(self, event: dict[str, Any], job: Job, outcome: WorkerOutcome, accepts: Callable[[Delivery], bool]) -> None:
        delivery = Delivery.from_event(event)
        row = delivery.row
        row.node = outcome.node
        # false for a row measured again: of a shared session that was cut off after it, or of a later round with --sustained
        is_new = row.key not in self._folder.done and not self._gathering.holds(*row.key)
        if row.status != "ok":
            delivery.discard()
            if is_new:
                self.settle()  # keep rows in the order in which the objects ran
                self._keep(row, delivery.frames)
            return
        self._board.add_to(row, delivery.spans, delivery.frames, idle_of=job.arm.arm_id)
        row.spike_causes = count_causes(delivery.frames)
        if accepts(delivery) and is_new:
            arm = next(arm for arm in job.arms if arm.arm_id == row.arm_id)
            self._gathering.add((arm, delivery, event))
            self._submit_gathered(row.arm_id, row.video)
        else:
            delivery.discard()

    def _keep_failed(self, job: Job, key: Key, columns: dict[str, Any], status: str, reason: str) -> None:
        for arm in self.missing(job, key):
            self._keep(dataclasses.replace(blank_row(job, arm, *key), **columns, status=status, error=reason), [])

    def _keep_all(self, rows: Iterable[Finished]) -> None:
        for finished in rows:
            row = finished.row
            if finished.unwritten:
                raise write_failed(Path(finished.unwritten), OSError(finished.errno, os.strerror(finished.errno)))
            self._keep(without_figures(row, "error", finished.error) if finished.error else row, finished.frames, finished.streaming)

    def _keep(self, row: SummaryRow, frames: list[FrameRow], streaming: Sequence[StreamingRow] = ()) -> None:
        """Write a finished row durably, then show it."""
        self._folder.append(row, frames, streaming)
        self._progress.end_object(row)
        self._submit_gathered(row.arm_id, row.video)

    def _submit_gathered(self, arm_id: str, video: str) -> None:
        """Have the rows of a video scored that wait for no other object."""
        held = self._gathering.take(arm_id, video, lambda name: self._folder.has_row(arm_id, (video, name)))
        if held:
            self._finisher.submit(held[0][0], [(delivery, event) for _, delivery, event in held], self._interrupts.requested)


def _is_past(moment_s: float) -> bool:
    return time.monotonic() > moment_s


def memory_hint_for(job: Job, *, grows: bool = False) -> str:
    """What to do when a job runs out of memory. `grows` as of `savbench.measure.failures.memory_hint`."""
    return memory_hint(dtype=job.arm.autocast_dtype, has_size=job.arm.imgsz is not None, joint=job.config.joint_objects, grows=grows)
