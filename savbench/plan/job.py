"""The job of one worker process.

The supervisor writes one job as a line of JSON to the worker's standard input and keeps that pipe open: the worker reads its end as the end
of the supervisor, and further lines as leave to go on where a job waits. `savbench.results.delivery` holds the worker's answer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from savbench.plan.arms import Arm
from savbench.plan.extent import Extent
from savbench.plan.settings import RunConfig


@dataclass(frozen=True)
class Job:
    """One arm's objects for one worker process."""

    config: RunConfig
    arm: Arm
    targets: tuple[tuple[str, str], ...]
    """(video, object) in the order to run them."""
    split_name: str
    run_id: str
    benchmark_version: str
    spool: Path
    """Folder where the worker writes masks for the finisher."""
    weights: Path | None = None
    source_dir: Path | None = None
    accepted_changes: str = ""
    """With --accept_changes: what changed since the run's earlier rows were measured. Empty: nothing."""
    companions: tuple[Arm, ...] = ()
    """With --share_prompts: arms that differ from `arm` in the prompt only and run in the same sessions."""
    repeats: bool = False
    """Repeat the targets that succeed until the supervisor ends the worker."""
    waits: bool = False
    """After each session wait for a line on standard input, which says that its rows are scored."""
    extent: Extent | None = None
    """With --memory_budget: the largest session over all targets of the arm; its forecast must fit the budget."""
    objects_in_arm: int = 1
    """All objects of the arm, finished ones included; --min_time and --min_frames are divided by this."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (self.arm, *self.companions)

    def to_line(self) -> str:
        data = {**asdict(self), "config": self.config.to_json()}
        for name in ("spool", "weights", "source_dir"):
            data[name] = None if data[name] is None else str(data[name])
        return json.dumps(data) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        data = json.loads(line)
        return cls(
            config=RunConfig.from_json(data["config"]),
            arm=Arm(**data["arm"]),
            targets=tuple((video, name) for video, name in data["targets"]),
            split_name=data["split_name"],
            run_id=data["run_id"],
            benchmark_version=data["benchmark_version"],
            spool=Path(data["spool"]),
            weights=None if data["weights"] is None else Path(data["weights"]),
            source_dir=None if data["source_dir"] is None else Path(data["source_dir"]),
            accepted_changes=data["accepted_changes"],
            companions=tuple(Arm(**arm) for arm in data["companions"]),
            repeats=data["repeats"],
            waits=data["waits"],
            extent=None if data["extent"] is None else Extent(**data["extent"]),
            objects_in_arm=data["objects_in_arm"],
        )
