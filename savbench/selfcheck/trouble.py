"""What goes wrong is told: float16, numbers that are not finite, and memory that runs out on purpose in a run of its own."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import torch

from runners.base import RunnerError
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import SUMMARY
from savbench.selfcheck.hog import HOG
from savbench.selfcheck.laboratory import MODEL
from savbench.selfcheck.outcome import judged, not_applicable
from savbench.selfcheck.recorded import write_split
from savbench.supervise import worker_process
from savbench.supervise.progress import Progress
from savbench.supervise.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.outcome import Outcome
    from savbench.selfcheck.recorded import Recorded

FRAMES = 6
NEXT = "next"
"""The video that is run after the one on which memory runs out."""


def check_trouble(laboratory: Laboratory, folder: Path, quick: bool) -> Iterator[Outcome]:
    """The checks of this module. They leave the model unfit for others."""
    yield check_oom(laboratory.recorded, folder, laboratory.runner.applied.device)
    check = "trouble: float16"
    try:
        session = laboratory.track(dtype="float16", frames=FRAMES).measured.session
    except RunnerError as error:
        yield not_applicable(check, str(error))
    else:
        said = session.error or "all outputs are finite"
        yield judged(
            check, bool(session.error) == bool(session.nonfinite_frames), said, nonfinite_frames=session.nonfinite_frames,
            meaning="rows under float16 have figures of masks that mean nothing", remedy="leave out --autocast_dtype float16",
        )  # fmt: skip
    plant_nan(laboratory)
    session = laboratory.track(frames=FRAMES).measured.session
    yield judge_nonfinite(session.nonfinite_frames, session.error)


def plant_nan(laboratory: Laboratory) -> None:
    """Put a NaN into the model's first weights."""
    model = next(value for value in vars(laboratory.runner).values() if isinstance(value, torch.nn.Module))
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def judge_nonfinite(frames: int, error: str) -> Outcome:
    return judged(
        "trouble: a planted NaN is noticed",
        frames > 0 and bool(error),
        f"{frames} of {FRAMES} frames, the row's error is {error!r}",
        meaning="a model that computes nonsense would have rows with status ok",
        remedy="trust no score of this device; report it with the version of torch",
        nonfinite_frames=frames,
    )


def check_oom(recorded: Recorded, folder: Path, device: str) -> Outcome:
    """Run two objects by a run of the benchmark; on the first one a worker asks for more memory than there is."""
    root, out_dir = folder / "oom_split", folder / "oom_run"
    split = write_split(recorded, root, {HOG: 1, NEXT: 1})
    config = RunConfig(
        split_dir=root,
        out_dir=out_dir,
        models=(f"{MODEL}_mask",),
        autocast_dtypes=("float32",),
        device=device,
        power="none",
        limit_objects=1,
        max_frames=FRAMES,
        warmup_frames=0,
        min_frames=0,
        min_time_s=0.0,
    )
    before = worker_process.WORKER_COMMAND
    # in this process alone, which is a child of the self-check's
    worker_process.WORKER_COMMAND = [sys.executable, "-m", "savbench.selfcheck.hog"]
    said = io.StringIO()
    try:
        run(config, ["selfcheck"], Progress(said, said))
    finally:
        worker_process.WORKER_COMMAND = before
    rows = read_rows(SummaryRow, out_dir / SUMMARY)
    return judge_oom({row.video: row.status for row in rows}, {row.video: row.error for row in rows}, split.videos)


def judge_oom(status_of: Mapping[str, str], error_of: Mapping[str, str], videos: list[str]) -> Outcome:
    """
    Args:
        status_of: status of the rows of both videos, by name.
        error_of: what the rows say.
        videos: both, the one on which memory runs out first.
    """
    first, second = videos
    return judged(
        "trouble: memory runs out and the run goes on",
        status_of.get(first) == "oom" and status_of.get(second) == "ok",
        f"the object that ran out: {status_of.get(first, 'no row')}, the next one: {status_of.get(second, 'no row')}",
        meaning="where memory runs out, rows say `error` or are missing, or an arm ends with the first object that is too large",
        remedy="report it with the JSON of this check; until then run large models alone",
        status=dict(status_of),
        error=dict(error_of),
    )
