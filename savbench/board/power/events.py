"""What throttles the processor, or draws too much, as the board itself reports it.

Three reports: the alarms of the INA3221 power monitors (current above its limits now), the thermal framework's throttle alerts (a zone
above its throttling temperature now), and on Orin the SOCTHERM counters of events since boot: oc1 is under-voltage of the supply, oc2 too
high an average current, oc3 too high a current. Each of these slows the clocks down without any program being told.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from savbench.board.power.files import read_number, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from savbench.board.power.base import Reading


class ThrottleWatch:
    """The files to look at are found once; those of other boards are simply not there.

    Args:
        root: the file system to look at.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._alarms: dict[str, Path] = {}
        self._counters: dict[str, Path] = {}
        for folder in _hwmon_folders(root):
            for path in sorted(folder.glob("curr*_*_alarm")):
                channel, kind, _ = path.name.split("_", 2)
                rail = read_text(folder / f"in{channel.removeprefix('curr')}_label")
                if rail and "NC" not in rail:
                    self._alarms[f"{rail} {kind}"] = path
            for path in sorted(folder.glob("oc*_event_cnt")):
                self._counters[path.name.removesuffix("_event_cnt")] = path
        for folder in sorted((root / "sys/class/thermal").glob("cooling_device*")):
            kind = read_text(folder / "type") or ""
            # pwm-fan, cpufreq-cpu0 and the like are at work without any throttling
            if kind.endswith("-alert"):
                self._alarms[kind.removesuffix("-alert")] = folder / "cur_state"

    def alarms(self) -> frozenset[str]:
        """The alarms that are raised at this moment: a rail and which of its limits, or a thermal throttle."""
        return frozenset(name for name, path in self._alarms.items() if read_number(path))

    def events(self) -> dict[str, int]:
        """Counters since the machine booted."""
        counts = {name: read_number(path) for name, path in self._counters.items()}
        return {name: int(count) for name, count in counts.items() if count is not None}


def count_events(readings: Sequence[Reading]) -> dict[str, int]:
    """How often something throttled between the first of the readings and the last, by what it was; only what did.

    Counters are subtracted. An alarm counts once each time it is raised, and where it is raised from the beginning.
    """
    counts: dict[str, int] = {}
    raised: frozenset[str] = frozenset()
    for reading in readings:
        for name in reading.alarms - raised:
            counts[name] = counts.get(name, 0) + 1
        raised = reading.alarms
    if readings:
        before, after = readings[0].events, readings[-1].events
        counts |= {name: after[name] - before[name] for name in after if name in before and after[name] > before[name]}
    return dict(sorted(counts.items()))


def _hwmon_folders(root: Path) -> Iterable[Path]:
    found = [*(root / "sys/class/hwmon").glob("hwmon*"), *(root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*")]
    # both trees lead to the same device
    return {folder.resolve(): folder for folder in sorted(found)}.values()
