"""The closing table of a run: one line per arm."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from savbench.results.figures import SameObjects, arm_figures, kinds_of_frames
from savbench.results.grid import Grid, text_table, wrapped
from savbench.results.numbers import number
from savbench.results.quantiles import LEVEL
from savbench.results.rows import VALID, is_valid
from savbench.results.schema import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.plan.arms import Arm
    from savbench.results.figures import ArmFigures
    from savbench.results.rows import SummaryRow

    Key = tuple[str, str, str]

HEADER = ("arm", "objects", "FPS", "p50 ms", "p90 ms", "peak MiB", "J", "F", "J&F", "weights")
DROPPED = ("weights", "F", "J", "p50 ms")
"""Columns that a narrow terminal does without, the first of them first."""
RANDOM = "random"
UNTRAINED = "*"
"""Mark after scores of untrained weights."""
DOUBTFUL = "!"
"""Mark after the name of an arm whose rows are all invalid."""


def closing_table(
    arms: Sequence[Arm], rows: Sequence[SummaryRow], latency_ms: Mapping[Key, Sequence[float]], width: int | None = None
) -> str:
    """Text with one line per arm, in the order of the arms, with the figures defined in `savbench.results.figures`.

    Times are from valid rows; an arm without valid rows shows the times of all its rows, marked.

    Args:
        latency_ms: latencies of timed frames, by (arm id, video, object).
        width: columns of the terminal; None: all columns of the table.
    """
    of_arm = {arm.arm_id: sorted((row for row in rows if row.arm_id == arm.arm_id), key=lambda row: row.key) for arm in arms}
    names = {arm.arm_id: arm.label for arm in arms}
    good = {arm_id: [row for row in listed if row.status == "ok"] for arm_id, listed in of_arm.items()}
    valid = {arm_id: [row for row in listed if is_valid(row.validity)] or listed for arm_id, listed in good.items()}
    scored = SameObjects.of({names[arm_id]: [_key(row) for row in listed if row.JandF is not None] for arm_id, listed in good.items()})
    timed = SameObjects.of({names[arm_id]: [_key(row) for row in listed if row.latency_ms is not None] for arm_id, listed in valid.items()})
    figures = {arm_id: _figures(good[arm_id], valid[arm_id], scored, timed, latency_ms) for arm_id in good}
    doubtful = {arm_id for arm_id, listed in valid.items() if listed and not is_valid(listed[0].validity)}
    lines = [_line(arm, of_arm[arm.arm_id], figures[arm.arm_id], arm.arm_id in doubtful) for arm in arms]
    header = list(HEADER)
    if any(row.streaming_JandF is not None for row in rows):
        streamed = [_streaming(figures[arm.arm_id], of_arm[arm.arm_id]) for arm in arms]
        header.insert(-1, "streaming")
        lines = [[*line[:-1], score, line[-1]] for line, score in zip(lines, streamed, strict=True)]
    remarks = [scored.describe("J, F and J&F"), timed.describe("FPS and latencies") if timed.lacking != scored.lacking else ""]
    remarks.append(_tails(names, figures))
    remarks += [f"{names[arm_id]}: {kinds}" for arm_id, of_arm in figures.items() if (kinds := kinds_of_frames(of_arm.values))]
    blind = [names[arm_id] for arm_id, rows in good.items() if rows and all(row.between_frames_scored == 0 for row in rows)]
    if blind:
        said = "every scored frame is a key frame, so J and F say nothing of those between"
        remarks.append(f"{', '.join(blind)}: {said}; choose a K that does not divide the step of the annotations, or score with --realtime")
    if doubtful:
        remarks.append(f"{DOUBTFUL} no row of this arm is valid; do not compare its times and memory with other arms.")
    if any(line[-1] == RANDOM for line in lines):
        remarks.append(f"{UNTRAINED} untrained weights: times and memory are real, J, F and J&F are meaningless.")
    table = text_table(Grid(header, lines, left=1, drop=DROPPED), width)
    return "\n".join([table, *(line for remark in remarks if remark for line in wrapped(remark, width))])


def _key(row: SummaryRow) -> tuple[str, str]:
    return row.video, row.object


def _figures(
    good: Sequence[SummaryRow],
    valid: Sequence[SummaryRow],
    scored: SameObjects,
    timed: SameObjects,
    latency_ms: Mapping[Key, Sequence[float]],
) -> ArmFigures:
    """
    Args:
        good: rows with status ok.
        valid: rows among them whose times and memory count.
    """
    counting = {row.key for row in valid}
    is_timed = [row.key in counting and _key(row) in timed for row in good]
    return arm_figures(
        lambda name: np.array([math.nan if (value := value_of(row, name)) is None else value for row in good], np.float64),
        scored=np.array([_key(row) in scored for row in good], np.bool_),
        valid=np.array([row.key in counting for row in good], np.bool_),
        timed=np.array(is_timed, np.bool_),
        samples_ms=[sample for row, counts in zip(good, is_timed, strict=True) if counts for sample in latency_ms.get(row.key, ())],
    )


def _line(arm: Arm, rows: Sequence[SummaryRow], figures: ArmFigures, is_doubtful: bool) -> list[str]:
    means, peak, mark = figures.means, figures.peak, DOUBTFUL if is_doubtful else ""
    untrained = UNTRAINED if any(row.weights == RANDOM for row in rows if row.status == "ok") else ""
    scored = ("", "", "") if means is None else tuple(f"{value:.3f}{untrained}" for value in (means.J, means.F, means.JandF))
    weights = {row.weights if row.weights in (RANDOM, "none") else row.weights[:8] for row in rows if row.status == "ok"}
    return [
        f"{arm.label} {mark}".rstrip(),
        _objects(rows),
        number(figures.values.get("fps")),
        _percentile(figures, "latency_p50_ms"),
        _percentile(figures, "latency_p90_ms"),
        "" if peak is None else f"{peak.MiB:.0f} {peak.kind}",
        *scored,
        ",".join(sorted(weights)),
    ]


def _percentile(figures: ArmFigures, column: str) -> str:
    percentile = figures.percentiles.get(column)
    return number(figures.values.get(column), 3) if percentile is None else percentile.shown(lambda value: number(value, 3))


def _tails(names: Mapping[str, str], figures: Mapping[str, ArmFigures]) -> str:
    """One line with the interval of every arm's p90; empty if no arm has the latencies of its frames."""
    arms_of: dict[str, list[str]] = {}
    for arm_id, of_arm in figures.items():
        if (percentile := of_arm.percentiles.get("latency_p90_ms")) is not None:
            arms_of.setdefault(percentile.described(number), []).append(names[arm_id])
    told = [f"every arm {text}" if len(arms) == len(figures) > 1 else f"{', '.join(arms)} {text}" for text, arms in arms_of.items()]
    return f"{LEVEL:.0%} intervals: {'; '.join(told)}" if told else ""


