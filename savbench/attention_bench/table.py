"""The tables that `jetson_benchmark.py attention` prints."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from savbench.results.grid import Grid, text_table
from savbench.results.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from savbench.attention_bench.rows import AccuracyRow, CallRow

TEXTS = ("model", "dtype", "attention", "kernel", "kernels")
"""Columns that hold text, beside the first one."""
MAX_SPREAD = 1.5
"""Ratio of p90 to p50 above which a call's times count as unsteady."""


def call_tables(rows: Sequence[CallRow], top: int, *, explain: bool = False, width: int | None = None) -> str:
    """Tables of attention per frame, of the memory attention of all models, and of the costliest calls of each frame.

    Args:
        top: number of calls to list per frame.
        explain: also say what the columns mean.
        width: columns of the terminal; None: all columns of the tables.
    """
    measured = [row for row in rows if row.attention]
    parts = []
    if measured:
        parts += [_per_frame(measured, width), _memory_attention(measured, width), _costliest(measured, top, width)]
        parts.append(LEGEND if explain else EXPLAIN)
    parts += [f"{row.model}: {row.status}: {row.error}" for row in rows if not row.attention]
    return "\n\n".join(part for part in parts if part)


EXPLAIN = "what the columns mean: --explain"
LEGEND = """\
of frame   time of the calls, measured separately, over the time of a whole frame
peak MiB   peak memory of the call in addition to its inputs, result included
off by     largest difference from the same call in float64 over the largest value; half a unit in the last place is 6e-08 in float32,
           5e-04 in float16 and 4e-03 in bfloat16"""


def accuracy_tables(rows: Sequence[AccuracyRow], *, explain: bool = False, width: int | None = None) -> str:
    """Table of J between the masks of each arm and those under float32 and auto. Arguments as of `call_tables`."""
    header = [
        "model",
        "px",
        "mem",
        "video",
        "prompt",
        "dtype",
        "attention",
        "frames",
        "J mean",
        "J min",
        "equal",
        "covered",
        "weights",
    ]
    lines = [
        [
            row.model,
            _whole(row.imgsz),
            _whole(row.num_maskmem),
            row.video,
            row.prompt,
            row.autocast_dtype,
            row.attention,
            _whole(row.frames),
            _fixed(row.J_mean, 5),
            _fixed(row.J_min, 5),
            _whole(row.identical_frames),
            _percent(row.coverage),
            row.weights if row.weights == "random" else row.weights[:8],
        ]
        for row in rows
    ]
    failures = [f"{row.model} {row.autocast_dtype} {row.attention}: {row.status}: {row.error}" for row in rows if row.status != "ok"]
    texts = ("video", "prompt", "dtype", "attention", "weights")
    text = text_table(Grid(header, lines, texts=texts, drop=("weights", "frames", "px", "mem", "covered", "equal", "video")), width)
    return "\n\n".join([text, *failures, ACCURACY_LEGEND if explain else EXPLAIN])


ACCURACY_LEGEND = """\
J          between a frame's mask and the one under float32 and auto; the line float32 auto is a second run, so its difference
           from 1 is that of two equal runs
covered    mean share of the frame that the reference masks cover; near 0% or 100%, as with untrained weights, J says little
equal      frames whose masks are equal in all pixels"""


def _per_frame(rows: Sequence[CallRow], width: int | None) -> str:
    header = [
        "model", "px", "mem", "dtype", "attention", "kernels", "calls", "attention ms", "frame ms", "of frame", "frame vs auto", "peak MiB",
        "off by",
    ]  # fmt: skip
    lines: list[list[str]] = []
    auto_ms: float | None = None
    for (model, imgsz, memories, dtype, choice), group in groupby(rows, key=_arm):
        calls = list(group)
        if choice == "auto":
            auto_ms = calls[0].frame_ms
        known_auto = auto_ms if _has_auto(rows, calls[0]) else None
        first = [model, _whole(imgsz), _whole(memories), dtype, choice]
        failed = [row for row in calls if row.status != "ok"]
        if failed:
            lines.append([*first, "", f"{_calls(failed)} of {_calls(calls)}", failed[0].status, *[""] * 5])
            continue
        per_frame = sum(row.per_frame_ms or 0 for row in calls)
        frame_ms = calls[0].frame_ms
        kernels = " ".join(dict.fromkeys(row.kernel for row in calls))
        lines.append(
            [
                *first,
                kernels,
                str(_calls(calls)),
                number(per_frame, 3),
                number(frame_ms, 3),
                _percent(per_frame / frame_ms if frame_ms else None),
                "" if not (frame_ms and known_auto) else f"{frame_ms / known_auto:.2f}x",
                _fixed(max(row.peak_MiB or 0 for row in calls), 1),
                _off_by(calls),
            ]
        )
    grid = Grid(header, lines, texts=TEXTS, drop=("mem", "px", "calls", "peak MiB", "off by", "kernels", "attention ms", "frame vs auto"))
    return "\n".join(["Attention in one tracked frame", text_table(grid, width), *_reasons(rows), *_unsteady(rows)])


