"""What exported graphs are worth: whole frames and stages in ONNX Runtime over torch, in float32 and with an int8 image encoder.

    python benchmarks/bench_runtimes.py [--models sam2_nano:192,sam2_tiny:256,edgetam:256] [--device cuda]

The arms of a model are in one process and take turns, pass by pass; a factor is the median over the rounds of the time over torch's in the
same round, on a CPU of its time. `torch again` is a second model like the first: what noise alone makes of it. Each model has a process of
its own, since EdgeTAM's package has the name of SAM 2's; EdgeTAM's code is in ./EdgeTAM (scripts/get_edgetam.sh) or --edgetam_dir. Weights
are random but sam2_nano's, whose graphs in --exported_dir are then those of a run: time and memory do not depend on them.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import machine, ratio, table, take_turns
from benchmarks.passes import GeneratedClip, clock, of_device, options_of
from runners import RUNNERS, SHIPPED_WEIGHTS, stages
from runners.torch_common import replaced, resolve_device
from savbench.plan.upstream import usual_edgetam

STAGES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
"""Those that are graphs."""
AGAIN = "torch again"
RUNTIMES = ("torch", AGAIN, "onnx", "onnx-int8")


def measure(wanted: str, arguments: argparse.Namespace, folder: Path) -> tuple[str, list[list[str]]]:
    """What was measured on, and rows of the table: one for each runtime.

    Args:
        wanted: MODEL:IMGSZ.
        folder: cache of exported graphs.
    """
    model, _, imgsz = wanted.partition(":")
    device = resolve_device(arguments.device)
    # stages go by the wall's clock otherwise, which runs on while other programs have the core
    by_clock = replaced(stages, "time", SimpleNamespace(perf_counter=clock(device)))
    with of_device(device) as where, by_clock, torch.inference_mode():
        clip = GeneratedClip(arguments.frames, 1, device)
        return where, _rows(model, int(imgsz), device, clip, arguments, folder)


def _rows(
    model: str, imgsz: int, device: torch.device, clip: GeneratedClip, arguments: argparse.Namespace, folder: Path
) -> list[list[str]]:
    source_dir = (arguments.edgetam_dir or usual_edgetam()) if model == "edgetam" else None
    shipped = SHIPPED_WEIGHTS / str(RUNNERS[model].checkpoint)
    options = replace(
        options_of(model, imgsz, device),
        weights=shipped if shipped.is_file() else None,
        stages=True,
        exported_dir=folder,
        calibration=clip.frames,
        source_dir=source_dir,
    )
    runners = {name: RUNNERS[model].build(replace(options, runtime=name.split()[0])) for name in RUNTIMES}
    prompts = clip.prompts(["points"], 1)
    of_stages: dict[str, dict[str, list[float]]] = {stage: defaultdict(list) for stage in STAGES}

    def median_ms(name: str) -> float:
        calls = clip.track(runners[name], prompts)
        for stage in STAGES:
            of_stages[stage][name].append(statistics.median(call.report.stages_ms[stage] for call in calls))
        return statistics.median(call.ms for call in calls)

    calls = {name: functools.partial(median_ms, name) for name in runners}
    for call in calls.values():
        call()  # warms up
    for samples in of_stages.values():
        samples.clear()
    frames = take_turns(calls, arguments.rounds)
    columns = [frames, *of_stages.values()]
    rows = []
    for name in RUNTIMES:
        cells = [f"{statistics.median(samples[name]):.1f} ({ratio(samples, name, 'torch'):.2f}x)" for samples in columns]
        rows.append([f"{model}, {imgsz} px", name, *cells])
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Exported graphs against torch, as a markdown table.")
    usual = "sam2_nano:192,sam2_tiny:256" + (",edgetam:256" if usual_edgetam() else "")
    parser.add_argument("--models", default=usual, help="MODEL:IMGSZ, comma-separated (default here: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the clip (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each (default: %(default)s)")
    parser.add_argument("--exported_dir", type=Path, help="keep the graphs here (default: export them anew)")
    parser.add_argument("--edgetam_dir", type=Path, help="EdgeTAM's official code (default: ./EdgeTAM)")
    parser.add_argument("--quick", action="store_true", help="sam2_nano on three frames, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 2:
        parser.error("--rounds is 1 or more and --frames 2 or more")
    if arguments.quick:
        arguments.models, arguments.frames, arguments.rounds = "sam2_nano:192", 3, 1
    rows = []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for wanted in arguments.models.split(","):
            with ProcessPoolExecutor(1, spawn) as process:
                where, measured = process.submit(measure, wanted, arguments, arguments.exported_dir or Path(folder)).result()
            rows += measured
    import onnxruntime

    weights = "random weights but sam2_nano's"
    settings = f"onnxruntime {onnxruntime.__version__}, float32, {weights}, {arguments.frames} frames, {arguments.rounds} rounds"
    print(f"{machine()}, {where}, {settings}\n")
    print(table(["model", "runtime", "ms a frame", *(stage.replace("_", " ") for stage in STAGES)], rows, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
