"""Whether a row's figures were taken under circumstances in which they can be compared with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.results.rows import VALID

if TYPE_CHECKING:
    from savbench.results.power import PowerSummary

MAX_START_C = 70.0
"""A board that begins hotter than this may reach its throttling point (about 95 to 99 C on Orin modules) within the clip."""
MAX_BACKGROUND_CPUS = 0.5
"""Other programs that keep half a CPU busy take time from the thread that feeds the GPU now and then, and memory bandwidth and power on a
board. The jtop service stays below with ten readings a second (0.14 of a desktop's CPU were measured), and leaves room for a quiet desktop;
a build, a browser at work or a second run goes beyond."""
MAX_BACKGROUND_GPU_PCT = 5.0
"""A desktop that is looked at takes a few percent of a GPU; a second program that computes on it takes its share of every frame."""
CLOCKS_NOT_LOCKED = "clocks not locked (sudo scripts/lock_clocks.sh)"


def judge(went_through: PowerSummary, background_cpus: float | None = None) -> str:
    """`ok`, or everything that was wrong, separated by `; `. Empty where nothing was read of clocks or heat, and nothing else is wrong.

    Only what was read is judged: a source without a power mode does not make a row invalid.
    """
    known = (
        went_through.throttle_events,
        went_through.temperature_start_c,
        went_through.nvpmodel or None,
        went_through.jetson_clocks or None,
    )
    wrong = []
    if went_through.throttle_events:
        wrong.append(f"throttled ({went_through.throttle_reasons})")
    if "off" in went_through.jetson_clocks.split(" > "):
        wrong.append(CLOCKS_NOT_LOCKED)
    if " > " in went_through.nvpmodel:
        wrong.append(f"power mode changed ({went_through.nvpmodel})")
    if went_through.swap_io_mib:
        wrong.append(f"swap touched ({went_through.swap_io_mib:.1f} MiB)")
    if went_through.temperature_start_c is not None and went_through.temperature_start_c > MAX_START_C:
        wrong.append(f"hot at the start ({went_through.temperature_start_c:.0f} C)")
    if background_cpus is not None and background_cpus > MAX_BACKGROUND_CPUS:
        wrong.append(f"background load ({background_cpus:.1f} CPUs)")
    if went_through.background_gpu_pct is not None and went_through.background_gpu_pct > MAX_BACKGROUND_GPU_PCT:
        wrong.append(f"background load ({went_through.background_gpu_pct:.0f}% of the GPU)")
    if not wrong and all(value is None for value in known):
        return ""
    return "; ".join(wrong) or VALID
