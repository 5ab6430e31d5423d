"""The benchmark's own textbook attention (--attention manual) against PyTorch's kernels, on the memory attention of SAM 2.1 and EdgeTAM.

    python benchmarks/bench_attention.py [--dtypes float32,bfloat16] [--device cuda]

These calls, of one head of width 256, are most of what attention costs in a tracked frame. Tensors are random here;
`jetson_benchmark.py attention` measures every call of a model with the tensors that it makes. The two take turns. Off by: largest
difference from the same call in float64, native / manual.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from attention.manual import scaled_dot_product_attention as manual
from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import clock, of_device
from runners.torch_common import resolve_device, synchronize

WIDTH = 256
MEMORIES, POINTERS = 7, 64
"""Memories that both models look at, and tokens of their object pointers (16 pointers of 4 tokens)."""
PERCEIVED = 512
"""Tokens that EdgeTAM's perceiver leaves of a memory."""


def calls_of(imgsz: int) -> dict[str, tuple[int, int]]:
    """Queries and keys by name, at this size of the input in pixels."""
    tokens = (imgsz // 16) ** 2
    return {
        "SAM 2.1 and EdgeTAM, self": (tokens, tokens),
        "SAM 2.1, cross": (tokens, MEMORIES * tokens + POINTERS),
        "EdgeTAM, cross": (tokens, MEMORIES * PERCEIVED + POINTERS),
    }


def measure(queries: int, keys: int, dtype: str, device: torch.device, rounds: int) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn((1, 1, length, WIDTH), generator=generator) for length in (queries, keys, keys)]
    query, key, value = (tensor.to(device, getattr(torch, dtype)) for tensor in drawn)
    ways = {"native": torch.nn.functional.scaled_dot_product_attention, "manual": manual}
    some = slice(0, None, max(1, queries // 64))  # every query by itself gives the same row
    exact = torch.nn.functional.scaled_dot_product_attention(query[:, :, some].double(), key.double(), value.double())
    off = {name: float((way(query, key, value)[:, :, some].double() - exact).abs().max()) for name, way in ways.items()}
    now = clock(device)

    def call(name: str) -> float:
        synchronize(device)
        begun = now()
        ways[name](query, key, value)
        synchronize(device)
        return (now() - begun) * 1e3

    samples = take_turns({name: functools.partial(call, name) for name in ways}, rounds)
    ms = [f"{statistics.median(samples[name]):.1f}" for name in ways]
    return [*ms, f"{ratio(samples, 'manual', 'native'):.2f}x", " / ".join(f"{off[name]:.0e}" for name in ways)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Milliseconds of memory attention, manual and native, as a markdown table.")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="default: %(default)s")
    parser.add_argument("--imgsz", type=int, default=1024, help="side of the model's input in pixels (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="calls of each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small calls, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.imgsz < 16:
        parser.error("--rounds is 1 or more and --imgsz 16 or more")
    if arguments.quick:
        arguments.imgsz, arguments.rounds = 256, 1
    device = resolve_device(arguments.device)
    rows = []
    with torch.inference_mode(), of_device(device) as where:
        for name, (queries, keys) in calls_of(arguments.imgsz).items():
            head = [name, f"{queries} x {keys}"]
            rows += [[*head, dtype, *measure(queries, keys, dtype, device, arguments.rounds)] for dtype in arguments.dtypes.split(",")]
    print(f"{machine()}, {where}, {arguments.rounds} rounds\n")
    print(table(["call", "queries x keys", "dtype", "native, ms", "manual, ms", "factor", "off by"], rows, left=3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
