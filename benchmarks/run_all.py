"""Runs all benchmarks of the benchmark's own parts, one after the other, and writes what they print into one markdown file.

    .venv/bin/python -m benchmarks.run_all -o benchmarks/RESULTS.md

Each runs in a process of its own and prints its table with the machine and the settings above it. On a CPU the models run at smaller sizes,
so that all of it takes minutes and not hours; ratios hold there too, times do not carry over to a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ROOT, machine
from savbench.results.environment import benchmark_version


@dataclass(frozen=True)
class Benchmark:
    """One script of this folder."""

    title: str
    script: str
    about: str
    """What its table says, in a sentence or two."""
    on_gpu: tuple[str, ...] = ()
    on_cpu: tuple[str, ...] = ()
    needs_torch: bool = True


BENCHMARKS = (
    Benchmark("Planning", "bench_planning.py", "Listing a data set of thousands of videos before anything runs.", needs_torch=False),
    Benchmark("Scoring", "bench_metrics.py", "J and F of a pair of masks, against the usual way with two dilations.", needs_torch=False),
    Benchmark(
        "Memory of long clips",
        "bench_bounded_memory.py",
        "Frames decoded when they are needed and outputs dropped (--memory bounded), against upstream's way of keeping all of them.",
        on_gpu=("--device", "cuda", "--imgsz", "1024"),
        on_cpu=("--frames", "400"),
    ),
    Benchmark(
        "Several objects or prompts in one session",
        "bench_sessions.py",
        "Separate sessions over a joint one, beside the most that sharing the image encoder alone could give.",
        on_cpu=("--imgsz", "512", "--frames", "5"),
    ),
    Benchmark(
        "Attention",
        "bench_attention.py",
        "The textbook computation (--attention manual) over PyTorch's kernels, on the calls that cost most.",
        on_gpu=("--dtypes", "float16,bfloat16,float32"),
        on_cpu=("--imgsz", "512"),
    ),
    Benchmark(
        "Relative positions of SAM v1",
        "bench_relative_position.py",
        "Ways to compute SAM v1's attention, by time and memory.",
        on_cpu=("--imgsz", "512", "--parts", "blocks", "--threads", "1"),
    ),
    Benchmark(
        "Stages", "bench_stages.py", "What measuring the stages of a frame (--stages) costs.", on_cpu=("--imgsz", "512", "--frames", "4")
    ),
    Benchmark(
        "Exported graphs",
        "bench_runtimes.py",
        "ONNX Runtime against torch, whole frames and stages in ms, with the factor over torch.",
        on_gpu=("--models", "sam2_nano:192,sam2_tiny:1024"),
    ),
    Benchmark(
        "Preparing a frame",
        "bench_resize.py",
        "Pillow's resize by PyTorch, with the same bits, against Pillow; and the whole step from a decoded frame to the model's input.",
        on_gpu=("--device", "cuda"),
        on_cpu=("--device", "cpu"),
    ),
    Benchmark(
        "Overhead",
        "bench_harness.py",
        "What the benchmark adds to a frame, with a runner that does nothing.",
        needs_torch=False,
    ),
    Benchmark(
        "Pauses",
        "bench_pauses.py",
        "What a frame pays for the threads that sample memory, and for Python's garbage collector.",
        on_gpu=("--device", "cuda"),
        on_cpu=("--device", "cpu", "--frames", "100"),
    ),
    Benchmark(
        "Scoring beside the frames",
        "bench_scoring.py",
        "What a frame pays for the process that scores the object before it, which --strict, --min_time and --min_frames hold back.",
        on_gpu=("--device", "cuda"),
        on_cpu=("--device", "cpu"),
    ),
    Benchmark(
        "Families",
        "bench_families.py",
        "CPU time of a frame by stage, parameters and memory of every family; benchmarks/FAMILIES.md also has 1024 px.",
        on_gpu=("--imgsz", "512"),
        on_cpu=("--imgsz", "512"),
    ),
    Benchmark("Start-up", "bench_startup.py", "From a command to its end.", needs_torch=False),
    Benchmark(
        "Writing results", "bench_append.py", "A finished object's rows, on the disk before the next object begins.", needs_torch=False
    ),
)


def device_kind() -> str | None:
    """`cuda` or `cpu`; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    return "cuda" if torch.cuda.is_available() else "cpu"


def run(benchmark: Benchmark, kind: str | None, quick: bool) -> tuple[str, bool]:
    """The section of one benchmark, and whether it went well."""
    if benchmark.needs_torch and kind is None:
        return "Not run: torch is not installed.", True
    options = ("--quick",) if quick else benchmark.on_gpu if kind == "cuda" else benchmark.on_cpu
    command = [f"benchmarks/{benchmark.script}", *options]
    # bars of libraries would fill the terminal
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        print(done.stderr, file=sys.stderr)
        return f"`.venv/bin/python {' '.join(command)}` failed with exit status {done.returncode}: {last}", False
    return f"`.venv/bin/python {' '.join(command)}`\n\n{done.stdout.strip()}", True


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run all benchmarks of the benchmark's own parts and write one markdown file.")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="file to write (default: %(default)s)")
    parser.add_argument("--only", metavar="LIST", help="run these scripts alone, by the name after bench_, for example metrics,startup")
    parser.add_argument("--quick", action="store_true", help="a few small rounds of each, to see that they work")
    arguments = parser.parse_args(argv)
    known = {benchmark.script.removeprefix("bench_").removesuffix(".py"): benchmark for benchmark in BENCHMARKS}
    names = arguments.only.split(",") if arguments.only else list(known)
    if unknown := set(names) - known.keys():
        parser.error(f"{', '.join(sorted(unknown))}: choose of {', '.join(known)}")
    kind = device_kind()
    sections, well = [], True
    for name in names:
        print(f"{known[name].title} ...", file=sys.stderr, flush=True)
        text, went_well = run(known[name], kind, arguments.quick)
        sections.append(f"## {known[name].title}\n\n{known[name].about}\n\n{text}\n")
        well &= went_well
    today = datetime.datetime.now(datetime.timezone.utc).date()
    head = (
        "# What the benchmark's own parts cost\n\n"
        f"Written by `.venv/bin/python -m benchmarks.run_all` on {today}, version {benchmark_version()}.\n"
    )
    notes = f"\n{machine()}.\n" + ("\n**A quick run: the numbers mean nothing.**\n" if arguments.quick else "")
    arguments.out.write_text("\n".join([head + notes, *sections]), encoding="utf-8")
    print(f"written to {arguments.out}", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
