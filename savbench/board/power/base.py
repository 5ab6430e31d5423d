"""The interface of telemetry sources, and their readings."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from savbench.arguments.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

Scope = Literal["module", "gpu"]
"""`module`: of the module, or of more around it."""


class PowerError(UserError, RuntimeError):
    """A source cannot be read, or has failed; the message says what to do."""


@dataclass(frozen=True)
class Reading:
    """The state of the board at one moment. Values that the source does not report are None or missing."""

    t_s: float
    """`time.perf_counter()`, which on Linux all processes share, so that frames timed in a worker can be matched."""
    unix_s: float
    """Wall clock, seconds since 1970 UTC."""
    total_mw: float | None = None
    """Total power of what the source measures."""
    total_of: str = ""
    """What `total_mw` covers: a rail, the rails that were added, or the GPU."""
    rails_mw: Mapping[str, float] = field(default_factory=dict)
    """Power by rail, without the rail that is the total."""
    gpu_load_pct: float | None = None
    gpu_others_pct: float | None = None
    """Percentage of GPU time used by processes outside the benchmark since the last reading."""
    gpu_clock_khz: float | None = None
    emc_pct: float | None = None
    """Load of the memory controller in percent."""
    emc_khz: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    """By thermal zone, in lower case and without endings such as `-therm`; offline sensors are left out."""
    ram_used_mib: float | None = None
    """MemTotal - MemAvailable of the machine."""
    swap_used_mib: float | None = None
    swap_io_mib: float | None = None
    """MiB swapped in and out since the machine booted."""
    fan_pct: float | None = None
    nvpmodel: str | None = None
    """Power mode."""
    jetson_clocks: bool | None = None
    """Whether clocks are fixed at their upper limits."""
    alarms: frozenset[str] = frozenset()
    """Throttling and over-current alarms active now."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Counters of over-current and under-voltage events since the machine booted."""

    @property
    def hottest_c(self) -> float | None:
        """Temperature of zone `tj`, by definition the chip's hottest; without it, of the hottest zone. In C."""
        return self.temperatures_c.get("tj", max(self.temperatures_c.values(), default=None))


class Sampler(Protocol):
    """One source of readings. One thread calls all methods after the constructor."""

    name: str
    """As in `POWER_SOURCES`; `csv` for a meter."""
    interval_s: float
    """Actual seconds between readings; a shared source may set them."""
    scope: Scope
    """Whether power is that of the module or only of the GPU."""

    def read(self) -> list[Reading]:
        """The readings since the last call, oldest first: one taken now, or those that the source delivered. May be empty.

        Raises:
            PowerError: the source has failed for good.
        """

    def close(self) -> None:
        """Release the source. May be called twice."""


@dataclass(frozen=True)
class Stamp:
    """One moment on both clocks, in seconds."""

    t_s: float
    unix_s: float

    @classmethod
    def now(cls) -> Stamp:
        return cls(time.perf_counter(), time.time())

    def earlier(self, seconds: float) -> Stamp:
        return Stamp(self.t_s - seconds, self.unix_s - seconds)


def check_interval(interval_s: float) -> None:
    """
    Raises:
        PowerError: the interval is out of range.
    """
    if not 0.01 <= interval_s <= 60:
        raise PowerError(f"--power_interval {interval_s:g}: give 0.01 to 60 seconds")
