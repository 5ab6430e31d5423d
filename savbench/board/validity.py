"""Whether a row was measured under conditions that allow comparing its times with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.results.rows import VALID

if TYPE_CHECKING:
    from savbench.results.power import PowerSummary

MAX_START_C = 70.0
"""A board that starts hotter than this may reach its throttling point (about 95 to 99 C on Orin modules) during the clip."""
MAX_BACKGROUND_CPUS = 0.5
"""Other programs that keep half a CPU busy delay the thread that feeds the GPU now and then, and on a board use memory bandwidth and power.
The jtop service with ten readings a second stays below this (0.14 CPU measured on a desktop) and leaves room for an idle desktop; a build,
a busy browser or a second run exceeds it."""
MAX_BACKGROUND_GPU_PCT = 5.0
"""A desktop in use takes a few percent of a GPU; a second program that computes on the GPU delays every frame."""
CLOCKS_NOT_LOCKED = "clocks not locked (sudo scripts/lock_clocks.sh)"
CLOCKS_UNKNOWN = "whether the GPU's clock is locked cannot be read; see sudo jetson_clocks --show, and leave out --strict if it is"


def judge(conditions: PowerSummary, background_cpus: float | None = None) -> str:
    """`ok`, or all reasons not to compare the row's times, separated by `; `. Empty if neither clocks nor heat were read and nothing else
    is
        wrong.

    Only values that were read are judged: a source without a power mode does not make a row invalid.
    """
    known = (
        conditions.throttle_events,
        conditions.temperature_start_c,
        conditions.nvpmodel or None,
        conditions.jetson_clocks or None,
    )
    wrong = []
    if conditions.throttle_events:
        wrong.append(f"throttled ({conditions.throttle_reasons})")
    if "off" in conditions.jetson_clocks.split(" > "):
        wrong.append(CLOCKS_NOT_LOCKED)
    if " > " in conditions.nvpmodel:
        wrong.append(f"power mode changed ({conditions.nvpmodel})")
    if conditions.swap_io_mib:
        wrong.append(f"swap touched ({conditions.swap_io_mib:.1f} MiB)")
    if conditions.temperature_start_c is not None and conditions.temperature_start_c > MAX_START_C:
        wrong.append(f"hot at the start ({conditions.temperature_start_c:.0f} C)")
    if background_cpus is not None and background_cpus > MAX_BACKGROUND_CPUS:
        wrong.append(f"background load ({background_cpus:.1f} CPUs)")
    if conditions.background_gpu_pct is not None and conditions.background_gpu_pct > MAX_BACKGROUND_GPU_PCT:
        wrong.append(f"background load ({conditions.background_gpu_pct:.0f}% of the GPU)")
    if not wrong and all(value is None for value in known):
        return ""
    return "; ".join(wrong) or VALID
