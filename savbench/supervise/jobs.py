"""Turns the arms of a run into jobs, which an executor hands to worker processes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from runners import RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.upstream import checkout_of, weights_folders
from savbench.plan.weights import find_weights
from savbench.results.systems import split_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from savbench.plan.arms import Arm
    from savbench.plan.settings import RunConfig
    from savbench.supervise.outcome import WorkerOutcome


class Executor(Protocol):
    """Runs jobs in worker processes and passes every event of a worker to the run's ledger."""

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs until every object has a row.

        Args:
            jobs: in running order and without targets; one per arm, or one per group of arms that share sessions.

        Raises:
            StopRequestedError: the user stopped the run.
        """


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """An arm with its weights and its upstream checkout."""

    arm: Arm
    weights: Path | None
    source_dir: Path | None


def plan(config: RunConfig, split_name: str) -> list[PlannedArm]:
    """Find every arm's weights and checkout before anything is loaded.

    Raises:
        ConfigError: an arm cannot run, or its weights or its code are missing.
    """
    return [_with_files(config, arm) for arm in plan_arms(config, split_name)]


def with_reference_first(planned: Sequence[PlannedArm], beginning: str) -> list[PlannedArm]:
    """The arms in running order, that of --agreement first.

    Args:
        beginning: of its id.

    Raises:
        ConfigError: no arm's id begins so, or several do.
    """
    found = [one for one in planned if one.arm.arm_id.startswith(beginning)]
    ids = ", ".join(one.arm.arm_id for one in found or planned)
    if len(found) != 1:
        raise ConfigError(f"--agreement {beginning}: {'several arms begin' if found else 'no arm begins'} so; give more of one of {ids}")
    return [*found, *(one for one in planned if one is not found[0])]


def _with_files(config: RunConfig, arm: Arm) -> PlannedArm:
    spec = RUNNERS[arm.model]
    weights = None
    if spec.checkpoint is not None and not config.random_weights:
        weights = find_weights(spec.checkpoint, arm.model, weights_folders(config.weights_dir))
    checkouts = {"sam2": config.sam2_dir, "edgetam": config.edgetam_dir, "efficienttam": config.efficienttam_dir}
    return PlannedArm(arm, weights, checkout_of(spec.family, config.implementation, checkouts))


def make_jobs(
    planned: Sequence[PlannedArm], config: RunConfig, *, split_name: str, run_id: str, benchmark_version: str, spool: Path, objects: int
) -> list[Job]:
    """One job per arm, in order. With --share_prompts, arms that differ only in their prompt form one job, in place of the first of them.

    Args:
        spool: folder that holds masks until the finisher reads them.
        objects: number of objects per arm.
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
    """The job under new arm ids, for rows measured on another system than the arm's earlier rows."""
    arm, *companions = (dataclasses.replace(arm, arm_id=split_id(arm.arm_id, outcome.system)) for arm in job.arms)
    return dataclasses.replace(job, arm=arm, companions=tuple(companions), accepted_changes="; ".join(outcome.changes))


def _sharing(planned: Sequence[PlannedArm]) -> list[list[PlannedArm]]:
    together: dict[Arm, list[PlannedArm]] = {}
    for one in planned:
        together.setdefault(dataclasses.replace(one.arm, prompt="", arm_id=""), []).append(one)
    return list(together.values())
