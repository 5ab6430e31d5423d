"""How fast finished objects reach the disk: rows appended to summary.csv and frames.csv, each fsynced before the next object begins.

    python benchmarks/bench_append.py --dir /data/results

The same text written to a file that is only closed at the end says what of that is the disk's. Give a folder on the disk that results go
to; on a tmpfs an fsync does nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import machine, ratio, table, take_turns, timed
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import row_line
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import RunFolder


def finished(number: int, frames: int) -> tuple[SummaryRow, list[FrameRow]]:
    """An object with figures in every column that matters for length."""
    row = SummaryRow(
        video=f"sav_{number:06d}", object="000", model="sam2_tiny", prompt="points", status="ok", arm_id="sam2_tiny_points-12345678"
    )
    row.latency_ms, row.fps, row.J, row.F, row.JandF = 25.123456789, 39.8034, 0.75123, 0.81234, 0.781785
    row.sdpa_kernels, row.weights, row.notes = "flash:23 efficient:4", "0" * 64, "holes are filled by OpenCV"
    rows = [
        FrameRow(row.arm_id, row.video, row.object, frame=index, latency_ms=25.123456789, decode_ms=11.987654321) for index in range(frames)
    ]
    return row, rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Milliseconds to append a finished object's rows, as a markdown table.")
    parser.add_argument("--dir", type=Path, default=Path(), help="folder on the disk to write to (default: the current one)")
    parser.add_argument("--rounds", type=int, default=50, help="objects appended (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="frames of an object (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few objects, to see that it works")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 1:
        parser.error("--rounds and --frames are 1 or more")
    rounds = 3 if arguments.quick else arguments.rounds
    config = RunConfig(split_dir=arguments.dir, models=("static_mask",))
    with tempfile.TemporaryDirectory(prefix="bench_append_", dir=arguments.dir) as scratch:
        path = Path(scratch)
        with RunFolder(path / "run", config, "sav_val") as folder, (path / "plain").open("w", encoding="utf-8") as plain:
            objects = {"appended": iter(range(rounds)), "written": iter(range(rounds))}

            def append() -> None:
                folder.append(*finished(next(objects["appended"]), arguments.frames))

            def write() -> None:
                row, frames = finished(next(objects["written"]), arguments.frames)
                plain.write("".join(map(row_line, frames)) + row_line(row))

            samples = take_turns({"appended": timed(append), "written": timed(write)}, rounds)
    print(f"{machine()}, {rounds} objects of {arguments.frames} frames\n")
    ms, other = (statistics.median(samples[name]) for name in ("appended", "written"))
    cells = [[str(arguments.frames), f"{ms:.1f}", f"{1e3 / ms:.0f}", f"{max(samples['appended']):.1f}", f"{other:.1f}"]]
    head = ["frames of an object", "appended and fsynced, ms", "objects/s", "slowest, ms", "without fsync, ms", "factor"]
    print(table(head, [[*cells[0], f"{ratio(samples, 'appended', 'written'):.1f}x"]], left=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
