"""The process that checks a built model; started by `savbench.integration.cli`."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from runners import RUNNERS
from runners.base import BuildOptions, Implementation, RunnerError
from runners.text import one_line
from savbench.selfcheck.children import send, serve
from savbench.selfcheck.outcome import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.integration.bench import Bench
    from savbench.selfcheck.outcome import Outcome


@dataclass(frozen=True)
class Order:
    """The model to check and what it is built from."""

    model: str
    device: str
    imgsz: int | None
    weights: str | None
    source_dir: str | None
    implementation: Implementation = "auto"

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    def options(self) -> BuildOptions:
        return BuildOptions(
            device=self.device,
            imgsz=self.imgsz,
            weights=None if self.weights is None else Path(self.weights),
            config=RUNNERS[self.model].config,
            source_dir=None if self.source_dir is None else Path(self.source_dir),
            implementation=self.implementation,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Check what comes on standard input; outcomes go to the file descriptor `--events`."""
    return serve(argv, _check)


def _check(line: str, _: Path, events: IO[str]) -> tuple[str, Iterator[Outcome]]:
    order = Order(**json.loads(line))
    return order.model, outcomes(order, events)


def outcomes(order: Order, events: IO[str]) -> Iterator[Outcome]:
    """Build the model and check it."""
    import torch

    from runners.torch_common import resolve_device
    from savbench.integration.bench import Bench
    from savbench.measure.devices import Device, PlainCpu, TorchDevice

    try:
        resolve_device(order.device)
    except RunnerError as error:
        send(events, refused=str(error))
        return
    spec, options = RUNNERS[order.model], order.options()
    try:
        runner = spec.build(options)
    # the class may raise anything; what it says is what its author needs
    except Exception as error:  # noqa: BLE001
        yield raised("built: as asked for", error, "nothing else of the model can be checked")
        return
    device: Device = TorchDevice(torch, runner.applied.device) if spec.is_learned else PlainCpu()
    yield from check_runner(Bench(order.model, spec, options, runner, device, spec.build))


def check_runner(bench: Bench) -> Iterator[Outcome]:
    """All checks of a built model. One that raises is an outcome, and the next one runs."""
    from savbench.integration.boundaries import check_boundaries
    from savbench.integration.calls import check_built, check_dtypes, check_order, check_shapes
    from savbench.integration.lasting import check_memory, check_nonfinite, check_twice
    from savbench.integration.prompts import check_late, check_prompts

    checks: tuple[tuple[str, Callable[[Bench], Iterator[Outcome]]], ...] = (
        ("built", check_built),
        ("order", check_order),
        ("masks: shape", check_shapes),
        ("prompts", check_prompts),
        ("prompts: late objects", check_late),
        ("masks: the same twice", check_twice),
        ("autocast", check_dtypes),
        ("timing", check_boundaries),
        ("memory", check_memory),
        ("trouble", check_nonfinite),
    )
    for name, check in checks:
        try:
            yield from check(bench)
        # as above
        except Exception as error:  # noqa: BLE001, PERF203 - ten checks
            yield raised(f"{name}: could not be checked", error, "a session of a run would end the same way")
            bench.runner.close()


def raised(check: str, error: Exception, meaning: str) -> Outcome:
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = one_line(f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
    return judged(
        check, False, said, meaning=meaning, remedy="make the calls of runners/base.py work in their order, beginning with this one"
    )


if __name__ == "__main__":
    sys.exit(main())
