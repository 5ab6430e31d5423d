"""`jetson_benchmark.py selfcheck`: arguments, one child process per group of checks, the lines, the JSON. Loads no torch."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from savbench.arguments.errors import UserError
from savbench.arguments.output import require_writable, write_text
from savbench.arguments.parser import Parser
from savbench.arguments.values import Device, FilePath
from savbench.selfcheck.children import events_of
from savbench.selfcheck.outcome import Outcome, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
SCHEMA_VERSION = 1
CHILD_COMMAND = (sys.executable, "-m", "savbench.selfcheck.child")
GROUPS = (
    "masks",
    "attention",
    "clocks",
    "memory",
    "memory on the CPU",
    "components",
    "compiling encoder",
    "compiling full",
    "trouble",
    "telemetry",
)
LEFT_OUT_BY_QUICK = ("compiling encoder", "compiling full")
TIMEOUT_S = 300.0
"""Without a word from a child for so long it hangs; compiling the whole model is the longest check."""
COLOURS = {"ok": "32", "failed": "31", "not applicable": "2"}

DESCRIPTION = """\
Prove that figures measured on this machine mean what they say: masks, attention kernels, clocks, memory, compiling, errors, telemetry.
Measures sam2_nano on a clip, which both come with the benchmark. Runs then say whether a self-check passed with their device and torch.
What is installed is the doctor's business.
"""
EPILOG = """\
exit status: 0 nothing failed, 1 a check failed, 2 bad arguments, 130 interrupted
"""


@dataclass
class Report:
    """What is known so far."""

    device: str = ""
    device_name: str = ""
    torch: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        return [one.check for one in self.outcomes if one.status == "failed"]


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("--device", type=Device(), default="auto", help="auto, cpu, cuda or cuda:N (default auto: cuda where it works)")
    flags.add_argument("--quick", action="store_true", help="under a minute: fewer frames and rounds, nothing is compiled")
    flags.add_argument("--json", type=FilePath(name="FILE"), help="also write every figure to this file")


def main(args: argparse.Namespace) -> int:
    """Check, report, remember. Returns the exit status.

    Raises:
        ConfigError: the file of --json cannot be written.
        DeviceRefusedError: there is no such device.
    """
    if args.json is not None:
        require_writable("--json", args.json)
    report = Report()
    begun = time.monotonic()
    try:
        for outcome in examine(report, args.device, quick=args.quick):
            show(outcome, sys.stdout)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if args.json is not None:
        found = to_json(report, quick=args.quick, seconds=time.monotonic() - begun)
        write_text(args.json, json.dumps(found, indent=2) + "\n")
    _conclude(report, quick=args.quick)
    return EXIT_FAILED if report.failed else EXIT_OK


class DeviceRefusedError(UserError):
    """There is no such device; the message says what to do."""


def examine(
    report: Report,
    device: str,
    *,
    quick: bool,
    groups: Sequence[str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Outcome]:
    """Run every group in a process of its own; outcomes come as they are known, and are put into the report.

    Args:
        device: as on the command line.
        groups: all of them unless given.
        timeout_s: a child that says nothing for so long is ended, and its group reported as hanging.

    Raises:
        DeviceRefusedError: the first child says that there is no such device.
    """
    for group in GROUPS if groups is None else groups:
        if quick and group in LEFT_OUT_BY_QUICK:
            report.outcomes.append(not_applicable(group, "left out by --quick"))
            yield report.outcomes[-1]
            continue
        # --help has no time for this
        from savbench.selfcheck.child import Order

        for event in events_of(Order(group, device, quick), group, CHILD_COMMAND, timeout_s):
            if "refused" in event:
                raise DeviceRefusedError(event["refused"])
            if "outcome" in event:
                outcome = Outcome(**event["outcome"])
                report.outcomes.append(outcome)
                yield outcome
            else:
                report.device, report.device_name, report.torch = event["device"], event["device_name"], event["torch"]


def show(outcome: Outcome, stream: TextIO) -> None:
    """A line for people as it comes, and below a failure what it means and what to do."""
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    margin = " " * 16
    width = max(60, shutil.get_terminal_size((120, 40)).columns)
    status = f"{outcome.status:<16}"
    lines = textwrap.wrap(f"{status}{outcome.check}: {outcome.said}", width, subsequent_indent=margin, break_on_hyphens=False)
    if colour:
        lines[0] = f"\x1b[{COLOURS[outcome.status]}m{status}\x1b[0m" + lines[0][len(status) :]
    for label, text in (("means", outcome.meaning), ("do", outcome.remedy)):
        if text:
            lines += textwrap.wrap(f"{label}: {text}", width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
    print("\n".join(lines), file=stream, flush=True)


def to_json(report: Report, *, quick: bool, seconds: float) -> dict[str, Any]:
    """The report for programs."""
    counts = {status: sum(one.status == status for one in report.outcomes) for status in COLOURS}
    about = {"device": report.device, "device_name": report.device_name, "torch": report.torch}
    outcomes = [one.to_json() for one in report.outcomes]
    return {"schema": SCHEMA_VERSION, **about, "quick": quick, "seconds": seconds, "counts": counts, "checks": outcomes}


def _conclude(report: Report, *, quick: bool) -> None:
    """Say how it ended, and remember it."""
    from savbench.results.environment import benchmark_version, cpu_name
    from savbench.results.selfcheck import SelfCheck, remember

    counted = ", ".join(f"{count} {status}" for status, count in to_json(report, quick=quick, seconds=0)["counts"].items())
    print(f"{counted} on {report.device_name}, torch {report.torch}")
    if not report.torch:
        return
    found = SelfCheck(
        passed=not report.failed,
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        machine=cpu_name(),
        device_name=report.device_name,
        torch=report.torch,
        benchmark=benchmark_version(),
        quick=quick,
        failed=tuple(report.failed),
    )
    try:
        remember(found)
    except OSError as error:
        print(f"runs will not know of this: {error.filename} cannot be written ({error.strerror})", file=sys.stderr)
