"""Why a frame took longer than 99% of its object's frames, as far as this process can tell.

A spike is a frame beyond the 99th percentile of its object's timed frames. Its excess is its latency less their median. What was timed is a
cause if it took a tenth of the excess or more; what was only counted is one if it happened in the spike and not in the usual frame.
`savbench.board.spikes` adds what the board's readings tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.results.spikes import UNKNOWN, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.measure.witness import Witnessed

SHARE = 0.1
"""Share of the excess that a timed cause must have taken."""
NEW_PAGES = 256
"""Minor page faults above the usual frame's that count: 1 MiB of memory in pages of 4 KiB."""


def spike_causes(latencies_ms: Sequence[float], witnessed: Sequence[Witnessed]) -> list[str]:
    """The causes of each frame, separated by `; `, or `unknown`; empty for a frame that is no spike.

    Args:
        latencies_ms, witnessed: of an object's timed frames.
    """
    if not latencies_ms:
        return []
    latency_ms = np.asarray(latencies_ms, np.float64)
    limit_ms, median_ms = np.percentile(latency_ms, 99), np.median(latency_ms)
    usual_faults = float(np.median([one.minor_faults for one in witnessed]))
    return [
        joined(_causes(one, float(ms - median_ms), usual_faults)) or UNKNOWN if ms > limit_ms else ""
        for ms, one in zip(latency_ms, witnessed, strict=True)
    ]


def _causes(one: Witnessed, excess_ms: float, usual_faults: float) -> list[str]:
    found = {
        "recompilation": one.compilations > 0,
        "garbage collection": one.collected_ms >= SHARE * excess_ms,
        "another process": one.waited_ms is not None and one.waited_ms >= SHARE * excess_ms,
        "allocation": bool(one.allocations),
        "page fault": one.major_faults > 0 or one.minor_faults - usual_faults >= NEW_PAGES,
        "first use of a memory size": one.is_first_of_size,
    }
    return [cause for cause, holds in found.items() if holds]
