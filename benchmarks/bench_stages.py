"""What --stages costs: the same model with hooks at its stages and without, frame by frame in turns.

    python benchmarks/bench_stages.py [--models sam2_tiny,edgetam] [--device cuda]

The factor is the median over the rounds of the time with hooks over the time without, and beside it the same of two models without hooks:
what noise alone makes of it.
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

from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import GeneratedClip, build, of_device
from runners.base import STAGES
from runners.torch_common import resolve_device


def measure(model: str, imgsz: int | None, device: torch.device, clip: GeneratedClip, rounds: int) -> list[str]:
    runners = {"off": build(model, imgsz, device), "off again": build(model, imgsz, device), "on": build(model, imgsz, device, stages=True)}
    prompts = clip.prompts(["points"], 1)
    shares: list[float] = []

    def median_ms(name: str) -> float:
        calls = clip.track(runners[name], prompts)
        if name == "on":
            shares.extend(sum(call.report.stages_ms[stage] for stage in STAGES) / call.wall_ms for call in calls)
        return statistics.median(call.ms for call in calls)

    calls = {name: functools.partial(median_ms, name) for name in runners}
    for call in calls.values():
        call()  # warms up
    shares.clear()
    samples = take_turns(calls, rounds)
    ms = [f"{statistics.median(samples[name]):.1f}" for name in ("off", "on")]
    factors = [f"{ratio(samples, name, 'off'):.3f}x" for name in ("on", "off again")]
    return [model, *ms, *factors, f"{statistics.median(shares):.1%}"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of --stages, as a markdown table.")
    parser.add_argument("--models", default="sam2_tiny,edgetam", help="default: %(default)s")
    parser.add_argument("--imgsz", type=int, help="side of the model's input in pixels (default: its own, 1024)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=6, help="frames of the clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="sam2_nano on three frames, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 2:
        parser.error("--rounds is 1 or more and --frames 2 or more")
    if arguments.quick:
        arguments.models, arguments.frames, arguments.rounds = "sam2_nano", 3, 1
    device = resolve_device(arguments.device)
    clip = GeneratedClip(arguments.frames, 1, device)
    with of_device(device) as where:
        rows = [measure(model, arguments.imgsz, device, clip, arguments.rounds) for model in arguments.models.split(",")]
    settings = f"{arguments.imgsz or 'own'} px, float32, {arguments.frames} frames, {arguments.rounds} rounds"
    print(f"{machine()}, {where}, {settings}\n")
    print(table(["model", "ms a frame", "with stages", "factor", "noise alone", "stages sum to"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
