"""`jetson_benchmark.py attention`: arguments, one child process per model, the CSV, the tables. Loads no torch."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attention import CHOICES
from runners import PROMPT_KINDS, RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.arguments.parser import Parser
from savbench.arguments.values import SEED, Choice, Device, FilePath, ListOf, Real, Text, Whole
from savbench.attention_bench.rows import AccuracyRow, CallRow
from savbench.attention_bench.table import accuracy_tables, call_tables
from savbench.plan.arms import check_implementation
from savbench.plan.settings_models import AUTOCAST_DTYPES, IMPLEMENTATION, MAX_MASKMEM
from savbench.plan.upstream import checkout, checkout_of, edgetam_checkout, efficienttam_checkout, weights_folders
from savbench.results.grid import width_of
from savbench.supervise.child import start_child

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.attention_bench.child import AttentionJob

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
CHILD_COMMAND = (sys.executable, "-m", "savbench.attention_bench.child")
LOG_LINES = 15
"""Number of last lines shown of a failed child's output."""

LEARNED = tuple(name for name, spec in RUNNERS.items() if spec.is_learned)

DESCRIPTION = """\
Measure the cost of attention on this machine, by part of the model, and whether results are the same. Records the attention calls of one
tracked frame with full memory, and measures each distinct call and whole frames under each choice of attention and dtype. With --accuracy
it compares masks instead.
FLASH_ATTENTION_FIX.md explains the choices, savbench/attention_bench/README.md the columns.
"""

