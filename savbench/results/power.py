"""Power, temperature, clocks and load while an object was timed: columns of summary.csv."""

from __future__ import annotations

from dataclasses import dataclass

from savbench.arguments.declared import Compared
from savbench.results.schema import Cell, column, mapping

POWER_DETAILS = Cell("power_details", "How power was read, and further figures of power.")
CONDITIONS = Cell("conditions", "Conditions of the machine while the frames were timed, which `validity` is derived from.")


@dataclass
class PowerSummary:
    """Figures from the readings during one object, by column. None if there were no or too few readings."""

    power_source: str = column(
        "Source of power and the following columns: `jtop` (jetson-stats' service), `sysfs` (the kernel's power monitors), `nvml` (GPU), "
        "`csv` (an external meter), `none`.",
        default="none",
    )
    power_reason: str = column(
        "Why this source: named with --power, or the first that answered, and why those asked before it did not.",
        default="",
        cell=POWER_DETAILS,
    )
    power_of: str = column(
        "What the power covers: the input rail (`VIN`: of the carrier board; `VDD_IN`: of the module), the rails that were added up, the "
        "GPU, or the external meter.",
        default="",
        cell=POWER_DETAILS,
        compared=Compared.TELLS_APART,
    )
    power_scale: float | None = column(
        "--power_scale: factor that the total power was multiplied by, idle included; rails are as read. 1: none.",
        cell=POWER_DETAILS,
        compared=Compared.TELLS_APART,
    )
    power_scale_error: float | None = column("Standard error of that factor, as given with it.", cell=POWER_DETAILS)
    power_interval_s: float | None = column(
        "Measured seconds between readings; another client of the jtop service may set it.", cell=POWER_DETAILS
    )
    power_readings: int | None = column("Readings from the start of the first timed frame to the end of the last.", cell=POWER_DETAILS)
    power_note: str = column("Why figures of power are missing. Empty: none are.", default="", cell=POWER_DETAILS)
    idle_w: float | None = column("Mean power before the arm started, with no model loaded.", cell=POWER_DETAILS)
    power_mean_w: float | None = column("Mean power over the timed frames, without the decoding between them. Includes idle power.")
    power_peak_w: float | None = column("Highest reading in or next to a timed frame.")
    energy_j_per_frame: float | None = column("Energy of a timed frame above idle: energy_gross_j_per_frame - idle_w * time of the frame.")
    energy_gross_j_per_frame: float | None = column("Energy of a timed frame: power integrated over its time.", cell=POWER_DETAILS)
    fps_per_w: float | None = column("Frames per second and watt, fps / power_mean_w: frames per joule, idle power included.")
    all_rails_mean_w: float | None = column(
        "Mean power if every rail is added up, as jtop does on AGX Orin: counts VDDQ_VDD2_1V8AO twice, which is part of VIN_SYS_5V0 and so "
        "not added in power_mean_w. Empty where no rail is part of another.",
        cell=POWER_DETAILS,
    )
    rails_mean_w: dict[str, float] = mapping(
        "Mean power of every rail over the timed frames, by name of the rail; with `csv` also the total of the board's own source, for "
        "example `sysfs total`.",
        cell=POWER_DETAILS,
    )
    rails_peak_w: dict[str, float] = mapping(
        "Highest reading of every rail in or next to a timed frame, by name of the rail.", cell=POWER_DETAILS
    )
    temperature_start_c: float | None = column(
        "Temperature at the start of the first timed frame: of the junction (`tj`), or of the hottest zone if there is no `tj`.",
        cell=CONDITIONS,
    )
    temperature_peak_c: float | None = column("Highest such temperature from then to the end of the last timed frame.")
    gpu_clock_min_mhz: float | None = column("Lowest GPU clock among readings in or next to a timed frame.", cell=CONDITIONS)
    gpu_clock_max_mhz: float | None = column("Highest GPU clock among them.", cell=CONDITIONS)
    nvpmodel: str = column(
        "Power mode; if it changed, all modes in order, separated by ` > `.",
        default="",
        compared=Compared.MUST_AGREE | Compared.TELLS_APART,
    )
    jetson_clocks: str = column(
        "`on` if the clocks were fixed at their upper limits, else `off`; a change is written as in nvpmodel.",
        default="",
        compared=Compared.TELLS_APART,
    )
    throttle_events: int | None = column(
        "Number of times that the board throttled or drew too much current from the first timed frame to the last, decoding included."
    )
    throttle_reasons: str = column(
        "Causes of these events, `name=count` separated by `; `: over-current counters (`oc1` under-voltage, `oc2` average, `oc3` peak), "
        "a rail over its limit, a thermal throttle, or the GPU driver's reason.",
        default="",
        cell=CONDITIONS,
    )
    background_gpu_pct: float | None = column(
        "Mean percentage of GPU time that other processes used while the frames were timed; needs nvml. Empty if the driver "
        "does not report it, as on Jetson, or not by process, as in most containers.",
        cell=CONDITIONS,
    )
    swap_io_mib: float | None = column("MiB swapped in and out by the whole machine in that time. 0: swap was not used.", cell=CONDITIONS)
