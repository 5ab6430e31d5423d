"""The process that runs one group of checks; started by `savbench.selfcheck.cli`. Its first event says what the device is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

from savbench.selfcheck.children import send, serve
from savbench.selfcheck.recorded import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
    return serve(argv, _check)


def _check(line: str, folder: Path, events: IO[str]) -> tuple[str, Iterator[Outcome]]:
    order = Order.from_line(line)
    return order.group, outcomes(order, folder, events)


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
        send(events, refused=str(error))
        return
    about = TorchDevice(torch, str(device))
    send(events, device=str(device), device_name=about.name, torch=about.torch_version)
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


if __name__ == "__main__":
    sys.exit(main())