def _streaming(figures: ArmFigures, rows: Sequence[SummaryRow]) -> str:
    """Streaming J&F and frame rate of the camera, `0.512 @24`."""
    score = figures.values.get("streaming_JandF")
    rates = sorted({row.camera_fps for row in rows if row.camera_fps is not None})
    return "" if score is None else f"{score:.3f} @{','.join(f'{rate:g}' for rate in rates)}"


def _objects(rows: Sequence[SummaryRow]) -> str:
    """`12`, or `10 + 1 oom + 1 error`."""
    counts = Counter(row.status for row in rows)
    good = counts.pop("ok", 0)
    return " + ".join([str(good), *(f"{count} {status}" for status, count in counts.most_common())])


def invalid_rows(rows: Sequence[SummaryRow]) -> tuple[int, str]:
    """Number of rows with figures whose times are not comparable, and their causes with the number of rows of each."""
    reasons = [row.validity.split("; ") for row in rows if row.status == "ok" and row.validity not in ("", VALID)]
    counts = Counter(reason.partition(" (")[0] for of_row in reasons for reason in of_row)
    return len(reasons), ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def invalid_rows_line(rows: Sequence[SummaryRow]) -> str:
    """One line about rows whose times are not comparable; empty if there are none."""
    count, causes = invalid_rows(rows)
    return f"times of {count} of {len(rows)} rows are not comparable (column validity): {causes}" if count else ""


def shared_sessions_line(rows: Sequence[SummaryRow]) -> str:
    """One line about rows of shared sessions, whose times in the table are per object; empty if there are none."""
    shared = [row for row in rows if row.session_latency_ms is not None]
    if not shared:
        return ""
    call_ms = fmean(row.session_latency_ms or 0 for row in shared)
    return (
        f"{len(shared)} of {len(rows)} rows come from shared sessions: FPS and latencies above are per object; a call for all of a "
        f"session's tracks takes {call_ms:.1f} ms on average (column session_latency_ms)"
    )


def agreement_lines(arms: Sequence[Arm], rows: Sequence[SummaryRow]) -> list[str]:
    """With --agreement, a line per arm about how far its masks agree with the reference arm's."""
    lines = []
    for arm in arms:
        own = [row for row in rows if row.arm_id == arm.arm_id and row.status == "ok" and row.agreement_JandF is not None]
        if own:
            J, F, both = (float(np.mean([getattr(row, f"agreement_{name}") for row in own])) for name in ("J", "F", "JandF"))
            same, frames = (sum(getattr(row, name) or 0 for row in own) for name in ("identical_frames", "agreement_frames"))
            label = next((other.label for other in arms if other.arm_id == own[0].agreement_with), own[0].agreement_with)
            lines.append(
                f"agreement of {arm.label} with {label}, no accuracy: J {J:.4f}, F {F:.4f}, both {both:.4f} over {len(own)} objects; "
                f"{same} of {frames} masks are the same in every pixel"
            )
    return lines
