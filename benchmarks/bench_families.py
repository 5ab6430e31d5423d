"""All families side by side: CPU time of a tracked frame by stage, parameters, peak memory, and memory per remembered frame and object.

    .venv/bin/python benchmarks/bench_families.py [--models sam2_tiny,sam2_tiny/transformers] [--imgsz 512,1024] [--cache FILE] [-o FILE]

Random weights and float32 on one thread of a CPU: CPU time, which other programs on the machine hardly change. Frames are 1920x1080. The
memory of past frames is full, as on all but the first frames of a clip (`savbench.attention_bench.clip` says how it is filled). Each model
and size runs in a process of its own, and its figures go to the cache as soon as they are known: the same command continues where it was
interrupted, and measures nothing twice.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ROOT, machine, table
from runners import RUNNERS
from runners.base import STAGES, BuildOptions, RunnerError
from runners.sizes import STRIDES, check_size
from savbench.plan.upstream import usual_edgetam, usual_efficienttam

if TYPE_CHECKING:
    from runners.base import Implementation, VideoRunner

CACHE = ROOT / "results" / "families.jsonl"
LOAD = r"load ([\d.]+)"
MIB = 2**20
SOURCES = {"edgetam": usual_edgetam, "efficienttam": usual_efficienttam}
"""Checkouts of families that are not installed."""
ENOUGH_S = 20.0
"""CPU seconds after which no further frame is timed."""
MOST_FRAMES = 5
"""Timed frames at most. Of Cutie, which remembers every fifth frame, as many are timed whatever they take."""


def all_models() -> list[str]:
    """Every model with weights, and those that show what another implementation costs. Of EfficientTAM's variants those of 1024 pixels."""
    learned = [name for name, spec in RUNNERS.items() if spec.is_learned and not name.endswith("_512x512")]
    return [*learned, *(f"{name}/transformers" for name in ("sam2_tiny", "edgetam"))]


