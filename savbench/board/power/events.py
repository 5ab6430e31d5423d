"""Throttling and over-current events, as the board reports them.

There are three sources: alarms of the power monitors (INA3221: current above its limits now; INA238: input power above its limit),
throttle alerts of the thermal framework (a
zone above its throttling temperature now), and on Orin the SOCTHERM counters of events since boot: oc1 is under-voltage of the supply, oc2
excessive average current, oc3 excessive peak current. Each of these lowers the clocks without notifying programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from savbench.board.power.files import read_number, read_text
from savbench.board.power.rails import INPUT_MONITOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from savbench.board.power.base import Reading


class ThrottleWatch:
    """Reads alarms and counters. The files are found once; a board without them has none.

    Args:
        root: root of the file system to read.
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
            if read_text(folder / "name") == INPUT_MONITOR and (folder / "power1_max_alarm").exists():
                self._alarms["VIN max"] = folder / "power1_max_alarm"
            for path in sorted(folder.glob("oc*_event_cnt")):
                self._counters[path.name.removesuffix("_event_cnt")] = path
        for folder in sorted((root / "sys/class/thermal").glob("cooling_device*")):
            kind = read_text(folder / "type") or ""
            # other devices, such as pwm-fan and cpufreq-cpu0, are active without throttling
            if kind.endswith("-alert"):
                self._alarms[kind.removesuffix("-alert")] = folder / "cur_state"

    def alarms(self) -> frozenset[str]:
        """Alarms active now: a rail and its limit, or a thermal throttle."""
        return frozenset(name for name, path in self._alarms.items() if read_number(path))

    def events(self) -> dict[str, int]:
        """Counters of events since the machine booted."""
        counts = {name: read_number(path) for name, path in self._counters.items()}
        return {name: int(count) for name, count in counts.items() if count is not None}


def count_events(readings: Sequence[Reading]) -> dict[str, int]:
    """Number of throttling events between the first reading and the last, by cause; causes without events are left out.

    Counters are subtracted. An alarm counts once each time it is raised, and once if it is active in the first reading.
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
