"""The whole run: from settings to jobs, from jobs to rows, from rows to the closing table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from runners.exported import TORCH
from savbench.arguments.declared import ConfigError
from savbench.board.power.base import PowerError
from savbench.board.watch import BoardWatch
from savbench.data.dataset import AUTO
from savbench.finish.finisher import scores_together
from savbench.finish.overlay import require_encoder
from savbench.plan.arms import runs_in_torch_only
from savbench.plan.protocols import protocol_named
from savbench.plan.shards import object_work, take_shard
from savbench.plan.split import split_of
from savbench.plan.upstream import with_default_models
from savbench.results import selfcheck
from savbench.results.environment import benchmark_version, cpu_name
from savbench.results.run_folder import RunFolder, choose_out_dir, rows_in
from savbench.results.sustained import SUSTAINED, course_table, statement
from savbench.results.systems import is_part, whole_id
from savbench.results.table import agreement_lines, closing_table, invalid_rows_line, shared_sessions_line
from savbench.supervise.again import forget_rows_to_run_again
from savbench.supervise.estimate import Estimate
from savbench.supervise.finisher_process import FinisherProcess
from savbench.supervise.gathering import Gathering
from savbench.supervise.interrupts import EXIT_INTERRUPTED, Interrupts, StopRequestedError
from savbench.supervise.invocation import Invocation
from savbench.supervise.jobs import make_jobs, plan, with_reference_first
from savbench.supervise.ledger import Ledger
from savbench.supervise.local_executor import LocalExecutor
from savbench.supervise.ray_cluster import Cluster
from savbench.supervise.ray_executor import RayExecutor

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from savbench.data.dataset import Split, Target
    from savbench.plan.arms import Arm
    from savbench.plan.job import Job
    from savbench.plan.settings import RunConfig
    from savbench.results.rows import SummaryRow
    from savbench.supervise.jobs import Executor
    from savbench.supervise.progress import Progress

EXIT_OK, EXIT_FAILED_ROWS = 0, 1


def run(config: RunConfig, argv: Sequence[str], progress: Progress) -> int:
    """Run everything in the configuration that has no row yet. Returns the exit status.

    Args:
        config: with absolute paths; with `out_dir` None the run chooses its folder.
        argv: the command line, for environment.json.

    Raises:
        ConfigError, DatasetError: the arguments or the split are unusable; nothing was started.
        OverlayError: --save_overlays was given and this machine cannot encode videos.
        ExecutorError: the cluster of --executor ray is unusable or was lost.
        FinisherError: rows can no longer be scored.
        PowerError: the source that --power names cannot be read; with --strict also: there is none, or it shows that no row could be valid.
        RunFolderError, ResultsError: the run's folder is unusable or cannot be written.
    """
    with Interrupts() as interrupts:
        try:
            is_interrupted, is_all_ok = _run(config, argv, progress, interrupts)
        except KeyboardInterrupt:
            is_interrupted, is_all_ok = True, False  # from code that does not poll for interrupts
        if is_interrupted:
            progress.say("interrupted; run the same command again to continue")
            return EXIT_INTERRUPTED
        return EXIT_OK if is_all_ok else EXIT_FAILED_ROWS


def _run(config: RunConfig, argv: Sequence[str], progress: Progress, interrupts: Interrupts) -> tuple[bool, bool]:
    """As `run`. Returns whether the user stopped the run early, and whether all rows are ok."""
    split = split_of(config)
    if config.layout == AUTO and split.layout.name != "sav":
        what = f"--layout {split.layout.name}, list {split.name} of {len(split.videos)} videos"
        progress.say(f"{split.root}: found {what}; --protocol {protocol_named(config.protocol, split.layout.protocol).name}")
    config = dataclasses.replace(config, protocol=protocol_named(config.protocol, split.layout.protocol).name)
    if not config.models:
        config, which = with_default_models(config)
        progress.say(which)
    planned = plan(config, split.name)
    if alone := list(dict.fromkeys(one.arm.model for one in planned if runs_in_torch_only(config, one.arm.model))):
        progress.say(f"--runtime {','.join(config.runtime)}: without exported stages, so in {TORCH} only: {', '.join(alone)}")
    if config.agreement is not None:
        planned = with_reference_first(planned, config.agreement)
        config = dataclasses.replace(config, agreement=planned[0].arm.arm_id)
    arms = [one.arm for one in planned]
    if config.save_overlays is not None:
        require_encoder()
    targets = _targets(config, split)
    out_dir, is_resumed = (config.out_dir, False) if config.out_dir is not None else choose_out_dir(config)
    _refuse_inside_data(out_dir, split)
    config = dataclasses.replace(config, out_dir=out_dir.absolute())
    work = object_work(targets, max_frames=config.max_frames, frame_stride=config.frame_stride)
    if config.plan == "estimate":
        progress.say(Estimate(config, arms, work, rows_in(out_dir)).table(progress.width))
        return False, True
    with contextlib.ExitStack() as stack:
        cluster = None
        if config.executor == "ray":
            config = dataclasses.replace(config, power="none")
            cluster = stack.enter_context(Cluster(config.ray_address))
            progress.say(f"Ray: {cluster.describe()}; power is not read, because models run on other machines")
        board = stack.enter_context(BoardWatch(config))
        folder = stack.enter_context(RunFolder(out_dir, config, split.name))
        finisher = stack.enter_context(FinisherProcess(config, split.name, out_dir / "logs" / "finisher.log"))
        wanted = {(arm.arm_id, target.video, target.object) for arm in arms for target in targets}
        forget_rows_to_run_again(config, wanted, folder, split.layout, progress)
        if folder.done or is_resumed:
            progress.say(f"continuing the run in {out_dir}, which has {len(folder.done)} rows")
        board.record_into(folder.path)
        if cluster is None:
            progress.say(board.why)
        if config.strict and (reason := board.why_no_valid_row()):
            raise PowerError(f"--strict would refuse every row: {reason}")
        estimate = Estimate(config, arms, work, folder.done.values())
        progress.expect(estimate)
        if config.plan == "measure":
            targets = _one_clip(config, targets)
        gathering = Gathering(targets, together=scores_together(config, split.layout))
        ledger = Ledger(folder, finisher, board, progress, Invocation(folder, argv, config), interrupts, gathering)
        executor: Executor
        if cluster is None:
            executor = LocalExecutor(config, split, targets, ledger, folder, board, progress, interrupts)
        else:
            executor = RayExecutor(cluster, config, targets, ledger, folder, progress, interrupts)
        jobs = make_jobs(
            planned,
            config,
            split_name=split.name,
            run_id=folder.run_id,
            benchmark_version=benchmark_version(),
            spool=folder.spool.absolute(),
            objects=len(work),
        )
        is_interrupted = _execute(executor, jobs, ledger, progress)
        if config.plan == "measure":
            progress.say(estimate.table(progress.width))
            return is_interrupted, True
        return is_interrupted, _conclude(config, arms, wanted, folder, progress)


def _refuse_inside_data(out_dir: Path, split: Split) -> None:
    """
    Raises:
        ConfigError: results would lie among the frames or masks of a split, where a later run takes their folders for objects.
    """
    for data in split.layout.folders:
        if Path(os.path.realpath(out_dir)).is_relative_to(os.path.realpath(data)):
            raise ConfigError(f"--out_dir {out_dir}: is inside {data}; give a folder outside the split")


def _targets(config: RunConfig, split: Split) -> list[Target]:
    """The objects of the split that the settings select, in running order."""
    targets = split.select(
        limit_videos=config.limit_videos, limit_objects=config.limit_objects, shuffle=config.shuffle_videos, seed=config.seed
    )
    if config.shard is None:
        return targets
    return take_shard(targets, config.shard, max_frames=config.max_frames, frame_stride=config.frame_stride)


def _one_clip(config: RunConfig, targets: Sequence[Target]) -> list[Target]:
    """The first object that can run; with --joint_objects all that can of its video, because they share a session."""
    able = [target for target in targets if target.defect is None]
    return [target for target in able if target.video == able[0].video] if config.joint_objects else able[:1]


def _execute(executor: Executor, jobs: Sequence[Job], ledger: Ledger, progress: Progress) -> bool:
    """Run all jobs. Returns whether the user stopped the run early."""
    try:
        executor.run(jobs)
        ledger.settle()
    except StopRequestedError:
        ledger.close()
        return True
    finally:
        progress.close()
    return False


def _conclude(
    config: RunConfig, arms: Sequence[Arm], wanted: Collection[tuple[str, str, str]], folder: RunFolder, progress: Progress
) -> bool:
    """Print the closing table of the rows in `wanted`. Returns whether all of them are ok."""
    # the folder may hold other shards too
    rows = [row for row in folder.done.values() if (whole_id(row.arm_id), row.video, row.object) in wanted]
    folder.mark(complete=len(rows) >= len(wanted))
    progress.say(closing_table(_with_parts(arms, rows), rows, folder.latencies(), progress.width))
    systems = [(row.device_name, row.torch_version) for row in rows if row.status == "ok" and not row.node]
    checked = selfcheck.statement(selfcheck.of_machine(cpu_name()), systems)
    remarks = (shared_sessions_line(rows), invalid_rows_line(rows), *agreement_lines(_with_parts(arms, rows), rows), checked)
    for remark in filter(None, remarks):
        progress.say(remark)
    progress.say(f"{len(rows)} of {len(wanted)} rows in {folder.path / 'summary.csv'}")
    if config.sustained_minutes is not None:
        _show_courses(arms, folder, progress)
    return all(row.status == "ok" for row in rows)


def _with_parts(arms: Sequence[Arm], rows: Sequence[SummaryRow]) -> list[Arm]:
    """The arms, each followed by its parts that have rows; see `savbench.results.systems`."""
    parts = list(dict.fromkeys(row.arm_id for row in rows if is_part(row.arm_id)))
    ids = [(arm, [arm.arm_id, *(part for part in parts if whole_id(part) == arm.arm_id)]) for arm in arms]
    return [dataclasses.replace(arm, arm_id=arm_id) for arm, of_arm in ids for arm_id in of_arm]


def _show_courses(arms: Sequence[Arm], folder: RunFolder, progress: Progress) -> None:
    """Print the course of FPS, power and temperature per arm, and its end state."""
    for arm in arms:
        course = folder.courses.get(arm.arm_id, [])
        if course:
            progress.say(f"\n{arm.label}\n{course_table(course, progress.width)}")
        progress.say(statement(arm.label, course))
    progress.say(f"every run in {folder.path / SUSTAINED}")
