"""Power monitors of a board, and which of their rails make up the total.

Names and units of the files: Linux' Documentation/hwmon/ina3221.rst and ina238.rst. Which rail feeds which: docs/power.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from savbench.board.power.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails that supply all others: the carrier board's input on Thor; the module's on Orin NX, Orin Nano and Xavier NX, and on Nano."""

FED_BY = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that are part of another rail. On AGX Orin both monitors read the same 5 V, and the description of the channels that programs quote
says that VDDQ_VDD2_1V8AO power is also included in VIN_SYS_5V0 power; docs/power.md has both."""

INPUT_MONITOR = "ina238"
"""Driver of the monitor at the carrier board's input on Thor. It has one channel, named VIN."""


@dataclass(frozen=True)
class Rail:
    """One channel of a monitor."""

    name: str
    files: tuple[Path, ...]
    """Files whose product is the power in microwatts: voltage in mV and current in mA, or the power itself."""

    def read_mw(self) -> float:
        """
        Raises:
            OSError: the monitor does not answer. ValueError: the answer is not a number.
        """
        return math.prod(int(path.read_bytes()) for path in self.files) / 1000


def find_rails(root: Path) -> list[Rail]:
    """Every connected channel of every monitor: INA3221, and INA238 at the input.

    An INA3221's seventh label is the sum of its shunts, not a rail.
    """
    rails = []
    folders = {path.parent for path in (root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*/in*_label")}
    folders |= set(_folders_of("ina3221", root))
    seen: set[Path] = set()
    for folder in sorted(folders):
        # both trees show the same device
        if (device := folder.resolve()) in seen:
            continue
        seen.add(device)
        for channel in range(1, 4):
            label = read_text(folder / f"in{channel}_label")
            volt, current = folder / f"in{channel}_input", folder / f"curr{channel}_input"
            if label and "NC" not in label and volt.exists() and current.exists():
                rails.append(Rail(label, (volt, current)))
    monitor = find_input_rail(root)
    return rails if monitor is None else [monitor, *(rail for rail in rails if rail.name != monitor.name)]


def find_input_rail(root: Path) -> Rail | None:
    """The INA238 at the board's input; None if there is none."""
    for folder in _folders_of(INPUT_MONITOR, root):
        for files in ((folder / "power1_input",), (folder / "in1_input", folder / "curr1_input")):
            if all(path.exists() for path in files):
                return Rail("VIN", files)
    return None


def split_total(rails_mw: dict[str, float]) -> tuple[float, str]:
    """Take the input rail out of the rails; without one, add up those that are not part of another.

    Returns:
        The total in mW, and what it covers.
    """
    for name in INPUT_RAILS:
        if name in rails_mw:
            return rails_mw.pop(name), name
    parts = counted(rails_mw)
    return sum(rails_mw[name] for name in parts), sum_name(parts)


def counted(rails: Mapping[str, float]) -> list[str]:
    """The rails that a sum counts: those that are not part of another one here."""
    return [name for name in rails if FED_BY.get(name) not in rails]


def sum_name(rails: Iterable[str]) -> str:
    return " + ".join(sorted(rails))


def _folders_of(driver: str, root: Path) -> list[Path]:
    """Folders under /sys/class/hwmon and below I2C devices whose driver has this name."""
    candidates = [*(root / "sys/class/hwmon").glob("hwmon*"), *(root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*")]
    return sorted(folder for folder in candidates if driver in (read_text(folder / "name"), read_text(folder.parent.parent / "name")))
