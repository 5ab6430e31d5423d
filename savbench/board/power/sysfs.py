"""Readings from /sys: power monitors, thermal zones, clocks, fan. Needs no service and no root.

Names and units of the files: Linux' Documentation/driver-api/thermal/sysfs-api.rst and NVIDIA's Jetson Linux Developer Guide, "Platform
Power and Performance". The memory controller's load, and on Orin its clock, are missing for users other than root, who alone may read them.
Thor's kernel shows no load of the GPU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.board.jetsons import gpu_clocks, loose_gpu_clock
from savbench.board.memory import swap_io_mib, system_memory, unified_memory
from savbench.board.power.base import PowerError, Reading, Scope, Stamp, check_interval
from savbench.board.power.events import ThrottleWatch
from savbench.board.power.files import read_number, read_text
from savbench.board.power.rails import find_rails, split_total

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILURES_IN_A_ROW = 10
"""Failures in a row after which the source counts as gone; fewer are ignored, since a busy I2C bus sometimes refuses a read."""


class SysfsSampler:
    """Reads the files once per call.

    Args:
        interval_s: seconds between readings; the caller keeps this interval.
        root: root of the file system to read.

    Raises:
        PowerError: there is no power monitor, or it may not be read.
    """

    name = "sysfs"
    scope: Scope = "module"

    def __init__(self, interval_s: float, root: Path = Path("/")) -> None:
        check_interval(interval_s)
        self.interval_s = interval_s
        self._root = root
        self._rails = find_rails(root)
        if not self._rails:
            raise PowerError(_no_rails(root))
        try:
            for rail in self._rails:
                rail.read_mw()
        except (OSError, ValueError) as error:
            raise PowerError(f"sysfs: the power monitor cannot be read ({error}); run as root, or use --power jtop") from error
        self._zones = find_zones(root)
        self._gpu = gpu_clocks(root)
        self._fan = _find_fan(root)
        self._throttle = ThrottleWatch(root)
        self._modes = _power_modes(root)
        self._failures = 0

    def read(self) -> list[Reading]:
        begun = Stamp.now()
        try:
            rails_mw = {rail.name: rail.read_mw() for rail in self._rails}
        except (OSError, ValueError) as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise PowerError(f"sysfs: the power monitor stopped answering ({error}); see `dmesg`") from error
            return []
        self._failures = 0
        # on average, a rail is read half way through
        stamp = begun.earlier((begun.t_s - Stamp.now().t_s) / 2)
        total_mw, total_of = split_total(rails_mw)
        memory = system_memory(self._root)
        emc_khz, emc_pct = self._emc()
        return [
            Reading(
                t_s=stamp.t_s,
                unix_s=stamp.unix_s,
                total_mw=total_mw,
                total_of=total_of,
                rails_mw=rails_mw,
                gpu_load_pct=_scaled(self._gpu[0] / "device/load", 0.1) if self._gpu else None,
                gpu_clock_khz=_scaled(self._gpu[0] / "cur_freq", 1e-3) if self._gpu else None,
                emc_pct=emc_pct,
                emc_khz=emc_khz,
                temperatures_c=read_zones(self._zones),
                ram_used_mib=memory.used_mib,
                swap_used_mib=memory.swap_used_mib,
                swap_io_mib=swap_io_mib(self._root),
                fan_pct=None if self._fan is None else _scaled(self._fan, 100 / 255),
                nvpmodel=self._nvpmodel(),
                jetson_clocks=self._clocks_fixed(),
                alarms=self._throttle.alarms(),
                events=self._throttle.events(),
            )
        ]

    def close(self) -> None:
        pass

    def _emc(self) -> tuple[float | None, float | None]:
        """Clock in kHz and load in percent of the memory controller, whose activity monitor counts kHz times percent."""
        kernel = self._root / "sys/kernel"
        khz = _scaled(kernel / "debug/bpmp/debug/clk/emc/rate", 1e-3)
        if khz is None:  # Thor
            khz = _scaled(self._root / "sys/class/devfreq/bwmgr/cur_freq", 1e-3)
        for name in ("debug/cactmon/mc_all", "debug/bpmp/debug/actmon/mc_all_avg_activity", "actmon_avg_activity/mc_all"):
            activity = read_number(kernel / name)
            if activity is not None:
                return khz, activity / khz if khz else None
        return khz, None

    def _nvpmodel(self) -> str | None:
        """Name of the power mode. `nvpmodel` writes the number to its status file, for example `pmode:0002`, and has names in its
        configuration."""
        state = re.search(r"pmode:(\d+)", read_text(self._root / "var/lib/nvpmodel/status") or "")
        if state is None:
            return None
        number = int(state[1])
        return self._modes.get(number, str(number))

    def _clocks_fixed(self) -> bool | None:
        """Whether all lower clock limits equal the upper ones, as jetson_clocks sets them. None: they do, but the GPU's are not shown."""
        policies = sorted((self._root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
        limits = [(read_number(policy / "scaling_min_freq"), read_number(policy / "scaling_max_freq")) for policy in policies]
        gpu_is_loose = loose_gpu_clock(self._gpu)
        if gpu_is_loose or any(low != high for low, high in limits if low is not None and high is not None):
            return False
        return None if gpu_is_loose is None else True


def find_zones(root: Path) -> dict[str, Path]:
    """Files with the temperature of every thermal zone in thousandths of a degree C, by the zone's short name."""
    zones: dict[str, Path] = {}
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0)):
        kind = read_text(folder / "type")
        if kind:
            zones.setdefault(zone_name(kind), folder / "temp")
    return zones


def zone_name(kind: str) -> str:
    """Short name of a zone: `cpu` for `CPU-therm` and `cpu-thermal`, so that JetPack releases and telemetry sources agree."""
    return re.split("[-_]", kind, maxsplit=1)[0].lower()


def read_zones(zones: Mapping[str, Path]) -> dict[str, float]:
    """Temperatures in C of the zones that can be read; a zone whose part of the chip is off cannot."""
    values = {name: _scaled(path, 1e-3) for name, path in zones.items()}
    return {name: value for name, value in values.items() if value is not None}


def _no_rails(root: Path) -> str:
    if unified_memory(root):
        return (
            "sysfs: no power monitor (INA3221, INA238) under /sys/bus/i2c/devices; on this Jetson check `cat /sys/class/hwmon/*/name` "
            "(in a container mount /sys), or use --power none"
        )
    return "sysfs: this is not a Jetson and has no INA3221 power monitor; use --power nvml for a GPU, or --power none"


def _find_fan(root: Path) -> Path | None:
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(folder / "name") == "pwmfan" and (folder / "pwm1").exists():
            return folder / "pwm1"
    return None


def _power_modes(root: Path) -> dict[int, str]:
    text = read_text(root / "etc/nvpmodel.conf") or ""
    return {int(number): name for number, name in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text)}


def _scaled(path: Path, factor: float) -> float | None:
    value = read_number(path)
    return None if value is None else value * factor
