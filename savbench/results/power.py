"""What the board went through while an object was timed: a part of its row in summary.csv."""

from __future__ import annotations

from dataclasses import dataclass

from savbench.arguments.declared import Compared
from savbench.results.schema import Cell, column, mapping

POWER_DETAILS = Cell("power_details", "How power was read, and what else it says.")
CONDITIONS = Cell("conditions", "What else the machine went through while the frames were timed; `validity` judges it.")


@dataclass
class PowerSummary:
    """What the readings say of one object, by the columns of its row. None where there were no or too few readings."""

    power_source: str = column(
        "Where power and the columns after it were read: `jtop` (jetson-stats' service), `sysfs` (INA3221 monitors), `nvml` (GPU), `none`.",
        default="none",
    )
    power_of: str = column(
        "What the power is that of: the module's input rail, the rails that were added up, or the GPU.", default="", cell=POWER_DETAILS
    )
    power_interval_s: float | None = column(
        "Seconds between readings as they came; another client of the jtop service may set it.", cell=POWER_DETAILS
    )
    power_readings: int | None = column("Readings from the beginning of the first timed frame to the end of the last.", cell=POWER_DETAILS)
    power_note: str = column("Why figures of power are missing. Empty where none are.", default="", cell=POWER_DETAILS)
    idle_w: float | None = column("Mean power before the arm began, with no model loaded.", cell=POWER_DETAILS)
    power_mean_w: float | None = column("Mean power over the timed frames; the decoding between them is left out. Idle power is in it.")
    power_peak_w: float | None = column("Highest reading of those that lie in a timed frame or next to one.")
    energy_j_per_frame: float | None = column(
        "Energy of a timed frame beyond idling: energy_gross_j_per_frame - idle_w * time of the frame."
    )
    energy_gross_j_per_frame: float | None = column("Energy of a timed frame, power integrated over its time.", cell=POWER_DETAILS)
    fps_per_w: float | None = column("Frames per second and watt, fps / power_mean_w: frames per joule, idle power included.")
    rails_mean_w: dict[str, float] = mapping(
        "Mean power of every rail over the timed frames, an object by their names.", cell=POWER_DETAILS
    )
    rails_peak_w: dict[str, float] = mapping("Highest such reading of every rail, likewise.", cell=POWER_DETAILS)
    temperature_start_c: float | None = column(
        "Temperature when the first timed frame began: of the junction (`tj`), or the hottest zone where there is none.",
        cell=CONDITIONS,
    )
    temperature_peak_c: float | None = column("The same at its highest, from there to the end of the last timed frame.")
    gpu_clock_min_mhz: float | None = column("Lowest clock of the GPU in readings in a timed frame or next to one.", cell=CONDITIONS)
    gpu_clock_max_mhz: float | None = column("Highest clock of the GPU in them.", cell=CONDITIONS)
    nvpmodel: str = column(
        "Power mode; where it changed, each in turn with ` > ` between them.",
        default="",
        compared=Compared.MUST_AGREE | Compared.TELLS_APART,
    )
    jetson_clocks: str = column(
        "`on` where the clocks were held at their upper limits, else `off`; a change as in nvpmodel.",
        default="",
        compared=Compared.TELLS_APART,
    )
    throttle_events: int | None = column(
        "Times that the board throttled or drew too much current from the first timed frame to the last, decoding included."
    )
    throttle_reasons: str = column(
        "What that was, `name=times` separated by `; `: an over-current counter (`oc1` under-voltage, `oc2` average, `oc3` peak current), "
        "a rail over its limit, a thermal throttle, or the GPU driver's reason.",
        default="",
        cell=CONDITIONS,
    )
    background_gpu_pct: float | None = column(
        "Part of the GPU's time in percent that other processes used while the frames were timed, with nvml, mean. Empty where the driver "
        "does not tell, as on Jetson, or not for whom, as in most containers.",
        cell=CONDITIONS,
    )
    swap_io_mib: float | None = column("Swapped in and out by the whole machine in that time. 0: swap was not touched.", cell=CONDITIONS)
