"""`jetson_benchmark.py check-model`: arguments, the child process, the lines, what is missing. Loads no torch."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import RunnerError
from runners.sizes import check_size
from savbench.arguments.declared import ConfigError
from savbench.arguments.output import require_writable, write_text
from savbench.arguments.values import Device, FilePath, Whole, did_you_mean
from savbench.plan.settings_models import IMPLEMENTATION
from savbench.selfcheck.outcome import Outcome

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from savbench.arguments.parser import Parser
    from savbench.integration.child import Order

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
CHILD_COMMAND = (sys.executable, "-m", "savbench.integration.child")
TIMEOUT_S = 900.0
"""Without an outcome for so long the model hangs; the long clip of a large model on a CPU takes minutes."""

DESCRIPTION = """\
Prove that a model of runners/__init__.py fits the benchmark, on a generated clip: order of calls, shapes and dtypes, prompts, late objects,
the same masks twice, what is inside the latency, memory over a long clip. Names what is missing beside its class. No data, no download.
docs/add-a-model.md walks through an example.
"""
EPILOG = """\
exit status: 0 nothing failed, 1 a check failed, 2 bad arguments, 130 interrupted
"""


def add_flags(flags: Parser) -> None:
    """Declare the flags of the subcommand."""
    flags.description, flags.epilog = DESCRIPTION, EPILOG
    flags.add_argument("model", metavar="NAME", help="model, without a prompt")
    flags.add_argument("--device", type=Device(), default="auto", help="auto, cpu, cuda or cuda:N (default auto: cuda where it works)")
    flags.add_argument("--weights_dir", type=FilePath(), help="folder with its weights (default: where a run looks)")
    flags.add_argument("--random_weights", action="store_true", help="untrained weights, also where trained ones are found")
    flags.add_argument(
        "--imgsz",
        type=Whole(16, 8_192, unit="pixels"),
        help="side of the input (default: the model's own, and with untrained weights small)",
    )
    flags.add_argument("--implementation", type=IMPLEMENTATION, default="auto", help="as of a run (default auto)")
    flags.add_argument("--json", type=FilePath(name="FILE"), help="also write every figure to this file")


def main(args: argparse.Namespace) -> int:
    """Check a model. Returns the exit status.

    Raises:
        ConfigError: there is no such model, size, device or folder of weights, or the file of --json cannot be written.
    """
    # --help has no time for this
    from savbench.selfcheck.cli import show

    found: list[Outcome] = []
    order = order_of(args)
    if args.json is not None:
        require_writable("--json", args.json)
    try:
        for outcome in examine(order):
            found.append(outcome)
            show(outcome, sys.stdout)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if args.json is not None:
        checks = [outcome.to_json() for outcome in found]
        write_text(args.json, json.dumps({"model": order.model, "checks": checks}, indent=2) + "\n")
    counts = {status: sum(outcome.status == status for outcome in found) for status in ("ok", "failed", "not applicable")}
    print(f"{order.model}: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    missing = [outcome.said.removeprefix("missing: ") for outcome in found if outcome.said.startswith("missing: ")]
    if missing:
        print(f"missing: {'; '.join(missing)}")
    return EXIT_FAILED if counts["failed"] else EXIT_OK


def order_of(args: argparse.Namespace) -> Order:
    """What the child is to check.

    Raises:
        ConfigError: there is no such model, it cannot run at the size, or the folder has no weights of it.
    """
    from savbench.integration.child import Order
    from savbench.integration.pieces import small_size
    from savbench.plan.arms import check_implementation
    from savbench.plan.upstream import checkout_of, has_weights, usual_edgetam, usual_efficienttam, weights_folders
    from savbench.plan.weights import find_weights

    spec = RUNNERS.get(args.model)
    if spec is None:
        prompted = args.model.rpartition("_")[0]
        if prompted in RUNNERS:
            raise ConfigError(f"{args.model}: give the model without its prompt: {prompted}")
        known = f"{did_you_mean(args.model, list(RUNNERS))}; there are {', '.join(RUNNERS)}"
        raise ConfigError(f"{args.model}: no such model{known}; a new one needs a spec in runners/__init__.py (docs/add-a-model.md)")
    weights = None
    if spec.checkpoint is not None and not args.random_weights:
        folders = weights_folders(args.weights_dir)
        if args.weights_dir is not None or has_weights(args.model, folders):
            weights = str(find_weights(spec.checkpoint, args.model, folders))
        else:
            print(f"{args.model}: no {spec.checkpoint} in {', '.join(map(str, folders))}: checked with untrained weights", file=sys.stderr)
    imgsz = args.imgsz or (small_size(spec) if weights is None else spec.imgsz)
    if imgsz is not None:
        try:
            check_size(spec.family, imgsz, spec.config)
        except RunnerError as error:
            raise ConfigError(f"--imgsz: {error}") from error
    check_implementation(args.model, args.implementation)
    source_dir = checkout_of(spec.family, args.implementation, {"edgetam": usual_edgetam(), "efficienttam": usual_efficienttam()})
    return Order(args.model, args.device, imgsz, weights, None if source_dir is None else str(source_dir), args.implementation)


def examine(order: Order, timeout_s: float = TIMEOUT_S) -> Iterator[Outcome]:
    """Outcomes as they come: of the files, then of the built model.

    Raises:
        ConfigError: there is no such device.
    """
    from savbench.integration.pieces import check_pieces
    from savbench.selfcheck.children import events_of

    yield from check_pieces(order.model, RUNNERS[order.model], SHIPPED_WEIGHTS.parents[1])
    for event in events_of(order, order.model, CHILD_COMMAND, timeout_s):
        if "refused" in event:
            raise ConfigError(event["refused"])
        yield Outcome(**event["outcome"])