def arms(models: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Models and sizes; of a size that a family cannot run, the next smaller multiple of its stride."""
    for model in models:
        spec = RUNNERS[model.partition("/")[0]]
        for imgsz in sizes:
            nearest = imgsz - imgsz % STRIDES.get(spec.family, 1)
            try:
                check_size(spec.family, nearest, spec.config)
            except RunnerError:
                continue
            yield model, nearest


# one model, in a process of its own -------------------------------------------------------------------------------------------------------


def measure(model: str, imgsz: int) -> dict[str, Any]:
    """Figures of one model at one size.

    Raises:
        RunnerError, ImportError: it cannot be built here.
    """
    import torch

    from runners import stages
    from runners.torch_common import replaced

    torch.set_num_threads(1)
    name, _, implementation = model.partition("/")
    spec = RUNNERS[name]
    # stages are timed with the wall's clock otherwise, which runs on while other programs have the core
    with replaced(stages, "time", SimpleNamespace(perf_counter=time.process_time)):
        options = BuildOptions(
            device="cpu",
            imgsz=imgsz,
            config=spec.config,
            stages=True,
            source_dir=SOURCES.get(spec.family, lambda: None)(),
            implementation=cast("Implementation", implementation or "auto"),
        )
        runner = spec.build(options)
        clip = _Clip(runner)
        remembered_mib = clip.fill()
        frames = clip.time(at_least=MOST_FRAMES if spec.family == "cutie" else 1)
    return {
        "model": model,
        "imgsz": imgsz,
        "implementation": runner.applied.implementation,
        "parameters": runner.applied.parameters,
        "frames": len(frames),
        "stages_ms": {stage: sum(frame.get(stage, 0.0) for frame in frames) / len(frames) for stage in STAGES if stage in frames[0]},
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "remembered_mib": remembered_mib,
        "machine": f"{machine()}, torch {torch.__version__}",
    }


class _Clip:
    """A moving square, tracked by one runner."""

    def __init__(self, runner: VideoRunner) -> None:
        import numpy as np

        from runners.base import Clip, Prompt

        self._runner = runner
        self._frame_hwc = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
        mask_hw = np.zeros((1080, 1920), np.bool_)
        mask_hw[400:700, 800:1200] = True
        self._index = 0
        runner.open(Clip("families", 1_000_000, 1080, 1920), self._frame_hwc)
        runner.prompt(0, self._frame_hwc, [Prompt(1, "mask", mask_hw=mask_hw)])

    def fill(self) -> float:
        """Track until the memory is full. Returns MiB of tensors that one more remembered frame of the object takes."""
        from savbench.attention_bench.clip import FILLING_FRAMES, REPEATED, model_of, repeating

        model, core = model_of(self._runner), getattr(self._runner, "_core", None)
        if core is not None:  # Cutie remembers every fifth frame; while it fills, every one
            every, core.mem_every = core.mem_every, 1
            held = [self._held_after_a_frame() for _ in range(self._runner.applied.memory_frames // every)]
            core.mem_every = every
            return (held[1] - held[0]) / MIB
        if not self._runner.applied.memory_frames:
            self.track()
            return 0.0
        with repeating(model, REPEATED):
            held = [self._held_after_a_frame() for _ in range(FILLING_FRAMES)]
        return (held[2] - held[1]) / MIB

    def time(self, at_least: int) -> list[dict[str, float]]:
        """Stages in CPU milliseconds, frame by frame."""
        frames: list[dict[str, float]] = []
        while len(frames) < at_least or (len(frames) < MOST_FRAMES and sum(sum(frame.values()) for frame in frames) < ENOUGH_S * 1e3):
            self.track()
            frames.append(dict(self._runner.inspect().stages_ms))
        self._runner.close()
        return frames

    def track(self) -> None:
        self._index += 1
        self._runner.track(self._index, self._frame_hwc)

    def _held_after_a_frame(self) -> int:
        """Bytes of all tensors that are alive, each storage once."""
        import torch

        self.track()
        gc.collect()
        storages = {}
        for found in gc.get_objects():
            if issubclass(type(found), torch.Tensor):  # isinstance would ask proxies of other modules for their class
                storage = found.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        return sum(storages.values())


# all models -------------------------------------------------------------------------------------------------------------------------------


def read_cache(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Figures by model and size; of two lines the later counts."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {(found["model"], found["imgsz"]): found for found in map(json.loads, lines)}


def run(model: str, imgsz: int) -> dict[str, Any]:
    """Figures of a model, or under `error` why there are none, from a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, __file__, "--one", f"{model}@{imgsz}"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        return {"model": model, "imgsz": imgsz, "error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Cells of the table."""
    return [
        [
            one["model"],
            one["implementation"],
            str(one["imgsz"]),
            f"{one['parameters'] / 1e6:.1f}",
            f"{sum(one['stages_ms'].values()):,.0f}",
            *(f"{one['stages_ms'][stage]:,.0f}" if stage in one["stages_ms"] else "" for stage in STAGES),
            f"{one['peak_rss_mib']:,.0f}",
            f"{one['remembered_mib']:.2f}" if one["remembered_mib"] else "",
        ]
        for one in found
    ]


HEAD = ["model", "implementation", "px", "M parameters", "ms a frame", *STAGES, "peak RSS, MiB", "MiB a remembered frame and object"]


def page(measured: Sequence[dict[str, Any]], missing: Sequence[tuple[str, str]]) -> str:
    """The table as markdown, with what it was measured on and what is not in it.

    Args:
        missing: models and sizes in words, each with the reason.
    """
    # the load differs from row to row, and CPU time hardly with it
    loads = [float(load) for one in measured for load in re.findall(LOAD, one["machine"])]
    beside = f", beside other programs (load {min(loads):.0f} to {max(loads):.0f})" if loads else ""
    where = "\n".join(dict.fromkeys(f"{re.sub(f', {LOAD}', '', one['machine'])}{beside}." for one in measured))
    lines = [where, "", table(HEAD, rows(measured), left=2)]
    if missing:
        by_reason: dict[str, list[str]] = {}
        for arm, reason in missing:
            by_reason.setdefault(reason, []).append(arm)
        lines += ["", "Not in the table:", "", *(f"- {reason}: {', '.join(of_it)}" for reason, of_it in by_reason.items())]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="All families side by side, as a markdown table.")
    parser.add_argument("--models", default=",".join(all_models()), help="default: all with weights")
    parser.add_argument("--imgsz", default="512,1024", help="sides of the input in pixels (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="figures so far, one JSON object a line (default: %(default)s)")
    parser.add_argument("--cached", action="store_true", help="measure nothing, print what the cache has")
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this markdown file")
    parser.add_argument("--quick", action="store_true", help="sam2_nano at 64 pixels without a cache, to see that it works")
    parser.add_argument("--one", metavar="MODEL@SIZE", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.one:
        model, _, size = arguments.one.partition("@")
        print(json.dumps(measure(model, int(size))))
        return 0
    if arguments.quick:
        arguments.models, arguments.imgsz = "sam2_nano", "64"
    models = arguments.models.split(",")
    if unknown := sorted(set(models) - set(all_models())):
        parser.error(f"--models {','.join(unknown)}: choose of {', '.join(all_models())}")
    wanted = list(arms(models, [int(size) for size in arguments.imgsz.split(",")]))
    known = {} if arguments.quick else read_cache(arguments.cache)
    for model, imgsz in wanted:
        if (model, imgsz) in known or arguments.cached:
            continue
        print(f"{model} at {imgsz} ...", file=sys.stderr, flush=True)
        found = run(model, imgsz)
        known[model, imgsz] = found
        if not arguments.quick and "error" not in found:  # what failed is tried again
            arguments.cache.parent.mkdir(parents=True, exist_ok=True)
            with arguments.cache.open("a", encoding="utf-8") as cache:
                cache.write(json.dumps(found) + "\n")
    measured = [known[arm] for arm in wanted if arm in known and "error" not in known[arm]]
    reasons = {arm: known[arm].get("error") if arm in known else "not run yet" for arm in wanted}
    missing = [(f"{model} at {imgsz}", reason) for (model, imgsz), reason in reasons.items() if reason is not None]
    text = page(measured, missing)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(f"# All families\n\n{INTRODUCTION}\n\n{text}\n", encoding="utf-8")
    return 1 if any("error" in known.get(arm, {}) for arm in wanted) else 0


INTRODUCTION = """\
CPU time of a tracked frame by stage, in ms, with random weights, float32 and one thread; written by `benchmarks/bench_families.py`. The
frame has 1920x1080 pixels, and the memory of past frames is full. On other machines times differ, on a GPU ratios do too. `px` is the side
of a square, of Cutie the shorter side: its input has 1.8 times the pixels of a square. SAM v1 runs without a memory. Cutie's memory encoder
runs on every fifth frame, and the figure is the mean. Peak RSS is of the whole process, with weights and libraries."""


if __name__ == "__main__":
    sys.exit(main())
