"""What the worker's own threads and Python's garbage collector cost a timed frame: latencies with each on and off.

    python benchmarks/bench_pauses.py [--device cuda]

- memory samplers: a session reads the process's and the machine's memory 50 times a second each, in two threads that share the interpreter
  with the model's kernel launches.
- garbage collector: a session freezes what is there after its warm-up (`gc.freeze`), so that a collection does not look through the modules
  of torch again. The last columns are the time of one full collection without and with it: the pause that a frame can meet.

Passes over a clip take turns. Factors are medians over the rounds, of p50 and of p99 of a pass; beside them the same of two equal passes,
what noise alone makes of it. Latencies are of the wall's clock: threads cost time and not work.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import GeneratedClip, build
from runners.torch_common import resolve_device
from savbench.measure.memory import RssSampler, SystemMemorySampler
from savbench.results.latency import LatencySamples

OFF, AGAIN, SAMPLED, FROZEN = "off", "noise alone", "memory samplers", "garbage frozen"


@contextlib.contextmanager
def memory_samplers() -> Iterator[None]:
    with RssSampler(), SystemMemorySampler():
        yield


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def full_collection_ms(context: AbstractContextManager[None]) -> float:
    with context:
        begun = time.thread_time()
        gc.collect()
        return (time.thread_time() - begun) * 1e3


def measure(model: str, imgsz: int | None, device: torch.device, clip: GeneratedClip, rounds: int) -> list[list[str]]:
    runner, prompts = build(model, imgsz, device), clip.prompts(["points"], 1)
    p99_ms: dict[str, list[float]] = {}

    def run(name: str, context: AbstractContextManager[None]) -> float:
        with context:
            samples = LatencySamples(call.wall_ms for call in clip.track(runner, prompts))
        assert samples.p50 is not None
        assert samples.p99 is not None
        p99_ms.setdefault(name, []).append(samples.p99)
        return samples.p50

    calls = {
        OFF: lambda: run(OFF, contextlib.nullcontext()),
        AGAIN: lambda: run(AGAIN, contextlib.nullcontext()),
        SAMPLED: lambda: run(SAMPLED, memory_samplers()),
        FROZEN: lambda: run(FROZEN, frozen()),
    }
    calls[OFF]()  # warms up
    p99_ms.clear()
    p50_ms = take_turns(calls, rounds)
    pauses = {OFF: full_collection_ms(contextlib.nullcontext()), FROZEN: full_collection_ms(frozen())}
    rows = []
    for name in calls:
        ms = [f"{statistics.median(samples[name]):.2f}" for samples in (p50_ms, p99_ms)]
        factors = ["" if name == OFF else f"{ratio(samples, name, OFF):.3f}x" for samples in (p50_ms, p99_ms)]
        rows.append([model, name, ms[0], factors[0], ms[1], factors[1], f"{pauses[name]:.1f}" if name in pauses else ""])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of samplers and of garbage collection, as a markdown table.")
    parser.add_argument("--models", default="sam2_nano", help="the smaller, the more a pause shows (default: %(default)s)")
    parser.add_argument("--imgsz", type=int, help="side of the model's input in pixels (default: its own)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=200, help="frames of a pass (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="passes of each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one pass of a few frames, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 2:
        parser.error("--rounds is 1 or more and --frames 2 or more")
    if arguments.quick:
        arguments.frames, arguments.rounds = 3, 1
    device = resolve_device(arguments.device)
    clip = GeneratedClip(arguments.frames, 1, device)
    rows = [row for model in arguments.models.split(",") for row in measure(model, arguments.imgsz, device, clip, arguments.rounds)]
    where = f"torch {torch.__version__} on {device}, {torch.get_num_threads()} threads"
    print(f"{machine()}, {where}, {arguments.imgsz or 'own'} px, float32, {arguments.frames} frames, {arguments.rounds} rounds\n")
    print(table(["model", "on", "p50 ms", "factor", "p99 ms", "factor", "full collection, ms"], rows, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
