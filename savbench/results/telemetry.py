"""The schema of telemetry.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from savbench.results.schema import column

TELEMETRY = "telemetry.csv"


Phase = Literal["cooling", "idle", "warm-up", "timed", ""]


@dataclass
class TelemetryRow:
    """One reading of the board."""

    time: str = column("Time of the reading, UTC, ISO 8601.", default="")
    t_s: float | None = column("The same in seconds on a monotonic clock since the machine's start.")
    arm_id: str = column("As in summary.csv; in the phases idle and cooling, the arm about to begin.", default="")
    video: str = column("As in summary.csv; empty between objects.", default="")
    object: str = column("As in summary.csv; empty between objects.", default="")
    phase: str = column(
        "`cooling` (waiting, with --strict and --sustained), `idle` (before the arm, no model loaded), `warm-up`, `timed` (first timed "
        "frame of a pass to its last, decoding included); empty during building and prompting.",
        default="",
    )
    source: str = column("`jtop`, `sysfs`, `nvml` or `csv`.", default="")
    total_mw: float | None = column("Power in mW of the module, with nvml of the GPU; power_of in summary.csv says of which rails.")
    rails_mw: str = column("Power of every rail in mW, `name=mW` separated by `; `.", default="")
    gpu_load_pct: float | None = column("Load of the GPU in percent.")
    gpu_clock_mhz: float | None = column("Clock of the GPU in MHz.")
    emc_load_pct: float | None = column("Load of the memory controller in percent.")
    emc_clock_mhz: float | None = column("Clock of the memory in MHz.")
    temperatures_c: str = column("Temperature in C of every thermal zone that can be read, `name=C` separated by `; `.", default="")
    ram_used_mib: float | None = column("Memory in use on the whole machine, MemTotal - MemAvailable.")
    swap_used_mib: float | None = column("Swap in use, zram included.")
    fan_pct: float | None = column("Fan control signal in percent of its maximum.")
    nvpmodel: str = column("Power mode.", default="")
    jetson_clocks: str = column("`on` if the clocks are fixed at their upper limits, else `off`.", default="")
    alarms: str = column("Throttling and over-current alarms active at the reading, separated by `; `.", default="")
