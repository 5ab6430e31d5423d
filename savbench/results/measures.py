"""Columns that are compared: one entry each, with its unit and how two values are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["difference", "ratio"]
Pooling = Literal["objects", "frames", "rate", "samples", "largest"]
"""How an arm's figure is computed from its objects': mean, mean weighted by timed frames, frames over a total, percentile of all frames,
largest."""


@dataclass(frozen=True)
class Measure:
    """A column of summary.csv that is compared.

    `difference` is for scores, in 0 to 1, and for counts: new minus baseline. `ratio` is for times, rates, memory and energy: new over
    baseline, averaged as the ratio of geometric means, so that halving and doubling cancel (Fleming and Wallace, "How not to lie with
    statistics: the correct way to summarize benchmark results", CACM 1986).
    """

    column: str
    label: str
    """Shown name, with the unit."""
    kind: Kind
    higher_is_better: bool
    is_time: bool = False
    """Summarized by the median with --center median."""
    is_score: bool = False
    """A score of masks against ground truth, meaningless with untrained weights."""
    is_count: bool = False
    """Of events in a clip, so that it may exceed 1."""
    pooling: Pooling = "objects"
    percentile: float | None = None
    """Percentile of the latencies of all timed frames."""

    @property
    def is_share(self) -> bool:
        """Whether its values are in 0 to 1."""
        return self.kind == "difference" and not self.is_count

    @property
    def needs_valid_time(self) -> bool:
        """Whether a disturbance of the board makes it worthless: true of all measures except offline scores."""
        return self.column not in (*SCORES, *FAILURE_SCORES)


SCORES = ("J", "F", "JandF")
FAILURE_SCORES = ("volumetric_J", "nt2f", "false_positive_rate", "identity_switches")
"""Offline measures of failure that are compared."""

MEASURES = (
    Measure("J", "J", "difference", True, is_score=True),
    Measure("F", "F", "difference", True, is_score=True),
    Measure("JandF", "J&F", "difference", True, is_score=True),
    Measure("volumetric_J", "volumetric J", "difference", True, is_score=True),
    Measure("nt2f", "time to failure", "difference", True, is_score=True),
    Measure("false_positive_rate", "false positives", "difference", False, is_score=True),
    Measure("identity_switches", "ID switches", "difference", False, is_score=True, is_count=True),
    Measure("streaming_J", "streaming J", "difference", True, is_score=True),
    Measure("streaming_F", "streaming F", "difference", True, is_score=True),
    Measure("streaming_JandF", "streaming J&F", "difference", True, is_score=True),
    Measure("streaming_fps", "streaming FPS", "ratio", True),
    Measure("deadline_met", "deadlines met", "difference", True),
    Measure("mask_age_p50_ms", "mask age p50 ms", "ratio", False, is_time=True),
    Measure("mask_age_p90_ms", "mask age p90 ms", "ratio", False, is_time=True),
    Measure("fps", "FPS", "ratio", True, is_time=True, pooling="rate"),
    Measure("latency_ms", "mean ms", "ratio", False, is_time=True, pooling="frames"),
    Measure("latency_p50_ms", "p50 ms", "ratio", False, is_time=True, pooling="samples", percentile=50),
    Measure("latency_p90_ms", "p90 ms", "ratio", False, is_time=True, pooling="samples", percentile=90),
    Measure("latency_p99_ms", "p99 ms", "ratio", False, is_time=True, pooling="samples", percentile=99),
    Measure("key_latency_p50_ms", "key p50 ms", "ratio", False, is_time=True),
    Measure("between_latency_p50_ms", "between p50 ms", "ratio", False, is_time=True),
    Measure("setup_ms", "setup ms", "ratio", False, is_time=True),
    Measure("unified_peak_used_MiB", "board peak MiB", "ratio", False, pooling="largest"),
    Measure("gpu_peak_alloc_MiB", "GPU peak MiB", "ratio", False, pooling="largest"),
    Measure("gpu_peak_reserved_MiB", "GPU reserved MiB", "ratio", False, pooling="largest"),
    Measure("cpu_peak_rss_MiB", "RSS peak MiB", "ratio", False, pooling="largest"),
    Measure("energy_j_per_frame", "J/frame", "ratio", False, pooling="frames"),
    Measure("fps_per_w", "FPS/W", "ratio", True, pooling="rate"),
)

PEAKS = {"unified_peak_used_MiB": "board", "gpu_peak_alloc_MiB": "GPU", "cpu_peak_rss_MiB": "RSS"}
"""Columns of peak memory and what each covers; the first known one is reported."""

BY_COLUMN = {measure.column: measure for measure in MEASURES}
