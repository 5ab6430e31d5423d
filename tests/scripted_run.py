"""Runs of the scripted worker: a split, settings, and the supervisor in a process of its own.

`python scripted_run.py SPLIT_DIR OUT_DIR` is that process; the script that SCRIPTED_FINISHER names is its scorer.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import scripted_worker
from tiny_split import TinySplit, rectangle

from runners import RUNNERS
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.supervise import finisher_process, worker_process
from savbench.supervise.progress import Progress
from savbench.supervise.run import run

WORKER_COMMAND = [sys.executable, scripted_worker.__file__]


def make_split(tmp_path: Path, videos: Sequence[str] | Mapping[str, int]) -> Path:
    """Clips with one object each, named after what shall happen in them.

    Args:
        videos: names, with the number of frames of each where it is not 9.
    """
    split = TinySplit(tmp_path / "split")
    for name in videos:
        frames = videos[name] if isinstance(videos, Mapping) else 9
        split.write_video(name, frames, {"000": [rectangle(4, 2 + step, 8, 8) for step in range(3)]})
    (split.root / "val.txt").write_text("\n".join(videos) + "\n")
    return split.root


def config(split_dir: Path, out_dir: Path, **settings: object) -> RunConfig:
    defaults = {"models": ("scripted_mask",), "warmup_frames": 2, "out_dir": out_dir, "timeout_s": 60.0}
    return RunConfig(**{"split_dir": split_dir, **defaults, **settings})  # type: ignore[arg-type]


def run_rows(split_dir: Path, out_dir: Path, **settings: object) -> tuple[int, list[SummaryRow]]:
    """Run in this process. Returns the exit status and the rows."""
    said = io.StringIO()
    status = run(config(split_dir, out_dir, **settings), [], Progress(said, said))
    return status, read_rows(SummaryRow, out_dir / "summary.csv")


def command(split_dir: Path, out_dir: Path) -> list[str]:
    """The command of the process."""
    return [sys.executable, __file__, str(split_dir), str(out_dir)]


if __name__ == "__main__":
    RUNNERS["scripted"] = scripted_worker.SPEC
    worker_process.WORKER_COMMAND = WORKER_COMMAND
    if scorer := os.environ.get("SCRIPTED_FINISHER"):
        finisher_process.FINISHER_COMMAND = (sys.executable, scorer)
    sys.exit(run(config(Path(sys.argv[1]), Path(sys.argv[2])), [], Progress()))
