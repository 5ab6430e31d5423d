"""The supervisor where the arms run on this machine, one worker process at a time, and the board is watched meanwhile.

With --strict a row that is not valid is not taken: the worker is ended, the board cools down, and a fresh worker tries the object again, at
most `STRICT_TRIES` times in all. With --sustained an arm's objects run again and again in one process, since a board that rests cools down;
every run of an object goes into sustained.csv, the first one also into summary.csv.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from savbench.data.dataset import ClipError, open_split
from savbench.plan.extent import Extent
from savbench.plan.order import turns
from savbench.results.rows import is_valid
from savbench.results.sustained import Course
from savbench.supervise.supervisor import SAME_FAILURE_LIMIT, Shift, Supervisor
from savbench.supervise.worker_process import StopRequestedError, WorkerProcess, WorkerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.data.dataset import Target
    from savbench.plan.job import Job
    from savbench.results.delivery import Delivery
    from savbench.supervise.supervisor import PlannedArm

STRICT_TRIES = 3
"""After so many runs of an object that were not valid it is refused."""
STRICT_PAUSE_S = 10.0
"""Before another try, whatever the temperature: a program in the background may come to its end."""

Key = tuple[str, str]
"""Video and object."""


@dataclasses.dataclass
class _ArmState:
    """One arm, or arms that share their sessions, over all their turns."""

    job: Job
    """Without targets."""
    alike: list[str] = dataclasses.field(default_factory=list)
    """Reasons of the last deaths, as far as they are the same and no object was finished in between."""
    tries: Counter[Key] = dataclasses.field(default_factory=Counter)
    """Runs of an object that --strict did not take."""
    given_up: bool = False
    """Nothing more of the arm is run; every object has its row."""


class LocalSupervisor(Supervisor):
    """Runs planned arms over targets on this machine, into a run folder."""

    _course: Course | None = None
    """Of the arm that is running with --sustained."""

    def _run_all(self, together: Sequence[Sequence[PlannedArm]]) -> None:
        extent = None if self._config.memory_budget is None else self._extent(max(map(len, together)))
        states = [_ArmState(dataclasses.replace(self._job_of(plans), extent=extent)) for plans in together]
        for turn in turns(states, self._targets, self._config.order):
            if self._config.sustained_minutes is None:
                self._run_turn(turn.arm, turn.targets)
            else:
                self._run_course(turn.arm)

    def _run_turn(self, state: _ArmState, targets: Sequence[Target]) -> None:
        """Run those of the targets that have no row yet."""
        job = state.job
        wanted = {(target.video, target.object) for target in targets}
        self._begin_arm(job, wanted)
        keys = [key for key in self._pending(job) if key in wanted]
        while keys:
            if self._config.strict:
                if unfit := self._board.unfit():
                    self._give_up(state, Shift(), "skipped", f"refused under --strict: {unfit}")
                    break
                self._cool_down(job, STRICT_PAUSE_S if state.tries[keys[0]] else 0.0)
            shift = self._work(dataclasses.replace(job, targets=tuple(keys)))
            keys = self._after(state, keys[shift.finished :], shift)
        self._keep_finished(wait=True)

    def _run_course(self, state: _ArmState) -> None:
        """Run an arm's objects until the board is steady. A worker's death in the first round begins the course anew without the object."""
        job, arm_id = state.job, state.job.arm.arm_id
        self._begin_arm(job, {(target.video, target.object) for target in self._targets})
        course = self._folder.courses.get(arm_id, [])
        if not self._pending(job) and course and course[-1].end:
            return
        while not state.given_up and (keys := self._runnable(job)):
            self._cool_down(job)
            self._folder.forget_course(arm_id)
            assert self._config.sustained_minutes is not None  # or this would be an ordinary turn
            self._course = Course(self._config.sustained_minutes)
            shift = self._work(dataclasses.replace(job, targets=tuple(keys), repeats=True))
            self._keep_finished(wait=True)
            if self._course.end:
                return
            reason = shift.refused or (shift.death[1] if shift.death else "")
            if not reason:
                return  # no object went well, so that there was nothing to repeat
            if not any(self._missing(job, key) for key in shift.current or keys[:1]):
                self._folder.append_to_course(self._course.break_off(arm_id, reason))
                return
            self._after(state, keys[shift.finished :], shift)

    def _runnable(self, job: Job) -> list[Key]:
        """Objects that have no row yet, or one that is ok."""
        rows = {(row.video, row.object): row for row in self._folder.done.values() if row.arm_id == job.arm.arm_id}
        keys = [(target.video, target.object) for target in self._targets]
        return [key for key in keys if key not in rows or rows[key].status == "ok"]

    def _begin_arm(self, job: Job, wanted: set[Key]) -> None:
        arm_ids = {arm.arm_id for arm in job.arms}
        done = [row for row in self._folder.done.values() if row.arm_id in arm_ids and (row.video, row.object) in wanted]
        self._progress.begin_arm(job.arm, len(wanted) * len(job.arms), done)

    def _after(self, state: _ArmState, keys: list[Key], shift: Shift) -> list[Key]:
        """Deal with how a worker ended. Returns the objects that are still to run.

        Args:
            keys: those that it had not finished.
        """
        job = state.job
        if shift.invalid:
            return self._after_invalid(state, keys, shift)
        if shift.refused:
            hint = self._memory_hint(job, grows=bool(shift.about_model.get("forecast_state_MiB")))
            return self._give_up(state, shift, "skipped", f"{shift.refused}; {hint}")
        if shift.death is None:
            return keys
        status, reason = shift.death
        if not shift.about_model:
            # Without a model no object can run; the next one would only fail the same way.
            return self._give_up(state, shift, status, f"the model could not be built: {reason}")
        failed = shift.current or keys[:1]
        self._fail_all(job, failed, shift, status, reason)
        return self._unless_alike(state, keys[len(failed) :], shift, reason)

    def _after_invalid(self, state: _ArmState, keys: list[Key], shift: Shift) -> list[Key]:
        job, failed = state.job, shift.current or keys[:1]
        self._keep_finished(wait=True)
        state.tries[failed[0]] += 1
        tries = state.tries[failed[0]]
        if tries < STRICT_TRIES:
            self._progress.say(f"{'/'.join(failed[0])}: {shift.invalid}: not taken, try {tries + 1} of {STRICT_TRIES} follows")
            return keys
        for key in failed:
            columns = {**shift.about_model, "validity": shift.invalid}
            self._fail(job, key, columns, "error", f"refused under --strict after {tries} tries: {shift.invalid}")
        return self._unless_alike(state, keys[len(failed) :], shift, "refused under --strict")

    def _unless_alike(self, state: _ArmState, keys: list[Key], shift: Shift, reason: str) -> list[Key]:
        """Give an arm up whose objects fail the same way one after the other."""
        state.alike = [*state.alike, reason] if shift.finished == 0 and reason in state.alike else [reason]
        if len(state.alike) < SAME_FAILURE_LIMIT:
            return keys
        return self._give_up(state, shift, "skipped", f"given up after {len(state.alike)} objects in a row failed with: {reason}")

    def _give_up(self, state: _ArmState, shift: Shift, status: str, reason: str) -> list[Key]:
        """Give all objects of the arm that have no row one that says why, also those of later turns."""
        state.given_up = True
        self._keep_finished(wait=True)
        self._fail_all(state.job, self._pending(state.job), shift, status, reason)
        return []

    def _work(self, job: Job) -> Shift:
        """One worker process from its start to its end, whatever that is."""
        shift = Shift()
        self._board.measure_idle(job.arm.arm_id, lambda: self._stop)
        worker = WorkerProcess(job, self._folder.path / "logs" / f"{job.arm.arm_id}.log")
        try:
            for event in worker.events(self._config.timeout_s, lambda: self._stop):
                self._take(event, job, shift)
                if shift.is_cut_short or (self._course is not None and self._course.end):
                    return shift
            shift.end(worker.wait(), len(job.targets))
        except WorkerTimeoutError as error:
            worker.kill(dump_stack=True)
            shift.death = "timeout", str(error)
        finally:
            worker.close()
        return shift

    def _is_wanted(self, delivery: Delivery, shift: Shift) -> bool:
        row = delivery.row
        if self._course is not None:
            return self._take_run(self._course, delivery)
        if not self._config.strict:
            return True
        if not shift.invalid:
            shift.invalid = self._board.died() if is_valid(row.validity) else row.validity
        return not shift.invalid

    def _take_run(self, course: Course, delivery: Delivery) -> bool:
        """Take a run of a course. Returns whether it is its object's first, whose row may be kept."""
        run = course.add(delivery.row, delivery.spans)
        self._folder.append_to_course(run)
        if line := course.line_of_round():
            self._progress.say(line)
        return run.round == 1

    def _cool_down(self, job: Job, at_least_s: float = 0.0) -> None:
        """
        Raises:
            StopRequestedError: the user ended the run meanwhile.
        """
        said = self._board.cool_down(job.arm.arm_id, self._config.cooldown_c, self._progress.wait, lambda: self._stop, at_least_s)
        if self._stop:
            raise StopRequestedError
        if said:
            self._progress.say(f"cooling: {said}")

    def _extent(self, prompts: int) -> Extent:
        """The most that a session of this run can be.

        Args:
            prompts: arms that share a session.
        """
        split = open_split(self._config.split_dir, self._split_name)
        extents = [Extent(1, 1, 1)]
        objects = Counter(target.video for target in self._targets)
        for name, count in objects.items():
            try:
                video = split.video(name).take(self._config.max_frames)
                height, width = video.read_size()
            except ClipError:
                continue  # its objects get rows that say so
            frames = -(-len(video.frames) // self._config.frame_stride)
            extents.append(Extent(frames, height * width, prompts * (count if self._config.joint_objects else 1)))
        return Extent.largest(extents)
