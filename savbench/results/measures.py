"""What is compared: one entry per column, with its unit and the way two of its values are set against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["difference", "ratio"]


@dataclass(frozen=True)
class Measure:
    """A column of summary.csv that is compared.

    `difference` is for scores, in 0 to 1: new minus baseline. `ratio` is for times, rates, memory and energy: new over baseline, averaged
    as ratio of geometric means, since what halves and what doubles should cancel (Fleming and Wallace, "How not to lie with statistics:
    the correct way to summarize benchmark results", CACM 1986).
    """

    column: str
    label: str
    """For people, with the unit."""
    kind: Kind
    higher_is_better: bool
    is_time: bool = False
    """Summarised by the median with --center median."""
    is_score: bool = False
    """Of masks against ground truth: means nothing with untrained weights."""


SCORES = ("J", "F", "JandF")

MEASURES = (
    Measure("J", "J", "difference", True, is_score=True),
    Measure("F", "F", "difference", True, is_score=True),
    Measure("JandF", "J&F", "difference", True, is_score=True),
    Measure("streaming_J", "streaming J", "difference", True, is_score=True),
    Measure("streaming_F", "streaming F", "difference", True, is_score=True),
    Measure("streaming_JandF", "streaming J&F", "difference", True, is_score=True),
    Measure("streaming_fps", "streaming FPS", "ratio", True),
    Measure("deadline_met", "deadlines met", "difference", True),
    Measure("mask_age_p50_ms", "mask age p50 ms", "ratio", False, is_time=True),
    Measure("mask_age_p90_ms", "mask age p90 ms", "ratio", False, is_time=True),
    Measure("fps", "FPS", "ratio", True, is_time=True),
    Measure("latency_ms", "mean ms", "ratio", False, is_time=True),
    Measure("latency_p50_ms", "p50 ms", "ratio", False, is_time=True),
    Measure("latency_p90_ms", "p90 ms", "ratio", False, is_time=True),
    Measure("latency_p99_ms", "p99 ms", "ratio", False, is_time=True),
    Measure("setup_ms", "setup ms", "ratio", False, is_time=True),
    Measure("unified_peak_used_MiB", "board peak MiB", "ratio", False),
    Measure("gpu_peak_alloc_MiB", "GPU peak MiB", "ratio", False),
    Measure("gpu_peak_reserved_MiB", "GPU reserved MiB", "ratio", False),
    Measure("cpu_peak_rss_MiB", "RSS peak MiB", "ratio", False),
    Measure("energy_j_per_frame", "J/frame", "ratio", False),
    Measure("fps_per_w", "FPS/W", "ratio", True),
)

BY_COLUMN = {measure.column: measure for measure in MEASURES}
