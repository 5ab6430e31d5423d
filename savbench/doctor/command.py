"""The command line of the doctor, and the format of its report."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from savbench.arguments.parser import Parser
from savbench.arguments.values import FilePath
from savbench.doctor.check import Subject
from savbench.doctor.gpu import check_torch
from savbench.doctor.machine import check_machine
from savbench.doctor.models import check_models, edgetam_extension
from savbench.doctor.packages import check_dataset, check_packages
from savbench.doctor.probe import Probe
from savbench.doctor.reference import check_reference
from savbench.doctor.runtimes import check_runtimes
from savbench.plan.upstream import usual_edgetam, usual_efficienttam, weights_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from savbench.doctor.check import Check

EXIT_INTERRUPTED = 130
SCHEMA_VERSION = 1
TORCH_TIMEOUT_S = 180.0
"""Limit for importing torch, torchvision and SAM 2 and starting CUDA, which takes a minute on a cold board with a memory card."""
PACKAGES_TIMEOUT_S = 120.0
"""Limit for importing packages and listing the folders of a whole split."""

NEXT_STEP = "next, `jetson_benchmark.py selfcheck` proves what this machine measures"
COLOURS = {"ok": "32", "warning": "33", "failure": "31"}


def add_flags(parser: Parser) -> None:
    """Declare the flags of the subcommand."""
    parser.description = "Check what a run needs, and name the command that fixes each problem. Exit status 1 for failures, 0 for warnings."
    folder = FilePath(absolute=True)
    parser.add_argument("--split_dir", type=folder, help="also check this SA-V split and count its videos, objects and frames")
    parser.add_argument("--weights_dir", type=folder, help="folder with the weights files (default: checkpoints, EdgeTAM/checkpoints)")
    parser.add_argument("--edgetam_dir", type=folder, help="EdgeTAM checkout (default: ./EdgeTAM if it exists)")
    parser.add_argument("--efficienttam_dir", type=folder, help="EfficientTAM checkout (default: ./EfficientTAM if it exists)")
    parser.add_argument("--sam2_dir", type=folder, help="SAM 2 checkout (default: the installed package)")
    parser.add_argument("--json", action="store_true", help="write one JSON object instead of lines")


def main(args: argparse.Namespace) -> int:
    """Check the machine and report. Returns 0, 1 if something that a run needs is broken, 130 if interrupted."""
    checks = examine(_subject(args), Path("results"))
    try:
        found = list(checks) if args.json else show(checks, sys.stdout)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if args.json:
        print(json.dumps(report(found), indent=2))
    return 1 if any(check.state == "failure" for check in found) else 0


def _subject(args: argparse.Namespace) -> Subject:
    return Subject(
        split_dir=args.split_dir,
        weights_dirs=weights_folders(args.weights_dir),
        edgetam_dir=args.edgetam_dir or usual_edgetam(),
        efficienttam_dir=args.efficienttam_dir or usual_efficienttam(),
        sam2_dir=args.sam2_dir,
    )


def examine(subject: Subject, out_dir: Path, *, torch_timeout_s: float = TORCH_TIMEOUT_S) -> Iterator[Check]:
    """Run every check; yields each result as soon as it is known.

    Args:
        out_dir: folder that results would be written to.
        torch_timeout_s: the torch probe is killed after this time, and its current step reported as hanging.
    """
    sam2 = [] if subject.sam2_dir is None else ["--sam2_dir", str(subject.sam2_dir)]
    split = [] if subject.split_dir is None else ["--split_dir", str(subject.split_dir)]
    extension = edgetam_extension(subject)
    edgetam = [] if extension is None else ["--edgetam_extension", str(extension)]
    with (
        Probe("savbench.doctor.package_probe", [*sam2, *split], PACKAGES_TIMEOUT_S) as package_probe,
        Probe("savbench.doctor.torch_probe", [*sam2, *edgetam], torch_timeout_s) as torch_probe,
    ):
        yield from check_machine(subject, out_dir)
        packages = package_probe.answers()
        yield from check_packages(packages, subject)
        torch = torch_probe.answers()
        yield from check_torch(torch, subject)
        yield from check_models(packages, torch, subject)
        yield check_runtimes(packages, subject)
        yield from check_dataset(packages, subject)
        yield from check_reference(torch, subject)


def report(checks: Sequence[Check]) -> dict[str, Any]:
    """The report as JSON types."""
    counts = {state: sum(check.state == state for check in checks) for state in COLOURS}
    return {"schema": SCHEMA_VERSION, "ready": counts["failure"] == 0, "counts": counts, "checks": [check.to_json() for check in checks]}


def show(checks: Iterable[Check], stream: TextIO) -> list[Check]:
    """Write each check as it arrives, and a closing line. Returns all checks."""
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((100, 40)).columns
    found = []
    for check in checks:
        found.append(check)
        print("\n".join(lines(check, width, colour=colour)), file=stream, flush=True)
    counts = report(found)["counts"]
    state = next(state for state in ("failure", "warning", "ok") if counts[state] or state == "ok")
    words = {
        "failure": f"{_count(counts['failure'], 'failure')}, {_count(counts['warning'], 'warning')}: a run cannot work as it is",
        "warning": f"{_count(counts['warning'], 'warning')}, no failure: runs will work\n{NEXT_STEP}",
        "ok": f"all well\n{NEXT_STEP}",
    }
    print(_paint(words[state], state, colour=colour), file=stream)
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def lines(check: Check, width: int, *, colour: bool) -> list[str]:
    """A check as lines of text: state, name and detail, then the remedy on one unbroken line, for copying."""
    margin = " " * 21
    text = textwrap.wrap(
        f"{check.state:<8} {check.name:<11} {check.detail}", max(width, 50), subsequent_indent=margin, break_on_hyphens=False
    )
    text[0] = _paint(f"{check.state:<8}", check.state, colour=colour) + text[0][8:]
    return [*text, f"{margin}> {check.remedy}"] if check.remedy else text


def _paint(text: str, state: str, *, colour: bool) -> str:
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m" if colour else text
