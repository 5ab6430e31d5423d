"""--memory_budget: what an arm will take at most, told from its first clip, so that one that does not fit ends before the board thrashes.

Measured in the worker, in the memory that the model lives in: the whole machine's where CPU and GPU share it, torch's GPU memory where the
GPU has its own, this process' resident memory on a CPU. After the model is built its use is the weights, with the libraries. The peak of
the first clip beyond that is the workspace. What is left after the first frames and grows with every one of them is the state: about
nothing where the memory is bounded, 13 MiB a frame and more for a tracker that keeps them all.

The forecast is for the longest clip, the largest frame and the most objects in a session among those that the arm is to run. It is made
when the model is built, with the weights alone; while the first clip runs, as soon as its growth can be told; and when it is done.
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
"""Frames after which a bounded memory is full: SAM 2 keeps 7 memories and 16 object pointers."""
FEWEST_FRAMES = 8
"""Frames needed after settling to estimate growth."""


@dataclass(frozen=True)
class Forecast:
    """What an arm will take at most, in MiB."""

    weights: float
    workspace: float = 0.0
    frames: float = 0.0
    state: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.workspace + self.frames + self.state

    def columns(self) -> dict[str, float]:
        """By column of summary.csv."""
        parts = {name: getattr(self, name) for name in ("weights", "workspace", "frames", "state")}
        return {"forecast_MiB": self.total, **{f"forecast_{name}_MiB": value for name, value in parts.items()}}

    def in_words(self) -> str:
        parts = ", ".join(f"{name} {size_in_words(getattr(self, name))}" for name in ("weights", "workspace", "frames", "state"))
        return f"{size_in_words(self.total)} ({parts})"


def growth_mib(used_mib: Sequence[float]) -> float | None:
    """Growth for each frame of a clip that has settled; None where it is too short to tell.

    The slope of the straight line with the least squared distance, or 0 where it is not above twice its own standard error: what an
    allocator gives back late would otherwise be taken for growth, times all the frames of the longest clip.

    Args:
        used_mib: use of memory after each frame, from the first of the clip on.
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
    """From the first clip to the largest.

    Args:
        weights_mib: in use after building.
        peak_mib: the most in use during the clip, the weights included.
        growth: for each frame and all objects of the clip; None where it could not be told, which counts as none.
        seen: the clip, or as much of it as has been run.
        largest: what the forecast is for.
    """
    state = (growth or 0.0) * seen.frames
    workspace = max(0.0, peak_mib - weights_mib - seen.frames_mib - state)
    # frames that are kept do not become more with more objects, their outputs do: the most it can be
    per_track = max(1.0, largest.tracks / seen.tracks)
    return Forecast(weights_mib, workspace, largest.frames_mib, (growth or 0.0) * largest.frames * per_track)


class MemoryBudgetError(RuntimeError):
    """The arm does not fit; the message says why, `columns` are those of its rows."""

    def __init__(self, message: str, columns: dict[str, float]) -> None:
        super().__init__(message)
        self.columns = columns


class MemoryMeter:
    """Follows an arm in its worker. Made before the model is built."""

    def __init__(self, budget: float | Literal["auto"], largest: Extent) -> None:
        """
        Args:
            budget: MiB, or `auto` for what the machine has available now.
            largest: of what the arm is to run.
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
        """Whether the growth has been told."""
        self.columns: dict[str, float] = {}
        """Of the arm's rows, as far as they are known."""

    def built(self, device: Device) -> None:
        """
        Raises:
            MemoryBudgetError: the model alone does not fit.
        """
        self._device = device
        self._weights = self._now_mib(of_allocator=True)
        self._budget = self._auto_mib() if self._asked == "auto" else self._asked
        self._check(Forecast(self._weights))

    def begin(self, seen: Extent) -> None:
        """A session begins; `seen.frames` are those from its first prompt on."""
        self._seen, self._used, self._warm = seen, [], None

    def frame(self, done: int, total: int) -> None:
        """A frame is done, the `done`th of `total` with the warm-up, which runs on the same clip and is forgotten.

        Reads the memory where there is something left to learn, which takes about 20 us.

        Raises:
            MemoryBudgetError: the growth so far tells that the longest clip will not fit.
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
        """A session is done; its row has the peaks. Returns why the longest clip will not fit, or None where it will."""
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
        """In use now; of a GPU what tensors take, or with `of_allocator` what torch holds for them."""
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
            asked = "what is available" if self._asked == "auto" else "--memory_budget"
            raise MemoryBudgetError(f"forecast {found.in_words()} exceeds {asked}, {size_in_words(self._budget)}", self.columns)


def size_in_words(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
