"""The whole run: settings to arms and targets, workers to rows, rows to the closing table."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from runners import RUNNERS
from savbench.board.power.base import PowerError
from savbench.board.watch import BoardWatch
from savbench.data.dataset import open_split
from savbench.finish.overlay import require_encoder
from savbench.plan.arms import Arm, plan_arms
from savbench.plan.config import RunConfig
from savbench.plan.shards import take_shard
from savbench.plan.weights import find_weights
from savbench.results.run_folder import RunFolder, choose_out_dir
from savbench.results.sustained import SUSTAINED, course_table, statement
from savbench.results.table import closing_table, told_of_sharing, unfit_to_compare
from savbench.supervise.finisher_process import FinisherProcess
from savbench.supervise.local_supervisor import LocalSupervisor
from savbench.supervise.progress import Progress
from savbench.supervise.ray_executor import Cluster
from savbench.supervise.ray_supervisor import RaySupervisor
from savbench.supervise.supervisor import PlannedArm

EXIT_OK, EXIT_FAILED_ROWS, EXIT_INTERRUPTED = 0, 1, 130


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
        about_run = (config, folder, split.name, targets, progress, argv, board, finisher)
        supervisor = LocalSupervisor(*about_run) if cluster is None else RaySupervisor(*about_run, cluster=cluster)
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
