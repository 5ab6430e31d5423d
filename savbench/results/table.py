"""The table that closes a run: one line per arm."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING

from savbench.results.latency import LatencySamples
from savbench.results.rows import VALID
from savbench.results.scores import ObjectScore, dataset_means

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.plan.arms import Arm
    from savbench.results.rows import SummaryRow

HEADER = ("arm", "objects", "FPS", "p50 ms", "p90 ms", "peak MiB", "J", "F", "J&F", "weights")
RANDOM = "random"


def closing_table(arms: Sequence[Arm], rows: Sequence[SummaryRow], latency_ms: Mapping[str, Sequence[float]]) -> str:
    """Lines of text, one per arm in the order of the arms.

    FPS and percentiles are taken over all frames of the arm's objects with status ok; J and F are means over objects and J&F is their
    mean, as the official evaluator takes them. Streaming J&F, where there is any, is the mean over objects. Peak memory is that of the
    whole board where CPU and GPU share it, else torch's allocated GPU memory, or on a CPU the resident memory.

    Args:
        latency_ms: latencies of the timed frames by arm id.
    """
    lines = [_line(arm, [row for row in rows if row.arm_id == arm.arm_id], latency_ms.get(arm.arm_id, ())) for arm in arms]
    header: tuple[str, ...] = HEADER
    if any(row.streaming_JandF is not None for row in rows):
        streamed = [_streaming([row for row in rows if row.arm_id == arm.arm_id]) for arm in arms]
        header = (*HEADER[:-1], "streaming", HEADER[-1])
        lines = [(*line[:-1], score, line[-1]) for line, score in zip(lines, streamed, strict=True)]
    text = aligned_table(header, lines)
    if any(line[-1] == RANDOM for line in lines):
        text += "\nrandom: untrained weights. Time and memory are real, J and F say nothing about the model."
    return text


def aligned_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Header, rule and lines, in columns as wide as they need to be."""
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    return "\n".join([_aligned(header, widths), "  ".join("-" * width for width in widths), *(_aligned(line, widths) for line in lines)])


def _line(arm: Arm, rows: Sequence[SummaryRow], latency_ms: Sequence[float]) -> tuple[str, ...]:
    good = [row for row in rows if row.status == "ok"]
    latency = LatencySamples(latency_ms)
    scores = [
        ObjectScore(J=row.J, F=row.F, JandF=row.JandF, frames_scored=row.frames_scored or 0)
        for row in good
        if row.J is not None and row.F is not None and row.JandF is not None
    ]
    means = dataset_means(scores) if scores else None
    scored = ("", "", "") if means is None else tuple(_number(value, 3) for value in (means.J, means.F, means.JandF))
    gpu = [row.gpu_peak_alloc_MiB for row in good if row.gpu_peak_alloc_MiB is not None]
    cpu = [row.cpu_peak_rss_MiB for row in good if row.cpu_peak_rss_MiB is not None]
    board = [row.unified_peak_used_MiB for row in good if row.unified_peak_used_MiB is not None]
    peak = next((f"{max(sizes):.0f} {of}" for of, sizes in (("board", board), ("GPU", gpu), ("RSS", cpu)) if sizes), "")
    weights = {row.weights if row.weights in (RANDOM, "none") else row.weights[:8] for row in good}
    return (
        arm.label,
        _objects(rows),
        _number(latency.fps, 2),
        _number(latency.p50, 1),
        _number(latency.p90, 1),
        peak,
        *scored,
        ",".join(sorted(weights)),
    )


def _streaming(rows: Sequence[SummaryRow]) -> str:
    """Streaming J&F and the rate of the camera, `0.512 @24`."""
    scores = [row.streaming_JandF for row in rows if row.status == "ok" and row.streaming_JandF is not None]
    rates = sorted({row.camera_fps for row in rows if row.camera_fps is not None})
    return f"{fmean(scores):.3f} @{','.join(f'{rate:g}' for rate in rates)}" if scores else ""


def _objects(rows: Sequence[SummaryRow]) -> str:
    """`12`, or `10 + 1 oom + 1 error`."""
    counts = Counter(row.status for row in rows)
    good = counts.pop("ok", 0)
    return " + ".join([str(good), *(f"{count} {status}" for status, count in counts.most_common())])


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first and the last column to the left, numbers to the right."""
    last = len(cells) - 1
    return "  ".join(c.ljust(w) if i in (0, last) else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))).rstrip()


def invalid_rows_line(rows: Sequence[SummaryRow]) -> str:
    """One line on the rows whose times were taken under circumstances that forbid comparing them; empty where there are none."""
    reasons = [row.validity.split("; ") for row in rows if row.status == "ok" and row.validity not in ("", VALID)]
    if not reasons:
        return ""
    counts = Counter(reason.partition(" (")[0] for of_row in reasons for reason in of_row)
    told = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    return f"times of {len(reasons)} of {len(rows)} rows cannot be compared with others' (column validity): {told}"


def shared_sessions_line(rows: Sequence[SummaryRow]) -> str:
    """One line on rows of shared sessions, whose times the table gives as an object's own; empty where there are none."""
    shared = [row for row in rows if row.session_latency_ms is not None]
    if not shared:
        return ""
    call_ms = fmean(row.session_latency_ms or 0 for row in shared)
    return (
        f"{len(shared)} of {len(rows)} rows come of shared sessions: FPS and latencies above are an object's own, a call for all of a "
        f"session's tracks takes {call_ms:.1f} ms on average (column session_latency_ms)"
    )
