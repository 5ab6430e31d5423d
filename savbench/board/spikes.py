"""Causes of latency spikes that the board's readings show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.board.power.events import count_events
from savbench.results.spikes import UNKNOWN, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.board.power.base import Reading
    from savbench.results.frame_rows import FrameRow

DROPPED = 0.95
"""A clock under this share of its median has dropped."""
OTHERS_PCT = 5.0
"""GPU load of other programs that counts, as for `validity`."""


def add_causes(frames: Sequence[FrameRow], spans: Sequence[tuple[float, float]], readings: Sequence[Reading], device: str) -> None:
    """Add to the causes of each spike what the readings around it tell: the last before it, those during it, and the first after it.

    Args:
        spans: start and end of each frame, in seconds on the clock of the readings.
        readings: over all frames of the object, oldest first.
        device: that the model ran on; its GPU's clock matters only if it is a GPU.
    """
    clocks = [reading.gpu_clock_khz for reading in readings if reading.gpu_clock_khz is not None]
    usual_khz = float(np.median(clocks)) if clocks and device.startswith("cuda") else None
    times = np.array([reading.t_s for reading in readings])
    for frame, (begin, end) in zip(frames, spans, strict=True):
        if not frame.spike_cause:
            continue
        first = max(int(np.searchsorted(times, begin, side="right")) - 1, 0)
        around = readings[first : int(np.searchsorted(times, end, side="left")) + 1]
        found = _causes(around, usual_khz)
        known = [cause for cause in frame.spike_cause.split("; ") if cause != UNKNOWN]
        frame.spike_cause = joined(dict.fromkeys([*known, *found])) or UNKNOWN


def _causes(around: Sequence[Reading], usual_khz: float | None) -> list[str]:
    swapped = [reading.swap_io_mib for reading in around if reading.swap_io_mib is not None]
    clocks = [reading.gpu_clock_khz for reading in around if reading.gpu_clock_khz is not None]
    found = {
        "another process": any((reading.gpu_others_pct or 0) >= OTHERS_PCT for reading in around),
        "swap": bool(swapped) and swapped[-1] > swapped[0],
        "thermal event": bool(count_events(around)),
        "clock drop": usual_khz is not None and bool(clocks) and min(clocks) < DROPPED * usual_khz,
    }
    return [cause for cause, holds in found.items() if holds]
