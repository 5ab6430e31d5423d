"""From the arms of a run to jobs, which an executor gives to worker processes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from runners import RUNNERS
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.upstream import weights_folders
from savbench.plan.weights import find_weights
from savbench.results.systems import split_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from savbench.plan.arms import Arm
    from savbench.plan.settings import RunConfig
    from savbench.supervise.outcome import WorkerOutcome


class Executor(Protocol):
    """Runs jobs in worker processes, and hands everything that these say to the run's ledger."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs until every object has its row.

        Args:
            jobs: one for each arm, or for arms that share their sessions, in their order and without targets.

        Raises:
            StopRequestedError: the user ended the run.
        """


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """An arm and the files it runs from."""

    arm: Arm
    weights: Path | None
    source_dir: Path | None


def plan(config: RunConfig, split_name: str) -> list[PlannedArm]:
    """Find the files that every arm runs from, before anything is loaded.

    Raises:
        ConfigError: an arm cannot be run, or its weights are missing.
    """
    return [_with_files(config, arm) for arm in plan_arms(config, split_name)]


def _with_files(config: RunConfig, arm: Arm) -> PlannedArm:
    spec = RUNNERS[arm.model]
    weights = None
    if spec.checkpoint is not None and not config.random_weights:
        weights = find_weights(spec.checkpoint, arm.model, weights_folders(config.weights_dir))
    return PlannedArm(arm, weights, {"sam2": config.sam2_dir, "edgetam": config.edgetam_dir}.get(spec.family))


def make_jobs(
    planned: Sequence[PlannedArm], config: RunConfig, *, split_name: str, run_id: str, benchmark_version: str, spool: Path, objects: int
) -> list[Job]:
    """A job for each arm, or with --share_prompts for all arms that differ in nothing but their prompt; in the order of their first.

    Args:
        spool: folder for masks on their way to the finisher.
        objects: that each arm has in all.
    """
    together = _sharing(planned) if config.share_prompts else [[one] for one in planned]
    return [
        Job(
            config=config,
            arm=first.arm,
            targets=(),
            split_name=split_name,
            run_id=run_id,
            benchmark_version=benchmark_version,
            spool=spool,
            weights=first.weights,
            source_dir=first.source_dir,
            companions=tuple(other.arm for other in others),
            objects_in_arm=objects,
        )
        for first, *others in together
    ]


def part_of(job: Job, outcome: WorkerOutcome) -> Job:
    """The job under ids of its own, for what is measured on a system that is not the earlier rows'."""
    arm, *companions = (dataclasses.replace(arm, arm_id=split_id(arm.arm_id, outcome.system)) for arm in job.arms)
    return dataclasses.replace(job, arm=arm, companions=tuple(companions), accepted_changes="; ".join(outcome.changes))


def _sharing(planned: Sequence[PlannedArm]) -> list[list[PlannedArm]]:
    together: dict[Arm, list[PlannedArm]] = {}
    for one in planned:
        together.setdefault(dataclasses.replace(one.arm, prompt="", arm_id=""), []).append(one)
    return list(together.values())
