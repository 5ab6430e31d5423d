"""Checks that the readings of an object's timed frames in telemetry.csv agree with the power in its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.data.csv_file import InputError, read_csv
from savbench.results.run_folder import SUMMARY
from savbench.results.sustained import SUSTAINED
from savbench.results.telemetry import TELEMETRY, TelemetryRow
from savbench.validate.findings import KEY, Table, keys_of, positions_by_key

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.validate.findings import Flags, Report

FEWEST_READINGS = 5
"""Fewest readings whose mean is compared."""
RELATIVE = 0.1
"""Relative difference allowed between the mean of the readings and the row's power: the row's is an integral over the frames, in which a
reading is weighted by the time around it. Lower power in the time between frames is allowed in addition."""


def check_telemetry(folder: Path, rows: Table, ok: Flags, report: Report) -> None:
    """Compare the mean of an object's readings in phase `timed` with power_mean_w.

    Does not compare rows of a shared session, whose readings carry the name of one of its objects, or of --sustained, whose readings of all
    rounds carry the same name.
    """
    power = rows.numbers["power_mean_w"]
    if not (ok & ~np.isnan(power)).any():
        return
    if not (folder / TELEMETRY).exists():
        report.notes.append(f"{TELEMETRY} is missing: power is not checked")
        return
    if (folder / SUSTAINED).exists():
        report.notes.append(f"{TELEMETRY} holds all rounds of --sustained: power is not checked against it")
        return
    try:
        readings = Table(read_csv(folder / TELEMETRY, ("t_s", "phase", *KEY)), TelemetryRow, report)
    except InputError as error:
        report.problems.append(str(error))
        return
    watts = readings.numbers["total_mw"] / 1e3
    watts[readings.text["phase"] != "timed"] = np.nan
    inside = positions_by_key(readings)
    alone = np.isnan(rows.numbers["session_tracks"])
    mean, limit = np.full(len(power), np.nan), np.full(len(power), np.nan)
    for row, key in enumerate(keys_of(rows)):
        of = inside.get(key, np.zeros(0, np.int64))
        # earlier readings belong to a try whose row was not kept
        of = of[readings.text["time"][of] >= rows.text["started_at"][row]]
        timed = watts[of][~np.isnan(watts[of])]
        if not (ok[row] and alone[row]) or len(timed) < FEWEST_READINGS:
            continue
        stretch_s = len(timed) * rows.numbers["power_interval_s"][row]
        within_frames = rows.numbers["frames"][row] * rows.numbers["latency_ms"][row] / 1e3 / stretch_s if stretch_s > 0 else 1.0
        between = 0.0 if np.isnan(within_frames) else max(0.0, 1 - within_frames)
        mean[row], limit[row] = timed.mean(), (RELATIVE + between) * power[row]
    rows.flag(
        report,
        np.abs(mean - power) > limit,
        lambda row: f"power_mean_w is {power[row]:.2f}, but the readings of its timed frames in {TELEMETRY} have a mean of {mean[row]:.2f}",
    )
    report.checked.append(f"power of {int((~np.isnan(mean)).sum())} rows of {SUMMARY} in {TELEMETRY}")
