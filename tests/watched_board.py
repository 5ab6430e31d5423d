"""A board that tests can heat, throttle and unplug: a source of telemetry without hardware."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from savbench.board.power.base import PowerError, Reading, Scope
from savbench.supervise.progress import Progress

if TYPE_CHECKING:
    import io
    from collections.abc import Callable


class WatchedBoard:
    """Draws 7 W. What it tells can be changed at any time."""

    name = "watched"
    interval_s = 0.02
    scope: Scope = "module"

    def __init__(self) -> None:
        self.celsius = 45.0
        self.alarms: frozenset[str] = frozenset()
        self.jetson_clocks: bool | None = True
        self.nvpmodel = "MAXN"
        self.is_plugged = True

    def read(self) -> list[Reading]:
        if not self.is_plugged:
            raise PowerError("watched: unplugged; plug it in")
        return [
            Reading(
                t_s=time.perf_counter(),
                unix_s=time.time(),
                total_mw=7000.0,
                total_of="VDD_IN",
                temperatures_c={"tj": self.celsius},
                gpu_clock_khz=918_000.0,
                nvpmodel=self.nvpmodel,
                jetson_clocks=self.jetson_clocks,
                swap_io_mib=0.0,
                alarms=self.alarms,
            )
        ]

    def close(self) -> None:
        pass


class TellingProgress(Progress):
    """Lets a test act on what the run says and waits for."""

    def __init__(
        self, said: io.StringIO, on_say: Callable[[str], None], on_wait: Callable[[str], None], on_frame: Callable[[int], None]
    ) -> None:
        super().__init__(said, said)
        self._on_say, self._on_wait, self._on_frame = on_say, on_wait, on_frame

    def advance(self, done: int, total: int) -> None:
        super().advance(done, total)
        self._on_frame(done)

    def say(self, text: str) -> None:
        super().say(text)
        self._on_say(text)

    def wait(self, text: str) -> None:
        super().wait(text)
        self._on_wait(text)
