"""The process that runs one group of checks; started by `savbench.selfcheck.cli`.

The parent writes what to do as one line of JSON to standard input and keeps that pipe open; outcomes come back as lines of JSON on a pipe
of their own, before them one that says what the device is.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from savbench.measure.parent import leave_with_parent
from savbench.selfcheck.outcome import broken
from savbench.selfcheck.recorded import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.selfcheck.outcome import Outcome


@dataclass(frozen=True)
class Order:
    """What one process is to check."""

    group: str
    device: str
    quick: bool = False

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Order:
        return cls(**json.loads(line))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what comes on standard input; outcomes go to the file descriptor `--events`."""
    parser = argparse.ArgumentParser(description="Runs one group of checks; started by `jetson_benchmark.py selfcheck`.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    faulthandler.enable()
    with os.fdopen(args.events, "w", encoding="utf-8") as events:
        order = Order.from_line(sys.stdin.readline())
        leave_with_parent()
        try:
            with tempfile.TemporaryDirectory(prefix="selfcheck-") as folder:
                for outcome in outcomes(order, Path(folder), events):
                    _send(events, outcome=outcome.to_json())
        # whatever it is belongs into the report: a group that cannot be run is a finding
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            _send(events, outcome=broken(f"{order.group}: could not be checked", error).to_json())
    return 0


def outcomes(order: Order, folder: Path, events: IO[str]) -> Iterator[Outcome]:
    """Run the checks of a group."""
    # Each group loads torch; the parent imports this module for its names.
    import torch

    from runners.base import RunnerError
    from runners.torch_common import resolve_device
    from savbench.measure.devices import TorchDevice

    try:
        device = resolve_device(order.device)
    except RunnerError as error:
        _send(events, refused=str(error))
        return
    about = TorchDevice(torch, str(device))
    _send(events, device=str(device), device_name=about.name, torch=about.torch_version)
    if order.group.startswith("compiling"):
        from savbench.selfcheck.compiling import check_compiling

        yield from check_compiling(order.device, folder, load(), order.group.partition(" ")[2])
        return
    if order.group == "telemetry":
        from savbench.selfcheck.telemetry import check_telemetry

        yield from check_telemetry(device, order.quick)
        return
    if order.group == "memory on the CPU":
        from savbench.selfcheck.memory import check_cpu_arm

        yield check_cpu_arm(folder, load())
        return
    from savbench.selfcheck.attention import check_attention_choices
    from savbench.selfcheck.clocks import check_clocks
    from savbench.selfcheck.components import check_components
    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.masks import check_masks
    from savbench.selfcheck.memory import check_memory
    from savbench.selfcheck.trouble import check_trouble

    laboratory = Laboratory(order.device, folder, load())
    if order.group == "trouble":
        yield from check_trouble(laboratory, folder, order.quick)
        return
    checks = {
        "masks": check_masks,
        "attention": check_attention_choices,
        "clocks": check_clocks,
        "memory": check_memory,
        "components": check_components,
    }
    yield from checks[order.group](laboratory, order.quick)


def _send(events: IO[str], **data: object) -> None:
    events.write(json.dumps(data) + "\n")
    events.flush()


if __name__ == "__main__":
    sys.exit(main())
