"""--memory_budget: forecasts an arm's peak memory from its first clip, so that an arm that does not fit ends before the board thrashes.

The worker measures the memory that holds the model: the whole machine's if CPU and GPU share it, torch's GPU memory if the GPU has its own,
this process' resident memory on a CPU. The use after building the model is the weights, including libraries. The first clip's peak above
that is the workspace. Use that grows with every frame is the state: about nothing if the memory is bounded, 13 MiB and more per frame for a
tracker that keeps all frames.

The forecast is for the longest clip, the largest frame and the most objects per session that the arm will run. It is computed when the
model is built, from the weights alone; during the first clip, as soon as its growth can be estimated; and at the end of that clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from savbench.board.cgroup import available_mib
from savbench.board.memory import system_memory
from savbench.measure.memory import rss_mib
from savbench.plan.extent import Extent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.measure.devices import Device
    from savbench.results.rows import SummaryRow

SETTLED_FRAMES = 16
"""Frames after which a bounded memory bank is full: SAM 2 keeps 7 memories and 16 object pointers."""
FEWEST_FRAMES = 8
"""Frames needed after settling to estimate growth."""


@dataclass(frozen=True)
class Forecast:
    """Forecast peak memory of an arm, in MiB."""

    weights: float
    workspace: float = 0.0
    frames: float = 0.0
    state: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.workspace + self.frames + self.state

    def columns(self) -> dict[str, float]:
        """Values by column of summary.csv."""
        parts = {name: getattr(self, name) for name in ("weights", "workspace", "frames", "state")}
        return {"forecast_MiB": self.total, **{f"forecast_{name}_MiB": value for name, value in parts.items()}}

    def in_words(self) -> str:
        parts = ", ".join(f"{name} {size_in_words(getattr(self, name))}" for name in ("weights", "workspace", "frames", "state"))
        return f"{size_in_words(self.total)} ({parts})"


def growth_mib(used_mib: Sequence[float]) -> float | None:
    """Growth per frame after a clip has settled, in MiB; None if the clip is too short to estimate it.

    The slope of the least-squares line, or 0 if it is not above twice its standard error: otherwise memory that an allocator releases late
    would count as growth, multiplied by the frames of the longest clip.

    Args:
        used_mib: memory in use after each frame, from the clip's first frame on.
    """
    settled = np.asarray(used_mib[SETTLED_FRAMES:], np.float64)
    if settled.size < FEWEST_FRAMES:
        return None
    at = np.arange(settled.size) - (settled.size - 1) / 2
    spread = float(at @ at)
    slope = float(at @ settled) / spread
    left_over = settled - settled.mean() - slope * at
    error = math.sqrt(float(left_over @ left_over) / (settled.size - 2) / spread)
    return slope if slope > 2 * error else 0.0


def forecast(weights_mib: float, peak_mib: float, growth: float | None, seen: Extent, largest: Extent) -> Forecast:
    """Forecast for the largest session from the first one.

    Args:
        weights_mib: memory in use after building.
        peak_mib: peak during the clip, weights included.
        growth: MiB per frame for all objects of the clip; None if unknown, which counts as 0.
        seen: extent of the clip that has run so far.
        largest: extent that the forecast is for.
    """
    state = (growth or 0.0) * seen.frames
    workspace = max(0.0, peak_mib - weights_mib - seen.frames_mib - state)
    # an upper bound: with more objects the outputs that are kept grow, the frames that are kept do not
    per_track = max(1.0, largest.tracks / seen.tracks)
    return Forecast(weights_mib, workspace, largest.frames_mib, (growth or 0.0) * largest.frames * per_track)


class MemoryBudgetError(RuntimeError):
    """The arm does not fit; the message says why, `columns` holds the forecast's columns for its rows."""

    def __init__(self, message: str, columns: dict[str, float]) -> None:
        super().__init__(message)
        self.columns = columns


