"""What scoring beside timed frames costs them: latency and energy with it held back until no frame is timed, and without.

    python benchmarks/bench_scoring.py [--models sam2_tiny_mask] [--device cuda] [--power jtop]

A second process scores an object while the next one is tracked. With --strict, --min_time and --min_frames the tracker waits for it
instead. Whole runs of the benchmark take turns, equal but for `--min_frames 1`, which holds scoring back and asks for no more frames than a
clip has. Factors are medians over the rounds of beside over held back. The first object of an arm is left out: nothing is scored during it.

Energy is above idle power, per frame, where a power source is read. Expect more of a difference where CPU and GPU share memory, power and
heat, as on a board, than where they have their own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ROOT, machine, ratio, table, take_turns
from savbench.data.demo.split import MIN_DEMO_FRAMES, generate_demo_split
from savbench.results.csv_rows import read_rows
from savbench.results.frame_rows import FrameRow
from savbench.results.latency import LatencySamples
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import FRAMES, SUMMARY

HEIGHT, WIDTH = 720, 1280
WORK: Mapping[str, tuple[str, ...]] = {"scores": (), "scores, overlays and masks": ("--save_overlays", "--save_masks")}
"""What the second process does, and the flags for it."""
HELD_BACK = ("--min_frames", "1")


@dataclass(frozen=True)
class Figures:
    """Of one run, over all objects but the first."""

    p50_ms: float
    p99_ms: float
    energy_j: float | None
    """Of a frame."""


def run(folder: Path, split: Path, flags: Sequence[str]) -> Figures:
    """Run the benchmark in a process of its own and read its folder.

    Raises:
        SystemExit: a row is not ok, or there is none.
    """
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "jetson_benchmark.py", "--split_dir", str(split), "--out_dir", out, *flags]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit status {done.returncode}:\n{done.stderr}{done.stdout}")
        rows = read_rows(SummaryRow, Path(out) / SUMMARY)[1:]
        later = {row.key for row in rows}
        frames = [frame.latency_ms for frame in read_rows(FrameRow, Path(out) / FRAMES) if frame.key in later]
    samples = LatencySamples(ms for ms in frames if ms is not None)
    assert samples.p50 is not None
    assert samples.p99 is not None
    energies = [row.energy_j_per_frame for row in rows if row.energy_j_per_frame is not None]
    return Figures(samples.p50, samples.p99, statistics.fmean(energies) if energies else None)


def measure(folder: Path, split: Path, what: str, flags: Sequence[str], rounds: int) -> list[str]:
    found: dict[str, list[Figures]] = {"held back": [], "beside": []}

    def take(name: str, more: Sequence[str]) -> float:
        found[name].append(run(folder, split, [*flags, *more]))
        return found[name][-1].p99_ms

    take_turns({"held back": lambda: take("held back", HELD_BACK), "beside": lambda: take("beside", ())}, rounds)
    cells = [what]
    for figure in ("p50_ms", "p99_ms", "energy_j"):
        samples = {name: [getattr(one, figure) for one in figures] for name, figures in found.items()}
        if any(value is None for values in samples.values() for value in values):
            cells += ["", "", ""]
            continue
        medians = [f"{statistics.median(samples[name]):.2f}" for name in found]
        cells += [*medians, f"{ratio(samples, 'beside', 'held back'):.3f}x"]
    return cells


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of scoring beside timed frames, as a markdown table.")
    parser.add_argument("--models", default="sam2_nano_mask", help="as of a run (default: %(default)s)")
    parser.add_argument("--random_weights", action="store_true", help="for a model whose weights are not there")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--power", default="auto", help="as of a run (default: %(default)s)")
    parser.add_argument("--videos", type=int, default=3, help="of four objects each (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=48, help="of a video (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short run of a baseline, to see that it works")
    arguments = parser.parse_args(argv)
    if min(arguments.rounds, arguments.videos) < 1 or arguments.frames < MIN_DEMO_FRAMES:
        parser.error(f"--rounds and --videos are 1 or more and --frames {MIN_DEMO_FRAMES} or more")
    height, width, work = HEIGHT, WIDTH, WORK
    if arguments.quick:
        arguments.models, arguments.power, arguments.videos, arguments.frames, arguments.rounds = (
            "static_mask",
            "none",
            1,
            MIN_DEMO_FRAMES,
            1,
        )
        height, width, work = 90, 160, dict([*WORK.items()][:1])
    flags = ["--models", arguments.models, "--device", arguments.device, "--power", arguments.power]
    flags += ["--random_weights"] if arguments.random_weights else []
    with tempfile.TemporaryDirectory() as folder:
        split = generate_demo_split(Path(folder) / "split", videos=arguments.videos, frames=arguments.frames, height=height, width=width)
        rows = [measure(Path(folder), split, what, [*flags, *more], arguments.rounds) for what, more in work.items()]
    clips = f"{arguments.videos} videos of {arguments.frames} frames of {width}x{height}"
    print(f"{machine()}, {arguments.models}, {clips}, {arguments.rounds} rounds\n")
    head = [f"{figure}, {how}" for figure in ("p50 ms", "p99 ms", "J a frame") for how in ("held back", "beside", "factor")]
    print(table(["the second process", *head], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
