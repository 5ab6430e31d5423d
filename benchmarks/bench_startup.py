"""How long a command takes to start: --help, a comparison of two results files as large as SA-V val, and the supervisor's imports.

    python benchmarks/bench_startup.py

Every command is a process of its own, with its files in the page cache; `python -c pass` is what an interpreter takes that does nothing.
The commands take turns. CPU ms are what the process computed, which other programs on the machine leave as it is.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ROOT, machine, table, take_turns, timed
from savbench.results.csv_rows import header_line, row_line
from savbench.results.rows import SummaryRow

VIDEOS, OBJECTS = 155, 293
"""Of SA-V val."""


def write_summary(path: Path, slower: float) -> None:
    """A summary.csv of one arm over as many objects as SA-V val has."""
    rows = []
    for number in range(OBJECTS):
        wave = 1 + 0.1 * ((number * 37) % 11) / 11
        row = SummaryRow(video=f"sav_{number % VIDEOS:06d}", object=f"{number // VIDEOS:03d}", model="sam2_tiny", prompt="points")
        row.imgsz, row.autocast_dtype, row.attention, row.arm_id, row.run_id = 1024, "bfloat16", "auto", "sam2_tiny_points", str(path)
        row.frames, row.status, row.seed, row.weights, row.device = 300, "ok", 0, "0" * 64, "cuda"
        row.latency_ms = row.latency_p50_ms = row.latency_p90_ms = 25 * wave * slower
        row.fps = 1e3 / row.latency_ms
        row.J = row.F = row.JandF = 0.7 * wave
        rows.append(row)
    path.write_text(header_line(SummaryRow) + "".join(map(row_line, rows)), encoding="utf-8")


def start(arguments: list[str]) -> float:
    """Run a command of this interpreter to its end. Returns the milliseconds that it computed."""
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, arguments)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Seconds that commands take to start, as a markdown table.")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each command (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one run of each, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds is 1 or more")
    rounds = 1 if arguments.quick else arguments.rounds
    entry = str(ROOT / "jetson_benchmark.py")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("before.csv", "after.csv")]
        for path, slower in zip(files, (1.0, 1.05), strict=True):
            write_summary(path, slower)
        commands = {
            "`python -c pass`": ["-c", "pass"],
            "`jetson_benchmark.py --help`": [entry, "--help"],
            "`import savbench.supervise.run`": ["-c", "import savbench.supervise.run"],
            f"`jetson_benchmark.py compare` of two files of {OBJECTS} objects": [entry, "compare", *map(str, files)],
        }

        for command in commands.values():
            start(command)  # byte code and page cache
        cpu_ms: dict[str, list[float]] = {name: [] for name in commands}

        def timed_start(name: str) -> None:
            cpu_ms[name].append(start(commands[name]))

        samples = take_turns({name: timed(functools.partial(timed_start, name)) for name in commands}, rounds)
    print(f"{machine()}, {rounds} rounds\n")
    rows = [
        [name, *(f"{value:.0f}" for value in (statistics.median(ms), min(ms), statistics.median(cpu_ms[name])))]
        for name, ms in samples.items()
    ]
    print(table(["command", "median ms", "fastest ms", "CPU ms"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
