"""Whether a row's figures were taken under circumstances in which they can be compared with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from savbench.power.energy import PowerSummary

MAX_START_C = 70.0
"""A board that begins hotter than this may reach its throttling point (about 95 to 99 C on Orin modules) within the clip."""
OK = "ok"


def judge(went_through: PowerSummary) -> str:
    """`ok`, or everything that was wrong, separated by `; `. Empty where the source of telemetry tells nothing of clocks or heat.

    Only what was read is judged: a source without a power mode does not make a row invalid.
    """
    known = (
        went_through.throttle_events,
        went_through.temperature_start_c,
        went_through.nvpmodel or None,
        went_through.jetson_clocks or None,
    )
    if all(value is None for value in known):
        return ""
    wrong = []
    if went_through.throttle_events:
        wrong.append(f"throttled ({went_through.throttle_reasons})")
    if "off" in went_through.jetson_clocks.split(" > "):
        wrong.append("clocks not locked (sudo scripts/lock_clocks.sh)")
    if " > " in went_through.nvpmodel:
        wrong.append(f"power mode changed ({went_through.nvpmodel})")
    if went_through.swap_io_mib:
        wrong.append(f"swap touched ({went_through.swap_io_mib:.1f} MiB)")
    if went_through.temperature_start_c is not None and went_through.temperature_start_c > MAX_START_C:
        wrong.append(f"hot at the start ({went_through.temperature_start_c:.0f} C)")
    return "; ".join(wrong) or OK
