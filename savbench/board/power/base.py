"""What every source of telemetry gives, and what it is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

Scope = Literal["module", "gpu"]


class PowerError(RuntimeError):
    """A source cannot be read, or not any longer; the message says what to do."""


@dataclass(frozen=True)
class Reading:
    """The state of the board at one moment. None and missing names stand for what the source does not tell."""

    t_s: float
    """`time.perf_counter()`, which on Linux is one clock for all processes, so that frames timed in a worker can be compared with it."""
    unix_s: float
    """Wall clock, seconds since 1970 UTC."""
    total_mw: float | None = None
    """Power of all that the source measures."""
    total_of: str = ""
    """What `total_mw` is: the name of a rail, the rails that were added, or the GPU."""
    rails_mw: Mapping[str, float] = field(default_factory=dict)
    """Power by rail, without the one that is the total."""
    gpu_load_pct: float | None = None
    gpu_others_pct: float | None = None
    """The part of a GPU's time that other processes than the benchmark's used lately."""
    gpu_clock_khz: float | None = None
    emc_pct: float | None = None
    """Use of the memory controller."""
    emc_khz: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    """By thermal zone in lower case, without `-therm` and the like; sensors that are offline are left out."""
    ram_used_mib: float | None = None
    """MemTotal - MemAvailable, of the machine."""
    swap_used_mib: float | None = None
    swap_io_mib: float | None = None
    """Swapped in and out since the machine booted."""
    fan_pct: float | None = None
    nvpmodel: str | None = None
    """Power mode."""
    jetson_clocks: bool | None = None
    """Whether clocks are held at their upper limits."""
    alarms: frozenset[str] = frozenset()
    """What throttles the processor or draws too much at this moment."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Counters of over-current and under-voltage events since the machine booted."""

    @property
    def hottest_c(self) -> float | None:
        """Junction temperature, which is the hottest of the chip's by definition; where there is none the hottest zone."""
        return self.temperatures_c.get("tj", max(self.temperatures_c.values(), default=None))


class Sampler(Protocol):
    """One source of readings. All its methods are called from one thread, after the constructor."""

    name: str
    """As in `POWER_SOURCES`."""
    interval_s: float
    """Seconds between readings as they will really come, which a source that others share may set."""
    scope: Scope
    """Whether power is that of the module or of the GPU alone."""

    def read(self) -> list[Reading]:
        """The readings since the last call, oldest first: one taken now, or those that came by themselves. May be none.

        Raises:
            PowerError: the source is gone and will not come back.
        """

    def close(self) -> None:
        """Let go of the source. May be called twice."""


@dataclass(frozen=True)
class Stamp:
    """One moment on both clocks."""

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
        PowerError: readings cannot come at this interval.
    """
    if not 0.01 <= interval_s <= 60:
        raise PowerError(f"--power_interval {interval_s:g}: give between 0.01 and 60 seconds")
