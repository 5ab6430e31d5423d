"""Peak memory and time of a long clip beside a short one: frames prepared as they are tracked, and upstream's way of keeping all of them.

    python benchmarks/bench_bounded_memory.py
    python benchmarks/bench_bounded_memory.py --model sam2_base --imgsz 1024 --device cuda

Every clip is tracked in a process of its own, from JPEGs on disk, with frames decoded ahead as in a run on a GPU. The peak is the process's
resident memory from opening the clip to its last frame, sampled every 20 ms; on a GPU that of torch's allocator is beside it. The model has
random weights: neither its time nor its memory depends on them. The long clip repeats the pictures of the short one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from benchmarks.common import machine, table
from runners import RUNNERS
from runners.base import BuildOptions, Clip, MemoryMode
from savbench.data.demo.split import make_clip
from savbench.data.frames import JpegFrames, ReadAhead
from savbench.data.png import read_mask
from savbench.data.prompts import make_prompt
from savbench.measure.memory import RssSampler
from savbench.plan.settings_data import GPU_PREFETCH
from savbench.plan.settings_models import MEMORY_MODES

HEIGHT, WIDTH = 480, 848
SHORT = 8


@dataclass(frozen=True)
class Measured:
    """What came of one clip."""

    memory: str
    frames: int
    rss_mib: float
    gpu_mib: float | None
    init_ms: float
    frame_ms: float
    """Median of the tracked frames."""
    masks: str
    """Pixels in the masks of the first `SHORT` frames, separated by blanks."""


def measure(model: str, imgsz: int | None, device: str, memory: MemoryMode, folder: Path, frames: int) -> Measured:
    """Track a clip in this process. The frames are the JPEGs in the folder, over and over; the mask of the first is beside them."""
    import torch

    spec = RUNNERS[model]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = spec.build(BuildOptions(device=device, imgsz=imgsz or spec.imgsz, config=spec.config, memory=memory))
    pictures = sorted(folder.glob("*.jpg"))
    source = JpegFrames(tuple(pictures[index % len(pictures)] for index in range(frames)))
    prompt = make_prompt("mask", read_mask(folder / "mask.png"), object_id=1)
    on_gpu = runner.applied.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(runner.applied.device)
    times_ms: list[float] = []
    pixels: list[int] = []
    with RssSampler() as rss, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = source.reader().read(0)
        begun = time.perf_counter()
        runner.open(Clip("clip", frames, HEIGHT, WIDTH, source.files), first)
        init_ms = (time.perf_counter() - begun) * 1e3
        with ReadAhead(source, range(frames), GPU_PREFETCH, (HEIGHT, WIDTH)) as decoded:
            for frame in decoded:
                begun = time.perf_counter()
                if frame.index == 0:
                    masks_nhw = runner.prompt(0, frame.frame_hwc, [prompt])
                else:
                    masks_nhw = runner.track(frame.index, frame.frame_hwc)
                    times_ms.append((time.perf_counter() - begun) * 1e3)
                if frame.index < SHORT:
                    pixels.append(int(masks_nhw.sum()))
        peak = rss.peak_mib
    gpu_mib = torch.cuda.max_memory_allocated(runner.applied.device) / 2**20 if on_gpu else None
    runner.close()
    assert peak is not None
    return Measured(memory, frames, peak, gpu_mib, init_ms, statistics.median(times_ms), " ".join(map(str, pixels)))


def measure_apart(arguments: argparse.Namespace, memory: str, folder: Path, frames: int) -> Measured:
    """The same in a fresh process, whose memory nothing has been through."""
    command = [sys.executable, __file__, "--child", memory, str(folder), "--frames", str(frames)]
    command += ["--model", arguments.model, "--device", arguments.device]
    command += [] if arguments.imgsz is None else ["--imgsz", str(arguments.imgsz)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise SystemExit(f"{memory}, {frames} frames: ended with status {child.returncode}\n{child.stderr[-2000:]}")
    return Measured(**json.loads(child.stdout.splitlines()[-1]))


def write_clip(folder: Path) -> None:
    """`SHORT` JPEGs of a generated clip, and the mask of an object on the first."""
    made = make_clip(0, SHORT, HEIGHT, WIDTH, roles=["stay"])
    for index, frame_hwc in enumerate(made.frames_thwc):
        Image.fromarray(frame_hwc).save(folder / f"{index:05d}.jpg", quality=95)
    Image.fromarray(made.masks_nthw[0, 0]).save(folder / "mask.png")


def rows(arguments: argparse.Namespace) -> list[list[str]]:
    """Both clips in both ways, as the lines of the table."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip(folder)
        masks: dict[int, set[str]] = {}
        for memory in MEMORY_MODES:
            short, long = (measure_apart(arguments, memory, folder, frames) for frames in (SHORT, arguments.frames))
            for measured in (short, long):
                masks.setdefault(measured.frames, set()).add(measured.masks)
            lines += [_line(short, None), _line(long, short)]
        if any(len(found) > 1 for found in masks.values()):
            raise SystemExit("the ways give other masks, so that their memory cannot be compared; report this as a bug")
    return lines


def _line(one: Measured, other: Measured | None) -> list[str]:
    def growth(mib: float | None, before: float | None) -> str:
        return "" if mib is None or before is None else f"{mib / before - 1:+.1%}"

    return [
        one.memory,
        str(one.frames),
        f"{one.rss_mib:.0f}",
        growth(one.rss_mib, None if other is None else other.rss_mib),
        "" if one.gpu_mib is None else f"{one.gpu_mib:.0f}",
        growth(one.gpu_mib, None if other is None else other.gpu_mib),
        f"{one.init_ms:.0f}",
        f"{one.frame_ms:.1f}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Peak memory of a long clip beside a short one, as a markdown table.")
    parser.add_argument("--model", default="sam2_tiny", help="an official SAM 2 (default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=256, help="side of the model's input in pixels (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=1000, help="of the long clip (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small model and 24 frames, to see that it works")
    parser.add_argument("--child", nargs=2, metavar=("MEMORY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.frames < 2:
        parser.error("--frames is 2 or more")
    if arguments.child is not None:
        memory, folder = arguments.child
        measured = measure(arguments.model, arguments.imgsz, arguments.device, memory, Path(folder), arguments.frames)
        print(json.dumps(asdict(measured)))
        return 0
    if arguments.quick:
        arguments.model, arguments.imgsz, arguments.frames = "sam2_nano", 192, 24
    lines = rows(arguments)
    print(f"{machine()}, {arguments.device}, {arguments.model} at {arguments.imgsz} px, float32, frames of {WIDTH}x{HEIGHT}\n")
    head = ["memory", "frames", "peak RSS, MiB", "over the short clip", "peak GPU, MiB", "over the short clip", "open, ms", "ms a frame"]
    print(table(head, lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
