"""Runs jobs on this machine, one worker process at a time, and watches the board.

With --strict an invalid row is rejected: the executor ends the worker, lets the board cool down, and has a fresh worker try the object
again, `STRICT_TRIES` times at most. With --sustained one process runs an arm's objects repeatedly, because a board that rests cools down;
every run of an object goes to sustained.csv, the first also to summary.csv.

Another process scores rows, and on a board it shares memory, power and heat with the worker. With --strict, --min_time and --min_frames,
where timing matters most, the worker therefore waits after each object until its row is scored.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from savbench.data.dataset import ClipError
from savbench.plan.extent import Extent
from savbench.plan.order import turns
from savbench.results.rows import is_valid
from savbench.results.sustained import Course
from savbench.results.systems import whole_id
from savbench.supervise.jobs import part_of
from savbench.supervise.ledger import memory_hint_for
from savbench.supervise.outcome import FailureStreak, WorkerOutcome
from savbench.supervise.worker_process import WorkerProcess, WorkerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.board.watch import BoardWatch
    from savbench.data.dataset import Split, Target
    from savbench.plan.job import Job
    from savbench.plan.settings import RunConfig
    from savbench.results.delivery import Delivery
    from savbench.results.run_folder import RunFolder
    from savbench.supervise.interrupts import Interrupts
    from savbench.supervise.ledger import Ledger
    from savbench.supervise.outcome import Key
    from savbench.supervise.progress import Progress

STRICT_TRIES = 3
"""Invalid runs of an object before it gets a row with status `error`."""
STRICT_PAUSE_S = 10.0
"""Shortest pause before another try, at any temperature: a background program may end meanwhile."""


@dataclasses.dataclass
class _ArmState:
    """State of one arm, or of arms that share sessions, across its turns."""

    job: Job
    """Without targets."""
    failures: FailureStreak = dataclasses.field(default_factory=FailureStreak)
    tries: Counter[Key] = dataclasses.field(default_factory=Counter)
    """Runs of an object that --strict rejected."""
    is_given_up: bool = False
    """No object of the arm runs any more; every one has a row."""


class LocalExecutor:
    """Implements `savbench.supervise.jobs.Executor`."""

    def __init__(
        self,
        config: RunConfig,
        split: Split,
        targets: Sequence[Target],
        ledger: Ledger,
        folder: RunFolder,
        board: BoardWatch,
        progress: Progress,
        interrupts: Interrupts,
    ) -> None:
        self._config = config
        self._split = split
        self._targets = targets
        self._ledger = ledger
        self._folder = folder
        self._board = board
        self._progress = progress
        self._interrupts = interrupts
        self._scores_between = config.strict or config.min_time_s > 0 or config.min_frames > 0

    def run(self, jobs: Sequence[Job]) -> None:
        """As `savbench.supervise.jobs.Executor.run`."""
        extent = None if self._config.memory_budget is None else self._extent(max(len(job.arms) for job in jobs))
        states = [_ArmState(dataclasses.replace(job, extent=extent)) for job in jobs]
        for turn in turns(states, self._targets, self._config.order):
            if self._config.sustained_minutes is None:
                self._run_turn(turn.arm, turn.targets)
            else:
                self._run_course(turn.arm, self._config.sustained_minutes)

    def _run_turn(self, state: _ArmState, targets: Sequence[Target]) -> None:
        """Run the targets that have no row yet."""
        job = state.job
        self._begin_arm(job, targets)
        keys = self._ledger.pending(job, targets)
        while keys:
            if self._config.strict:
                if reason := self._board.why_no_valid_row():
                    self._give_up(state, WorkerOutcome(), "skipped", f"refused under --strict: {reason}")
                    break
                self._cool_down(job, STRICT_PAUSE_S if state.tries[keys[0]] else 0.0)
            outcome = WorkerOutcome()
            self._work(
                dataclasses.replace(job, targets=tuple(keys), waits=self._scores_between), outcome, partial(self._is_strict_enough, outcome)
            )
            if outcome.changes:
                job = state.job = part_of(job, outcome)
                self._progress.say(f"{'; '.join(outcome.changes)}: new rows are recorded as the separate arm {job.arm.label}")
                continue
            keys = self._after(state, keys[outcome.finished :], outcome)
        self._ledger.settle()

    def _run_course(self, state: _ArmState, minutes: float) -> None:
        """Run an arm's objects until the board is steady. If a worker dies in the first round, the course restarts without the object."""
        job, arm_id = state.job, state.job.arm.arm_id
        self._begin_arm(job, self._targets)
        before = self._folder.courses.get(arm_id, [])
        if not self._ledger.pending(job, self._targets) and before and before[-1].end:
            return
        while not state.is_given_up and (keys := self._runnable(job)):
            self._cool_down(job)
            self._folder.forget_course(arm_id)
            course, outcome = Course(minutes), WorkerOutcome()
            repeated = dataclasses.replace(job, targets=tuple(keys), repeats=True)
            self._work(repeated, outcome, partial(self._add_to_course, course, outcome))
            self._ledger.settle()
            if course.end:
                return
            reason = outcome.refused or (outcome.death[1] if outcome.death else "")
            if not reason:
                return  # no object succeeded, so there was nothing to repeat
            is_kept = not any(self._ledger.missing(job, key) for key in outcome.under_way or keys[:1])
            if outcome.facts is None or not is_kept:
                self._after(state, keys[outcome.finished :], outcome)
            if is_kept and (outcome.facts is not None or state.is_given_up):
                self._folder.append_to_course(course.abort(arm_id, reason))
                return

    def _work(self, job: Job, outcome: WorkerOutcome, accepts: Callable[[Delivery], bool]) -> None:
        """Run one worker process from its start to its end, however it ends. `accepts` as of `Ledger.take`."""
        self._board.measure_idle(job.arm.arm_id, self._interrupts.requested)
        worker = WorkerProcess(job, self._folder.path / "logs" / f"{job.arm.arm_id}.log")
        try:
            for event in worker.events(self._config.timeout_s, self._interrupts.requested):
                self._ledger.take(event, job, outcome, accepts)
                if outcome.is_cut_short:
                    return
                if job.waits and event["event"] == "done":
                    self._ledger.settle()
                    worker.go_on()
            outcome.end(worker.wait(), len(job.targets))
        except WorkerTimeoutError as error:
            worker.kill(dump_stack=True)
            outcome.death = "timeout", str(error)
        finally:
            worker.close()
            # a killed worker did not report the end of its phase
            self._board.mark("", time.perf_counter(), job.arm.arm_id)

    def _is_strict_enough(self, outcome: WorkerOutcome, delivery: Delivery) -> bool:
        if not self._config.strict:
            return True
        validity = delivery.row.validity
        if not outcome.invalid:
            outcome.invalid = self._board.died() if is_valid(validity) else validity
        return not outcome.invalid

    def _add_to_course(self, course: Course, outcome: WorkerOutcome, delivery: Delivery) -> bool:
        """Add one object's run to the course. Returns whether it is the object's first, whose row may be kept."""
        run = course.add(delivery.row, delivery.spans)
        self._folder.append_to_course(run)
        outcome.is_enough = bool(run.end)
        if line := course.line_of_round():
            self._progress.say(line)
        return run.round == 1

    def _after(self, state: _ArmState, keys: list[Key], outcome: WorkerOutcome) -> list[Key]:
        """Handle the end of a worker. Returns the objects that still have to run.

        Args:
            keys: objects that the worker did not finish.
        """
        job = state.job
        if outcome.invalid:
            return self._after_invalid(state, keys, outcome)
        if outcome.refused:
            hint = memory_hint_for(job, grows=bool(outcome.forecast.get("forecast_state_MiB")))
            return self._give_up(state, outcome, "skipped", f"{outcome.refused}; {hint}")
        if outcome.death is None:
            return keys
        status, reason = outcome.death
        if outcome.facts is None:
            state.failures.add(reason)
            if status == "killed" and not state.failures.is_long:
                self._progress.say(f"while building the model, {reason}; a fresh worker builds it again")
                return keys
            # without a model no object can run; the next worker would only fail the same way
            return self._give_up(state, outcome, status, f"the model could not be built: {reason}")
        failed = outcome.under_way or keys[:1]
        self._ledger.fail(job, failed, outcome, status, reason)
        return self._unless_same_failure(state, keys[len(failed) :], outcome, reason)

    def _after_invalid(self, state: _ArmState, keys: list[Key], outcome: WorkerOutcome) -> list[Key]:
        job, failed = state.job, outcome.under_way or keys[:1]
        self._ledger.settle()
        state.tries[failed[0]] += 1
        tries = state.tries[failed[0]]
        if tries < STRICT_TRIES:
            self._progress.say(f"{'/'.join(failed[0])}: {outcome.invalid}: row rejected, try {tries + 1} of {STRICT_TRIES} follows")
            return keys
        reason = f"refused under --strict after {tries} tries: {outcome.invalid}"
        self._ledger.fail(job, failed, outcome, "error", reason, validity=outcome.invalid, failed_at_frame=None)
        return self._unless_same_failure(state, keys[len(failed) :], outcome, "refused under --strict")

    def _unless_same_failure(self, state: _ArmState, keys: list[Key], outcome: WorkerOutcome, reason: str) -> list[Key]:
        """Give up an arm whose objects fail for the same reason one after the other. Returns the objects that still have to run."""
        state.failures.add(reason, finished=outcome.finished)
        if not state.failures.is_long:
            return keys
        return self._give_up(state, outcome, "skipped", f"given up after {state.failures.count} objects in a row failed with: {reason}")

    def _give_up(self, state: _ArmState, outcome: WorkerOutcome, status: str, reason: str) -> list[Key]:
        """Give every object of the arm without a row, those of later turns included, one that says why. Returns no objects."""
        state.is_given_up = True
        self._ledger.settle()
        self._ledger.fail(state.job, self._ledger.pending(state.job, self._targets), outcome, status, reason)
        return []

    def _runnable(self, job: Job) -> list[Key]:
        """Objects that have no row yet or an ok one."""
        rows = {(row.video, row.object): row for row in self._folder.done.values() if row.arm_id == job.arm.arm_id}
        keys = [(target.video, target.object) for target in self._targets]
        return [key for key in keys if key not in rows or rows[key].status == "ok"]

    def _begin_arm(self, job: Job, targets: Sequence[Target]) -> None:
        wanted = {(target.video, target.object) for target in targets}
        arm_ids = {whole_id(arm.arm_id) for arm in job.arms}
        done = [row for row in self._folder.done.values() if whole_id(row.arm_id) in arm_ids and (row.video, row.object) in wanted]
        self._progress.begin(job.arm.label, len(wanted) * len(job.arms), done)

    def _cool_down(self, job: Job, at_least_s: float = 0.0) -> None:
        """
        Raises:
            StopRequestedError: the user stopped the run meanwhile.
        """
        stop_requested = self._interrupts.requested
        result = self._board.cool_down(job.arm.arm_id, self._config.cooldown_c, self._progress.wait, stop_requested, at_least_s)
        self._interrupts.check()
        if result:
            self._progress.say(f"cooling: {result}")

    def _extent(self, prompts: int) -> Extent:
        """Upper bound of a session of this run: frames, pixels and objects.

        Args:
            prompts: most arms that share a session.
        """
        extents = [Extent(1, 1, 1)]
        objects = Counter(target.video for target in self._targets)
        for name, count in objects.items():
            try:
                video = self._split.video(name).take(self._config.max_frames)
                height, width = video.read_size()
            except ClipError:
                continue  # the worker gives its objects rows with the error
            frames = -(-len(video.frames) // self._config.frame_stride)
            extents.append(Extent(frames, height * width, prompts * (count if self._config.joint_objects else 1)))
        return Extent.largest(extents)
