"""A Ray cluster that is no more than generators in this process, and runs on it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tiny_split import TinySplit, rectangle

from savbench.plan.job import Job
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.supervise import run as runs
from savbench.supervise.child import ROOT
from savbench.supervise.progress import Progress
from savbench.supervise.ray_cluster import Cluster, Need, Task, run_job

Event = dict[str, Any]


def make_split(tmp_path: Path, videos: dict[str, int]) -> Path:
    """Clips named after what shall happen in them, with so many objects; the later ones are longer, and so run earlier."""
    split = TinySplit(tmp_path / "split")
    square = [rectangle(4, 2 + step, 8, 8) for step in range(3)]
    for index, (name, objects) in enumerate(videos.items()):
        split.write_video(name, 9 + index, {f"{number:03d}": square for number in range(objects)})
    (split.root / "val.txt").write_text("\n".join(videos) + "\n")
    return split.root


def config(split_dir: Path, out_dir: Path, **settings: object) -> RunConfig:
    defaults = {"models": ("scripted_mask",), "warmup_frames": 2, "out_dir": out_dir, "timeout_s": 60.0, "executor": "ray"}
    return RunConfig(**{"split_dir": split_dir, **defaults, **settings})  # type: ignore[arg-type]


def run(settings: RunConfig) -> tuple[int, dict[tuple[str, str, str], SummaryRow], str]:
    """Exit status, rows by (model, video, object), and what was said."""
    said = io.StringIO()
    status = runs.run(settings, ["jetson_benchmark.py"], Progress(said, said))
    assert settings.out_dir is not None
    rows = read_rows(SummaryRow, settings.out_dir / "summary.csv")
    assert len({row.key for row in rows}) == len(rows)
    return status, {(row.model, row.video, row.object): row for row in rows}, said.getvalue()


Lose = Callable[[Task, Event], str | None]
"""Status with which the task is lost after this event, or None."""


class FakeCluster(Cluster):
    """Runs tasks in this process, each in turn up to its next event. `lose` says which are lost, on nodes n0, n1, ... in turn."""

    def __init__(self, lose: Lose = lambda task, event: None, slots: int = 2) -> None:
        self._slots = slots
        self._lose = lose
        self._running: dict[Task, Iterator[Event]] = {}
        self.submitted: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self.most = 0

    def __enter__(self) -> FakeCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for events in self._running.values():
            events.close()  # type: ignore[attr-defined]

    @property
    def has_gpus(self) -> bool:
        return False

    def describe(self) -> str:
        return "a cluster"

    def require(self, need: Need) -> None:
        assert need == Need(1, 0)

    def slots(self, need: Need) -> int:
        return self._slots

    def submit(self, job: Job, need: Need, command: Sequence[str]) -> Task:
        self.submitted.append((job.arm.model, job.targets))
        task = Task(job, need)
        self._running[task] = run_job(job, command, ROOT)
        self.most = max(self.most, len(self._running))
        return task

    def events(self) -> Iterator[tuple[Task, Event]]:
        for task, events in list(self._running.items()):
            event = next(events)
            if event["event"] == "started":
                task.node = f"n{len(self.submitted)}"
            status = self._lose(task, event)
            if status is not None:
                events.close()  # type: ignore[attr-defined]
                event = {"event": "lost", "status": status, "error": "n was lost"}
            if event["event"] in ("ended", "lost"):
                del self._running[task]
            yield task, event


def lose_on(video: str, object_name: str, times: int = 1, status: str = "killed", after: str = "begun") -> Lose:
    left = [times]

    def lose(task: Task, event: Event) -> str | None:
        hit = event["event"] == after and task.job.targets[0][0] == video
        if after == "begun":
            hit = hit and event["targets"] == [[video, object_name]]
        if not hit or not left[0]:
            return None
        left[0] -= 1
        return status

    return lose


def unbegun(times: int) -> Lose:
    left = [times]

    def lose(task: Task, event: Event) -> str | None:
        if event["event"] != "started" or not left[0]:
            return None
        task.node = ""
        left[0] -= 1
        return "killed"

    return lose
