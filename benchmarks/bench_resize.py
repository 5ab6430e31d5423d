"""What preparing a frame costs: Pillow's resize by PyTorch against Pillow, with the same bits, and the whole step around it.

    python benchmarks/bench_resize.py [--device cuda]

A round resizes one frame both ways. On a GPU the frame is uploaded too, in either way, the device has come to its end, and the clock is the
wall's. Times are the smallest of the rounds, factors the median over the rounds of Pillow over ours.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import torch

from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import of_device
from runners.preprocessing import FramePreprocessor
from runners.resize import PILLOW, Resizer, Size, by_pillow
from runners.torch_common import resolve_device, synchronize

FRAMES = {"480p": (480, 848), "720p": (720, 1280), "1080p": (1080, 1920), "1080p, portrait": (1920, 1080)}
IMGSZ = (1024, 512)


def measure(name: str, in_hw: Size, imgsz: int, device: torch.device, rounds: int) -> list[str]:
    frame_hwc = np.random.default_rng(0).integers(0, 256, (*in_hw, 3), np.uint8)
    resizer, prepare, out_hw = Resizer("bicubic", device), FramePreprocessor(imgsz, device), (imgsz, imgsz)

    def pillow() -> None:
        torch.from_numpy(by_pillow(frame_hwc, out_hw, "bicubic")).to(device)
        synchronize(device)

    def ours() -> None:
        resizer(frame_hwc, out_hw)
        synchronize(device)

    def step() -> None:
        prepare(frame_hwc)
        synchronize(device)

    def timed(call: Callable[[], None]) -> Callable[[], float]:
        def ms() -> float:
            begun = clock()
            call()
            return (clock() - begun) * 1e3

        return ms

    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    calls = {"pillow": timed(pillow), "ours": timed(ours), "step": timed(step)}
    for call in calls.values():
        call()  # warms up
    samples = take_turns(calls, rounds)
    ms = [f"{min(samples[call]):.2f}" for call in calls]
    return [name, f"{imgsz}", resizer.way, *ms[:2], f"{ratio(samples, 'pillow', 'ours'):.1f}x", ms[2]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of preparing a frame, as a markdown table.")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="of each size (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small size, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    cases = [(name, size, imgsz) for name, size in FRAMES.items() for imgsz in IMGSZ]
    if arguments.quick:
        cases, arguments.rounds = [("small", (90, 160), 64)], 1
    device = resolve_device(arguments.device)
    cv2.setNumThreads(1)
    with of_device(device) as where:
        rows = [measure(name, size, imgsz, device, arguments.rounds) for name, size, imgsz in cases]
    print(f"{machine()}, {where}, {arguments.rounds} rounds\n")
    print(table(["frame", "to", "way", f"{PILLOW}, ms", "ours, ms", "factor", "whole step, ms"], rows, left=3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