def _reasons(rows: Iterable[CallRow]) -> Iterator[str]:
    """Why a choice could not compute calls: its first reason only, since kernels name the shapes in each."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.status != "ok":
            reasons.setdefault(row.attention, {})[row.error] = None
    for choice, errors in reasons.items():
        first, *others = errors
        yield f"{choice}: {first}" + (f" ({len(others)} more reasons in the CSV)" if others else "")


def _unsteady(rows: Iterable[CallRow]) -> Iterator[str]:
    spread = [(row.time_p90_ms or 0) > MAX_SPREAD * (row.time_p50_ms or 0) for row in rows if row.status == "ok"]
    if sum(spread) > len(spread) / 4:
        yield (
            f"the times of {sum(spread)} of {len(spread)} calls vary widely (p90 above {MAX_SPREAD} times p50): lock the clocks, stop "
            "other programs, or raise --min_time"
        )
    for arm, group in groupby(rows, key=_arm):
        shares = [row.frame_share for row in group if row.frame_share is not None]
        if sum(shares) > 1:
            yield f"{arm[0]}, {arm[3]}, {arm[4]}: the calls alone took longer than the whole frame: the machine was busy; measure again"


def _memory_attention(rows: Sequence[CallRow], width: int | None) -> str:
    """Table with a line per model and kind of memory attention and a column per choice."""
    rows = [row for row in rows if row.part.startswith("memory attention")]
    choices = list(dict.fromkeys(row.attention for row in rows))
    header = ["part", "model", "px", "mem", "dtype", "query x key", "width", "calls", "GFLOP", *(f"{choice} ms" for choice in choices)]
    lines: dict[tuple[object, ...], dict[str, str]] = {}
    for row in rows:
        key = (
            row.part.partition(", ")[2], row.model, _whole(row.imgsz), _whole(row.num_maskmem), row.autocast_dtype,
            _pairs(row), _width(row), _whole(row.calls), _fixed((row.GFLOP or 0) * (row.calls or 0), 1),
        )  # fmt: skip
        lines.setdefault(key, {})[row.attention] = number(row.per_frame_ms, 3) if row.status == "ok" else row.status
    ordered = sorted(lines, key=lambda key: str(key[0]), reverse=True)
    table = [[*map(str, key), *(lines[key].get(choice, "") for choice in choices)] for key in ordered]
    grid = Grid(header, table, texts=TEXTS, drop=("mem", "px", "width", "calls", "GFLOP", "dtype"))
    return "\n".join(["Memory attention, all calls of a frame together", text_table(grid, width)]) if table else ""


def _costliest(rows: Sequence[CallRow], top: int, width: int | None) -> str:
    header = [
        "part", "query x key", "heads", "width", "calls", "attention", "kernel", "p50 ms", "p90 ms", "of frame", "GFLOP/s", "peak MiB",
        "off by",
    ]  # fmt: skip
    drop = ("heads", "width", "GFLOP/s", "peak MiB", "p90 ms", "off by", "calls", "query x key")
    texts = []
    for (model, imgsz, memories, dtype), of_frame in groupby(rows, key=lambda row: _arm(row)[:4]):
        by_call: dict[tuple[object, ...], list[CallRow]] = {}
        for row in of_frame:
            by_call.setdefault((row.part, row.query, row.key, row.value, row.dtypes, row.arguments), []).append(row)
        ordered = sorted(by_call.values(), key=lambda group: -(group[0].per_frame_ms or 0))
        lines = []
        for group in ordered[:top]:
            for place, row in enumerate(group):
                call = (row.part, _pairs(row), _heads(row), _width(row), _whole(row.calls)) if place == 0 else ("",) * 5
                lines.append([*call, row.attention, *_figures(row)])
        memory = "" if memories is None else f", {memories} memories"
        title = f"Distinct calls of a frame: {model} at {imgsz} px{memory}, {dtype}"
        text = f"{title}\n{text_table(Grid(header, lines, texts=TEXTS, drop=drop), width)}"
        if left := ordered[top:]:
            first = left[0][0].attention
            share = sum(group[0].frame_share or 0 for group in left)
            text += f"\n{len(left)} more distinct calls take {_percent(share)} of the frame under {first}; raise --top to list them"
        texts.append(text)
    return "\n\n".join(texts)


def _figures(row: CallRow) -> tuple[str, ...]:
    if row.status != "ok":
        return (row.status, *[""] * 6)
    return (
        row.kernel,
        number(row.time_p50_ms, 3),
        number(row.time_p90_ms, 3),
        _percent(row.frame_share),
        _fixed(row.GFLOP_per_s, 1),
        _fixed(row.peak_MiB, 1),
        _off_by([row]),
    )


def _arm(row: CallRow) -> tuple[str, int | None, int | None, str, str]:
    return row.model, row.imgsz, row.num_maskmem, row.autocast_dtype, row.attention


def _has_auto(rows: Iterable[CallRow], like: CallRow) -> bool:
    return any(_arm(row) == (*_arm(like)[:4], "auto") for row in rows)


def _calls(rows: Iterable[CallRow]) -> int:
    return sum(row.calls or 0 for row in rows)


def _off_by(rows: Iterable[CallRow]) -> str:
    differences = [row.max_diff / row.max_value for row in rows if row.max_diff is not None and row.max_value]
    if any(map(math.isnan, differences)):
        return "NaN"
    return f"{max(differences):.0e}" if differences else ""


def _pairs(row: CallRow) -> str:
    """`4096x28736`, preceded by the number of windows if there are several."""
    (batch, _, queries, _), keys = row.query.split("x"), row.key.split("x")[2]
    return f"{queries}x{keys}" if batch == "1" else f"{batch} of {queries}x{keys}"


def _heads(row: CallRow) -> str:
    return row.query.split("x")[1]


def _width(row: CallRow) -> str:
    return row.query.split("x")[3]


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _fixed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"
