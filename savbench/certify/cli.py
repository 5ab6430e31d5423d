"""`jetson_benchmark.py certify`: arguments, one child process per arm, the table. Loads no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.arguments.declared import ConfigError
from savbench.arguments.declared import add_flags as add_settings
from savbench.arguments.output import require_writable, write_text
from savbench.arguments.values import FilePath
from savbench.compare.noninferiority import MARGIN
from savbench.plan.command_line import config_of
from savbench.plan.settings import RunConfig

if TYPE_CHECKING:
    import argparse

    from savbench.arguments.parser import Parser
    from savbench.certify.findings import ObjectFindings
    from savbench.certify.verdict import Verdict
    from savbench.data.dataset import Split
    from savbench.plan.job import Job
    from savbench.supervise.jobs import PlannedArm

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
CHILD_COMMAND = (sys.executable, "-m", "savbench.certify.child")
TIMEOUT_S = 900.0
"""Without a frame for so long the model hangs; exporting graphs and compiling take minutes."""
SETTINGS = (
    "split_dir", "models", "imgsz", "autocast_dtypes", "attention", "num_maskmem", "postprocessing", "compile", "compile_mode",
    "runtime", "exported_dir", "device", "weights_dir", "random_weights", "sam2_dir", "edgetam_dir", "efficienttam_dir", "num_points",
    "split_name", "layout", "protocol", "prompts", "click", "limit_videos", "limit_objects", "max_frames", "frame_stride",
    "shuffle_videos", "seed",
)  # fmt: skip
"""Settings of a run that arms and clips depend on here; times are not measured."""

DESCRIPTION = """\
Prove that an arm computes what torch computes in float32: both run side by side on clips of a split. Each stage of the arm (image encoder,
memory attention, mask decoder, memory encoder) gets the reference's inputs, and its relative error must stay within a bound of its dtype;
then both track by themselves, which shows whether errors grow through the memory and what J&F they cost. docs/certify.md explains the
figures. For sam2_*, and for edgetam and efficienttam_* from their official checkouts.
"""
EPILOG = """\
examples:
  certify --split_dir /data/sav_val --limit_videos 10 \\
      --models sam2_base_mask --autocast_dtype bfloat16,float16
  certify --split_dir /data/sav_val --models sam2_base_mask \\
      --autocast_dtype float32 --runtime onnx --noninferior 99%

exit status: 0 every arm is certified, 1 one is not, 2 bad arguments, 130 interrupted
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.usage = f"{flags.prog} --split_dir DIR [--models LIST] [FLAGS]"
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.set_defaults(config=None)
    add_settings(flags, RunConfig, show_all=True, only=SETTINGS)
    flags.add_argument(
        "--noninferior", type=MARGIN,
        help="also ask that every arm keeps at least 1 - MARGIN of the reference's J&F, as compare does: 0.01 or 99%%",
    )  # fmt: skip
    flags.add_argument("--json", type=FilePath(name="FILE"), help="write the error of every stage on every frame to this file")


def main(args: argparse.Namespace) -> int:
    """Certify, print, and return the exit status.

    Raises:
        UserError: an argument or the split is unusable, or an arm cannot be built or has no stages to compare.
    """
    # --help has no time for this
    from savbench.certify.verdict import Verdict
    from savbench.plan.split import split_of
    from savbench.plan.upstream import with_default_models
    from savbench.results.grid import width_of
    from savbench.supervise.jobs import plan

    config = config_of(args)
    if args.json is not None:
        require_writable("--json", args.json)
    if not config.models:
        config, which = with_default_models(config)
        print(which, flush=True)
    split = split_of(config)
    verdicts: list[Verdict] = []
    try:
        for planned in plan(config, split.name):
            found, failed = _compared(planned, config, split)
            verdicts.append(Verdict(planned.arm, tuple(found), tuple(failed), args.noninferior))
            print(f"{chr(10) if len(verdicts) > 1 else ''}{verdicts[-1].text(width_of(sys.stdout))}", flush=True)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        if args.json is not None:
            about = {"arms": [verdict.to_json() for verdict in verdicts]}
            write_text(args.json, json.dumps(about, indent=1, allow_nan=False) + "\n")
    return EXIT_FAILED if any(verdict.problems for verdict in verdicts) else EXIT_OK


def _compared(planned: PlannedArm, config: RunConfig, split: Split) -> tuple[list[ObjectFindings], list[str]]:
    """Run an arm and its reference in a child process. Returns what was found, and why objects could not be compared.

    Raises:
        ConfigError: the arm or its reference cannot be built.
    """
    from savbench.certify.findings import ObjectFindings
    from savbench.selfcheck.children import events_of

    targets = split.select(
        limit_videos=config.limit_videos, limit_objects=config.limit_objects, shuffle=config.shuffle_videos, seed=config.seed
    )
    failed = [f"{target.video}/{target.object}: {target.defect}" for target in targets if target.defect is not None]
    job = _job(planned, config, split, [(target.video, target.object) for target in targets if target.defect is None])
    found: list[ObjectFindings] = []
    progress = _Progress(len(job.targets))
    for event in events_of(job, planned.arm.label, CHILD_COMMAND, TIMEOUT_S):
        if "refused" in event:
            raise ConfigError(event["refused"])
        if "done" in event:
            progress.show(len(found), event["done"], event["of"])
            continue
        progress.clear()
        if "found" in event:
            found.append(ObjectFindings.from_json(event["found"]))
        elif "skipped" in event:
            print(f"skipped: {event['skipped']}", file=sys.stderr)
        else:
            failed.append(event["failed"] if "failed" in event else event["outcome"]["said"])
    return found, failed


def _job(planned: PlannedArm, config: RunConfig, split: Split, targets: list[tuple[str, str]]) -> Job:
    from savbench.plan.job import Job

    return Job(
        config=config,
        arm=planned.arm,
        targets=tuple(targets),
        split_name=split.name,
        run_id="",
        benchmark_version="",
        spool=Path(),
        weights=planned.weights,
        source_dir=planned.source_dir,
    )


class _Progress:
    """One line on a terminal, rewritten after every frame."""

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._is_shown = sys.stderr.isatty()

    def show(self, objects: int, done: int, of: int) -> None:
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[Kobject {objects + 1} of {self._objects}, frame {done} of {of}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