EPILOG = """\
examples:
  attention --autocast_dtype float32,bfloat16 --attention auto,manual
  attention --models sam2_tiny,sam2_base,edgetam --out attention.csv
  attention --models sam2_tiny --num_maskmem 1,2,3,4,5,6,7
  attention --models sam2_tiny --accuracy /data/sav_val \\
      --weights_dir checkpoints

exit status: 0 all measured, 1 something could not be measured, 2 bad arguments, 130 interrupted
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    folder, count = FilePath(absolute=True), Whole(1, 1_000_000)
    what = flags.add_argument_group("what to measure; lists are comma-separated and multiply")
    what.add_argument(
        "--models",
        type=ListOf(Choice(LEARNED)),
        default=("sam2_tiny", "edgetam"),
        help=f"{', '.join(LEARNED)} (default sam2_tiny,edgetam)",
    )
    what.add_argument(
        "--imgsz",
        type=ListOf(Whole(16, 8_192, unit="pixels")),
        default=(),
        help="side of the model's input in pixels (default: the model's own, 1024)",
    )
    what.add_argument(
        "--autocast_dtype", type=ListOf(Choice(AUTOCAST_DTYPES)),
        help=f"{', '.join(AUTOCAST_DTYPES)} (default bfloat16; with --accuracy float32,bfloat16)",
    )  # fmt: skip
    what.add_argument(
        "--attention",
        type=ListOf(Choice(CHOICES)),
        default=("auto", "manual"),
        help=f"{', '.join(CHOICES)} (default auto,manual)",
    )
    what.add_argument(
        "--num_maskmem",
        type=ListOf(Whole(1, MAX_MASKMEM)),
        default=(),
        help="memories that memory attention reads, 1 to 7 (default 7)",
    )
    what.add_argument("--device", type=Device(), default="auto", help="auto, cpu, cuda or cuda:N (default auto: cuda if it works)")
    what.add_argument(
        "--weights_dir", type=folder, help="folder with trained weights (default: random weights; calls and times do not depend on them)"
    )
    what.add_argument("--sam2_dir", type=folder, help="run SAM 2 from this checkout instead of the installed package")
    what.add_argument("--efficienttam_dir", type=folder, help="run EfficientTAM from this checkout (default: ./EfficientTAM)")
    what.add_argument("--edgetam_dir", type=folder, help="run EdgeTAM from this checkout (default: ./EdgeTAM; without one, transformers)")
    what.add_argument("--implementation", type=IMPLEMENTATION, default="auto", help="as of a run (default auto)")
    what.add_argument("--seed", type=SEED, default=0, help="seed of random weights (default 0)")
    effort = flags.add_argument_group("how long")
    effort.add_argument(
        "--min_time",
        type=Real(0, 3_600, unit="seconds"),
        default=0.5,
        metavar="S",
        help="seconds for which a call is repeated (default 0.5)",
    )
    effort.add_argument("--repeats", type=count, default=100, help="maximum number of repetitions of a call (default 100)")
    masks = flags.add_argument_group("accuracy")
    masks.add_argument(
        "--accuracy", type=folder, metavar="SPLIT_DIR", help="compare masks on clips of this SA-V split with those of float32 and auto"
    )
    masks.add_argument("--split_name", type=Text(), help="stem of the split's list (default: the only .txt file in the folder)")
    masks.add_argument("--limit_videos", type=count, default=1, help="number of videos to track, the first object of each (default 1)")
    masks.add_argument("--max_frames", type=Whole(2, 1_000_000), help="cut clips after N frames")
    prompt = Choice(PROMPT_KINDS)
    masks.add_argument("--prompt", type=prompt, default="mask", help="(default %(default)s)")
    output = flags.add_argument_group("output")
    output.add_argument("--out", type=FilePath(name="CSV"), help="file to write (default results/attention_<time>.csv)")
    output.add_argument("--explain", action="store_true", help="also say what the columns of the tables mean")
    output.add_argument("--top", type=count, default=8, help="number of calls to list per frame; the CSV has all (default 8)")


def main(args: argparse.Namespace) -> int:
    """Measure, write the CSV and print the tables. Returns the exit status.

    Raises:
        ConfigError, DatasetError: an argument or the split of --accuracy is unusable.
    """
    jobs = _jobs(args)
    schema = CallRow if args.accuracy is None else AccuracyRow
    with _CsvFile(schema, args.out) as csv_file:
        rows, interrupted = _measure(jobs, csv_file)
    how = {"explain": args.explain, "width": width_of(sys.stdout)}
    print(call_tables(rows, args.top, **how) if args.accuracy is None else accuracy_tables(rows, **how))
    print(f"\n{len(rows)} rows in {csv_file.path}")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if rows and all(row.status in ("ok", "unavailable") for row in rows) else EXIT_FAILED


def _measure(jobs: Sequence[AttentionJob], csv_file: _CsvFile) -> tuple[list[Any], bool]:
    """The rows of all jobs, and whether the user stopped them early."""
    rows: list[Any] = []
    try:
        for job in jobs:
            for row in _run(job, csv_file.schema):
                csv_file.append(row)
                rows.append(row)
    except KeyboardInterrupt:
        return rows, True
    return rows, False


def _run(job: AttentionJob, schema: type[Any]) -> Iterator[Any]:
    """Rows of one child process; a child that fails adds a row with its status."""
    from savbench.board.cgroup import OomKills
    from savbench.measure.failures import memory_hint, status_of_exit

    kills = OomKills()
    with tempfile.TemporaryFile() as log:
        child, events = _start(job, log)
        try:
            for line in events:
                event = json.loads(line)
                if event["event"] == "say":
                    print(event["text"], file=sys.stderr, flush=True)
                else:
                    yield schema(**event["row"])
            return_code = child.wait()
        finally:
            child.kill()
            child.wait()
            events.close()
            if child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()
        if return_code:
            status, error = status_of_exit(return_code, kills.risen())
            if status == "oom":
                error = f"{error}; {memory_hint()}"
            log.seek(0)
            tail = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
            print("\n".join([f"{job.model}: {error}", *tail]), file=sys.stderr)
            yield schema(model=job.model, status=status, error=error, benchmark_version=job.benchmark_version)


def _start(job: AttentionJob, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[str]]:
    child, reading = start_child(CHILD_COMMAND, log, own_group=False)
    with contextlib.suppress(BrokenPipeError):  # a child that died at once is reported by its exit status
        assert child.stdin is not None
        child.stdin.write(job.to_line().encode())
        child.stdin.flush()
    return child, os.fdopen(reading, encoding="utf-8")


@dataclass
class _CsvFile:
    """The CSV file of rows, opened before anything is measured; each row is written at once."""

    schema: type[Any]
    wanted: Path | None

    def __enter__(self) -> _CsvFile:
        from savbench.results.csv_rows import header_line

        name = f"attention_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}.csv"
        self.path = Path("results") / name if self.wanted is None else self.wanted
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x", encoding="utf-8")
        except OSError as error:
            if self.path.exists():
                raise ConfigError(f"--out {self.path}: exists already; give another name, or remove it") from error
            raise ConfigError(f"--out {self.path}: cannot be written ({error.strerror}); give another file") from error
        self._file.write(header_line(self.schema))
        return self

    def append(self, row: Any) -> None:
        from savbench.results.csv_rows import row_line

        self._file.write(row_line(row))
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _jobs(args: argparse.Namespace) -> list[AttentionJob]:
    """One job per model.

    Raises:
        ConfigError, DatasetError: an argument is invalid.
    """
    from savbench.attention_bench.accuracy import AccuracyJob
    from savbench.attention_bench.child import AttentionJob
    from savbench.data.dataset import open_split
    from savbench.plan.weights import find_weights
    from savbench.results.environment import benchmark_version

    dtypes = args.autocast_dtype or (("bfloat16",) if args.accuracy is None else ("float32", "bfloat16"))
    accuracy = None
    if args.accuracy is not None:
        split = open_split(args.accuracy, args.split_name)
        accuracy = AccuracyJob(str(args.accuracy), split.name, args.limit_videos, args.max_frames, args.prompt)
    checkouts = {
        "sam2": checkout("sam2_dir", args.sam2_dir),
        "edgetam": edgetam_checkout(args.edgetam_dir),
        "efficienttam": efficienttam_checkout(args.efficienttam_dir),
    }
    jobs = []
    for model in args.models:
        spec = RUNNERS[model]
        weights = None
        if args.weights_dir is not None and spec.checkpoint is not None:
            weights = find_weights(spec.checkpoint, model, weights_folders(args.weights_dir))
        check_implementation(model, args.implementation)
        source_dir = checkout_of(spec.family, args.implementation, checkouts)
        jobs.append(
            AttentionJob(
                model=model,
                imgsz=args.imgsz or (None,),
                num_maskmem=args.num_maskmem or (None,),
                autocast_dtypes=dtypes,
                attention=args.attention,
                device=args.device,
                repeats=args.repeats,
                min_time_s=args.min_time,
                seed=args.seed,
                benchmark_version=benchmark_version(),
                weights=None if weights is None else str(weights),
                source_dir=None if source_dir is None else str(source_dir),
                accuracy=accuracy,
                implementation=args.implementation,
            )
        )
    return jobs
