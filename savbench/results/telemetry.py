"""The schema of telemetry.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from savbench.results.schema import column

TELEMETRY = "telemetry.csv"


Phase = Literal["cooling", "idle", "warm-up", "timed", ""]


@dataclass
class TelemetryRow:
    """One reading."""

    time: str = column("When, UTC, ISO 8601.", default="")
    t_s: float | None = column("The same in seconds on a clock that runs evenly from the machine's start.")
    arm_id: str = column("As in summary.csv; the arm that was about to begin where the phase is idle or cooling.", default="")
    video: str = column("As in summary.csv; empty outside of an object.", default="")
    object: str = column("As in summary.csv; empty outside of an object.", default="")
    phase: str = column(
        "`cooling` (waiting, with --strict and --sustained), `idle` (before the arm, no model loaded), `warm-up`, `timed` (first timed "
        "frame of a pass to its last, decoding included); empty in between: building, prompting.",
        default="",
    )
    source: str = column("`jtop`, `sysfs` or `nvml`.", default="")
    total_mw: float | None = column("Power of the module, with nvml of the GPU, in mW; power_of in summary.csv says what that is.")
    rails_mw: str = column("Power of every rail in mW, `name=mW` separated by `; `.", default="")
    gpu_load_pct: float | None = column("Load of the GPU.")
    gpu_clock_mhz: float | None = column("Clock of the GPU.")
    emc_load_pct: float | None = column("Load of the memory controller.")
    emc_clock_mhz: float | None = column("Clock of the memory.")
    temperatures_c: str = column("Every thermal zone that answers, `name=C` separated by `; `.", default="")
    ram_used_mib: float | None = column("Memory in use on the whole machine, MemTotal - MemAvailable.")
    swap_used_mib: float | None = column("Swap in use, zram included.")
    fan_pct: float | None = column("Fan, in percent of its full signal.")
    nvpmodel: str = column("Power mode.", default="")
    jetson_clocks: str = column("`on` where the clocks are held at their upper limits, else `off`.", default="")
    alarms: str = column("What throttled or drew too much at that moment, separated by `; `.", default="")
