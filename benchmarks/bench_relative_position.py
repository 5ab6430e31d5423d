"""What SAM v1's relative positions cost: the ways of `attention.relative_position` beside each other, and the whole image encoder.

    python benchmarks/bench_relative_position.py [--models vit_b,vit_l,vit_h] [--dtypes float32,bfloat16] [--device cuda]

A row is one way for one block: the global one of 64 x 64 tokens, and the 25 windows of 14 x 14, at 1024 pixels. Inputs are random. Half
precision runs under autocast, as in the benchmark's own runs, with q, k and v in that dtype.

- ms: median over the rounds. In each round every way runs once, in turns, so that a busy machine slows them alike; "x bias" is the median
  over the rounds of the quotient within a round.
- peak MiB: memory beyond what was held before the call. On a GPU torch's own peak of allocated memory; on Linux the high-water mark of the
  resident memory of this process, which is reset before the call; otherwise empty. It holds the result too.
- difference: largest absolute difference of the result from the same call in float64 on the same inputs. The encoder's is from its own
  result with `bias` in float32.
- kernels: fused kernels that one untimed call ran through, as the profiler names them.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from attention.kernels import observe
from attention.relative_position import METHODS, auto_method, relative_position_attention
from runners.sam1.image_encoder import EncoderConfig, ImageEncoder
from runners.sam1.model import ENCODERS
from runners.torch_common import resolve_device, synchronize
from savbench.measure.memory import rss_mib

MIB = 2**20
WAYS = [method for method in METHODS if method != "auto"]
COLUMNS = ("model", "block", "dtype", "way", "ms", "x bias", "peak MiB", "x bias less", "difference", "kernels")
Call = Callable[[], torch.Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time, memory and accuracy of SAM v1's attention, as a markdown table.")
    parser.add_argument("--models", default="vit_b", help=f"of {', '.join(ENCODERS)} (default: %(default)s)")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=1024, help="side of the input in pixels, a multiple of 16 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed calls of each way (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU (default: torch's)")
    parser.add_argument("--parts", default="blocks,encoder", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small blocks of one model, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.models, arguments.imgsz, arguments.rounds, arguments.parts = "vit_b", 256, 1, "blocks"
    models, dtypes, parts = (value.split(",") for value in (arguments.models, arguments.dtypes, arguments.parts))
    for values, known in ((models, [*ENCODERS]), (dtypes, ["float32", "bfloat16", "float16"]), (parts, ["blocks", "encoder"])):
        if not set(values) <= set(known):
            parser.error(f"{','.join(values)}: choose of {', '.join(known)}")
    if arguments.rounds < 1 or arguments.imgsz < 16 or arguments.imgsz % 16:
        parser.error("--rounds is 1 or more and --imgsz a multiple of 16")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}, {arguments.imgsz} pixels, {arguments.rounds} rounds\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    with torch.inference_mode():
        for model in models:
            config, grid = ENCODERS[model], arguments.imgsz // ENCODERS[model].patch
            for dtype in dtypes if "blocks" in parts else []:
                windows = (-(-grid // config.window)) ** 2
                for block, batch, side in (("windowed", windows, config.window), ("global", 1, grid)):
                    _print_rows(
                        [model, f"{block} {batch}x{side}x{side}", dtype], _block(config, batch, side, dtype, device, arguments.rounds)
                    )
            if "encoder" in parts:
                for dtype, rows in _encoder(config, arguments.imgsz, dtypes, device, arguments.rounds):
                    _print_rows([model, "whole encoder", dtype], rows)
    return 0


def _print_rows(head: list[str], rows: Mapping[str, list[str]]) -> None:
    for way, cells in rows.items():
        print("| " + " | ".join([*head, way, *cells]) + " |", flush=True)


def _block(config: EncoderConfig, batch: int, side: int, dtype: str, device: torch.device, rounds: int) -> dict[str, list[str]]:
    channels = config.channels // config.heads
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    q, k, v = (draw(batch, config.heads, side * side, channels).to(getattr(torch, dtype)) for _ in range(3))
    rows, columns = (0.3 * draw(side, channels, side) for _ in range(2))
    exact = relative_position_attention(q.double(), k.double(), v.double(), rows.double(), columns.double(), "chunked")
    names = {way: f"{way} (auto)" if way == auto_method(q) else way for way in WAYS}

    def call(way: str) -> Call:
        return lambda: relative_position_attention(q, k, v, rows, columns, way)

    with _precision(dtype, device):
        return _compare({names[way]: call(way) for way in WAYS}, exact, device, rounds)


def _encoder(
    config: EncoderConfig, imgsz: int, dtypes: Sequence[str], device: torch.device, rounds: int
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    torch.manual_seed(0)
    encoder = ImageEncoder(config).to(device).eval()
    image = torch.randn(1, 3, imgsz, imgsz).to(device)

    def call(way: str) -> Call:
        def encode() -> torch.Tensor:
            encoder.use_attention(way)
            embedding: torch.Tensor = encoder(image)
            return embedding

        return encode

    exact = call("bias")()
    for dtype in dtypes:
        with _precision(dtype, device):
            yield dtype, _compare({way: call(way) for way in ("bias", "auto")}, exact, device, rounds)


def _precision(dtype: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if dtype == "float32" else torch.autocast(device.type, getattr(torch, dtype))


def _compare(calls: Mapping[str, Call], exact: torch.Tensor, device: torch.device, rounds: int) -> dict[str, list[str]]:
    """Cells of each call from `ms` on; the first call is what the others are compared with."""
    kernels, peak, difference = {}, {}, {}
    for name, call in calls.items():
        kernels[name] = ", ".join(f"{kernel} {count}" for kernel, count in observe(call).counts.items())
        result, peak[name] = _with_peak_mib(call, device)
        difference[name] = float((result.double() - exact).abs().max())
        del result
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            synchronize(device)
            begun = time.perf_counter()
            result = calls[name]()
            synchronize(device)
            seconds[name].append(time.perf_counter() - begun)
            del result
        order = order[1:] + order[:1]
    first = next(iter(calls))
    cells = {}
    for name in calls:
        faster = statistics.median(a / b for a, b in zip(seconds[first], seconds[name], strict=True))
        mine, base = peak[name], peak[first]
        cells[name] = [
            f"{statistics.median(seconds[name]) * 1e3:.1f}",
            f"{faster:.2f}",
            "" if mine is None else f"{mine:.0f}",
            "" if mine is None or base is None else f"{base / max(mine, 1):.1f}",
            f"{difference[name]:.1e}",
            kernels[name],
        ]
    return cells


def _with_peak_mib(call: Call, device: torch.device) -> tuple[torch.Tensor, float | None]:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        synchronize(device)
        return result, float(torch.cuda.max_memory_allocated(device) - before) / MIB
    try:
        # Memory that earlier calls freed and the C library kept would hide what this one takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return call(), None
    held = rss_mib()
    result = call()
    high_water = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return result, None if high_water is None else int(high_water[1]) / 1024 - held


if __name__ == "__main__":
    sys.exit(main())