class MemoryMeter:
    """Measures an arm's memory in its worker and compares forecasts with the budget. Create it before the model is built."""

    def __init__(self, budget: float | Literal["auto"], largest: Extent) -> None:
        """
        Args:
            budget: MiB, or `auto` for the memory available now.
            largest: upper bound of the sessions that the arm will run.
        """
        self._asked = budget
        self._largest = largest
        self._machine_before = system_memory().used_mib
        self._available = available_mib()
        self._rss_before = rss_mib()
        self._device: Device | None = None
        self._budget = math.inf
        self._weights = 0.0
        self._used: list[float] = []
        self._seen = largest
        self._warm: int | None = None
        self._is_known = False
        """Whether the growth has been estimated."""
        self.columns: dict[str, float] = {}
        """Columns of the arm's rows that are known so far."""

    def built(self, device: Device) -> None:
        """Measure the weights of the built model.

        Raises:
            MemoryBudgetError: the model alone does not fit.
        """
        self._device = device
        self._weights = self._now_mib(of_allocator=True)
        self._budget = self._auto_mib() if self._asked == "auto" else self._asked
        self._check(Forecast(self._weights))

    def begin(self, seen: Extent) -> None:
        """Begin a session; `seen.frames` counts from its first prompt on."""
        self._seen, self._used, self._warm = seen, [], None

    def frame(self, done: int, total: int) -> None:
        """Record that frame `done` of `total` is done, warm-up included; warm-up frames are not recorded.

        Reads the memory as long as the growth is unknown, which takes about 20 us.

        Raises:
            MemoryBudgetError: by the growth so far, the longest clip will not fit.
        """
        if self._warm is None:
            self._warm = total - self._seen.frames
        if self._is_known or done <= self._warm:
            return
        if len(self._used) < self._seen.frames:
            self._used.append(self._now_mib())
            if len(self._used) >= SETTLED_FRAMES + FEWEST_FRAMES and len(self._used) % FEWEST_FRAMES == 0:
                self._check(self._forecast(max(self._used)))

    def end(self, row: SummaryRow) -> MemoryBudgetError | None:
        """End a session, whose row has the peaks. Returns why the longest clip will not fit; None if it will."""
        if self._is_known or not self._used:
            return None
        self._is_known = growth_mib(self._used) is not None
        peaks = {"machine": row.unified_peak_used_MiB, "gpu": row.gpu_peak_reserved_MiB, "process": row.cpu_peak_rss_MiB}
        peak = (peaks[self._kind] or 0.0) - (self._machine_before or 0.0 if self._kind == "machine" else 0.0)
        try:
            self._check(self._forecast(max(peak, max(self._used))))
        except MemoryBudgetError as error:
            return error
        return None

    @property
    def _kind(self) -> Literal["machine", "gpu", "process"]:
        assert self._device is not None  # nothing is measured before the model is built
        if self._device.gpu_memory_mib() is None:
            return "process"
        return "machine" if self._device.shares_memory and self._machine_before is not None else "gpu"

    def _now_mib(self, *, of_allocator: bool = False) -> float:
        """Memory in use now; on a GPU what tensors take, or with `of_allocator` what torch's allocator has reserved."""
        if self._kind == "process":
            return rss_mib()
        if self._kind == "machine":
            return (system_memory().used_mib or 0.0) - (self._machine_before or 0.0)
        gpu = self._device.gpu_memory_mib() if self._device is not None else None
        assert gpu is not None
        return gpu.reserved if of_allocator else gpu.allocated

    def _auto_mib(self) -> float:
        if self._kind == "gpu":
            gpu = self._device.gpu_memory_mib() if self._device is not None else None
            assert gpu is not None
            return gpu.free + gpu.reserved
        if self._available is None:
            return math.inf
        return self._available + (self._rss_before if self._kind == "process" else 0.0)

    def _forecast(self, peak_mib: float) -> Forecast:
        run = Extent(len(self._used), self._seen.pixels, self._seen.tracks)
        return forecast(self._weights, peak_mib, growth_mib(self._used), run, self._largest)

    def _check(self, found: Forecast) -> None:
        self.columns = found.columns() if math.isinf(self._budget) else {"memory_budget_MiB": self._budget, **found.columns()}
        if found.total > self._budget:
            asked = "the available memory" if self._asked == "auto" else "--memory_budget"
            raise MemoryBudgetError(f"forecast {found.in_words()} exceeds {asked}, {size_in_words(self._budget)}", self.columns)


def size_in_words(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
