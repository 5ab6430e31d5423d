"""The factor for --power_scale, from a run beside an external meter.

    .venv/bin/python -m savbench.board.power.calibrate results/RUN --meter_error 1

The run was made with --power csv:FILE: its telemetry.csv has the meter's power M and the board's own B at the same moments, idle and under
load. The factor is the rise that the meter saw over the rise that the board saw,

    gain = (mean M under load - mean M idle) / (mean B under load - mean B idle),

so that what the meter sees and the board does not (fan, disks, the carrier board) cancels as far as it is constant. Energy above idle,
energy_j_per_frame, is then right. The standard error of the gain is that of a ratio of paired means: with r = M - gain * B,
sqrt(var(mean r under load) + var(mean r idle)) / rise of B, where readings are averaged over `BLOCK_S` first because neighbours are alike.
The meter's own error, in percent of its reading, is added in quadrature.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.results.csv_rows import ResultsError, read_rows
from savbench.results.telemetry import TELEMETRY, TelemetryRow

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_S = 5.0
MIN_BLOCKS = 3
"""Blocks needed idle and under load; with fewer no error can be stated."""
MIN_RISE = 0.2
"""Part of the idle power by which the load must raise the board's own total; a smaller rise gives a factor of little use."""


class CalibrationError(RuntimeError):
    """The run gives no factor; the message says what to change."""


@dataclass(frozen=True)
class Pair:
    """The meter and the board at one moment, or their means, in watts."""

    t_s: float
    meter_w: float
    board_w: float


@dataclass(frozen=True)
class Calibration:
    idle: Pair
    load: Pair
    source: str
    gain: float
    spread: float
    """Standard error of the gain from the spread of the readings."""
    error: float
    """Standard error of the gain, the meter's own error included."""

    @property
    def flag(self) -> str:
        return f"--power_scale {self.gain:.4g}+-{self.error:.2g}"


def calibrate(rows: Sequence[TelemetryRow], meter_error_pct: float) -> Calibration:
    """
    Args:
        rows: of telemetry.csv.
        meter_error_pct: standard error of the meter in percent of its reading.

    Raises:
        CalibrationError: the meter or the board's own total is missing, or the load is too short or too small.
    """
    sources = {name.removesuffix(" total") for row in rows for name in _rails(row) if name.endswith(" total")}
    if {row.source for row in rows} != {"csv"} or len(sources) != 1:
        raise CalibrationError("the run has no meter beside the board's own monitors; run with --power csv:FILE on the board")
    (source,) = sources
    idle, load = (_blocks([_pair(row, source) for row in rows if row.phase == phase]) for phase in ("idle", "timed"))
    for name, blocks in (("idle", idle), ("under load", load)):
        if len(blocks) < MIN_BLOCKS:
            needed = f"{MIN_BLOCKS} blocks of {BLOCK_S:g} s {name} are needed"
            raise CalibrationError(f"{needed}, found {len(blocks)}; run more arms (each idles before it begins) and longer clips")
    resting, working = _mean(idle), _mean(load)
    rise_w = working.board_w - resting.board_w
    if rise_w < MIN_RISE * resting.board_w:
        raise CalibrationError(
            f"the load raises {source} by {rise_w:.2f} W over {resting.board_w:.2f} W, too little to calibrate; run a larger model"
        )
    gain = (working.meter_w - resting.meter_w) / rise_w
    spread = math.hypot(*(_error_of_mean([one.meter_w - gain * one.board_w for one in blocks]) for blocks in (idle, load))) / rise_w
    return Calibration(resting, working, source, gain, spread, math.hypot(spread, gain * meter_error_pct / 100))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m savbench.board.power.calibrate", description="Compute the factor for --power_scale.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run made with --power csv:FILE")
    parser.add_argument(
        "--meter_error", type=float, required=True, metavar="PERCENT", help="standard error of the meter in percent of its reading"
    )
    args = parser.parse_args(argv)
    if not 0 <= args.meter_error < 100:
        parser.error(f"--meter_error {args.meter_error:g}: give a percentage from 0 on, from the meter's data sheet")
    try:
        found = calibrate(read_rows(TelemetryRow, args.run / TELEMETRY, cut_off=True), args.meter_error)
    except (CalibrationError, ResultsError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    for name, pair in (("idle", found.idle), ("load", found.load)):
        print(f"{name}: {pair.meter_w:.2f} W by the meter, {pair.board_w:.2f} W by {found.source}")
    print(f"gain {found.gain:.4g}, standard error {found.error:.2g} ({found.spread:.2g} from the spread of readings, the rest the meter's)")
    print(f"constant part that {found.source} does not see: {found.idle.meter_w - found.gain * found.idle.board_w:.2f} W")
    print(found.flag)
    return 0


def _rails(row: TelemetryRow) -> dict[str, float]:
    return {name: float(value) for name, _, value in (part.rpartition("=") for part in row.rails_mw.split("; ") if part)}


def _pair(row: TelemetryRow, source: str) -> Pair | None:
    board_mw = _rails(row).get(f"{source} total")
    if board_mw is None or row.total_mw is None or row.t_s is None:
        return None
    return Pair(row.t_s, row.total_mw / 1e3, board_mw / 1e3)


def _blocks(pairs: Sequence[Pair | None]) -> list[Pair]:
    """Means over stretches of `BLOCK_S`, which need not be without gaps."""
    blocks: dict[int, list[Pair]] = {}
    for pair in pairs:
        if pair is not None:
            blocks.setdefault(int(pair.t_s // BLOCK_S), []).append(pair)
    return [_mean(block) for block in blocks.values()]


def _mean(pairs: Sequence[Pair]) -> Pair:
    return Pair(*(statistics.fmean(values) for values in zip(*((one.t_s, one.meter_w, one.board_w) for one in pairs), strict=True)))


def _error_of_mean(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


if __name__ == "__main__":
    sys.exit(main())
