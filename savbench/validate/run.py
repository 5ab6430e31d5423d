"""`jetson_benchmark.py validate`: check that the files of a run agree with the schema, with each other and with the saved masks.

Each check recomputes one figure from others: percentiles and means from frames, rates from latencies, scores from masks and ground truth.
A note names what cannot be checked because a file is missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from runners.base import PARTS, STAGES
from savbench.arguments.parser import Parser
from savbench.arguments.values import INPUT_PATH
from savbench.data.csv_file import InputError, read_csv
from savbench.results.frame_rows import FrameRow
from savbench.results.quantiles import ROW_MEANINGS, row_values
from savbench.results.rows import FORECAST, STAGE_COLUMN, STATUSES, SummaryRow
from savbench.results.run_folder import FRAMES, RUN, SUMMARY
from savbench.results.schema import number_values, values_of
from savbench.results.systems import SYSTEM, mixed, system_of
from savbench.validate.failures import check_failures
from savbench.validate.findings import KEY, RELATIVE, Flags, Numbers, Positions, Report, Table, close, keys_of, positions_by_key
from savbench.validate.streaming import check_streaming
from savbench.validate.sustained import check_sustained
from savbench.validate.telemetry import check_telemetry

EXIT_OK, EXIT_PROBLEMS = 0, 1

SCORES = ("J", "F", "JandF")
PERCENTILES = (("latency_p50_ms", 50), ("latency_p90_ms", 90), ("latency_p95_ms", 95), ("latency_p99_ms", 99))
RISING = ("latency_min_ms", *(name for name, _ in PERCENTILES), "latency_max_ms")
STAGE_PARTS = tuple(STAGE_COLUMN.format(stage) for stage in STAGES)
FORECAST_PARTS = tuple(
    value.name for value in values_of(SummaryRow) if value.cell == FORECAST and value.name not in ("memory_budget_MiB", "forecast_MiB")
)
FIGURES = ("frames", "fps", "latency_ms", *RISING)
"""Columns that a row has if and only if its status is ok."""

PARTS_ABSOLUTE_MS = 0.05
"""Tolerance: the last part or stage is the rest of the call, so they sum to it, unless a GPU clock ahead of the CPU's leaves no rest."""
ENERGY_RELATIVE = 0.03


def validate(run: Path, split_dir: Path | None = None, *, with_masks: bool = True) -> Report:
    """Check a run folder.

    Args:
        split_dir: folder of the split now; None means the path in run.json.
        with_masks: rescore saved masks, which reads every one of them.

    Raises:
        InputError: the folder holds no run, or one of its files cannot be read at all.
    """
    folder = run.parent if run.name == SUMMARY else run
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a run")
    report = Report()
    about = _read_run(folder, report)
    rows = Table(read_csv(folder / SUMMARY, KEY), SummaryRow, report)
    ok = rows.text["status"] == "ok"
    _check_rows(rows, ok, about, report)
    _check_systems(rows, report)
    _check_ranges(rows, report)
    _check_sums(rows, ok, report)
    _check_counts(rows, ok, report)
    report.checked.append(f"{len(rows.lines)} rows of {SUMMARY}, {int(ok.sum())} of them ok")
    _check_frames(folder, rows, ok, report)
    _check_overlays(folder, rows, report)
    check_streaming(folder, rows, ok, report)
    check_sustained(folder, rows, report)
    check_telemetry(folder, rows, ok, report)
    if with_masks:
        # only this check needs to read images
        from savbench.validate.masks import check_masks

        check_masks(folder, about, split_dir, rows, ok, report)
    return report


def _read_run(folder: Path, report: Report) -> dict[str, Any]:
    try:
        about = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except OSError as error:
        report.problems.append(f"{RUN}: {error.strerror}; the settings of the run are unknown")
        return {}
    except ValueError as error:
        report.problems.append(f"{RUN}: damaged ({error})")
        return {}
    if not isinstance(about, dict):
        report.problems.append(f"{RUN}: damaged (no object)")
        return {}
    if not about.get("complete"):
        report.notes.append(f"{RUN}: the run is not complete; run the same command again to continue")
    return about


def _check_rows(rows: Table, ok: Flags, about: dict[str, Any], report: Report) -> None:
    text, numbers = rows.text, rows.numbers
    rows.flag(report, rows.repeats(KEY), lambda row: f"a second row for arm {text['arm_id'][row]}")
    for name in ("video", "model", "prompt", "arm_id", "run_id"):
        rows.flag(report, text[name] == "", lambda row, name=name: f"{name} is empty")  # type: ignore[misc]
    rows.flag(report, ~np.isin(text["status"], STATUSES), lambda row: f"status {text['status'][row]!r} is none of {', '.join(STATUSES)}")
    if about.get("run_id"):
        rows.flag(report, text["run_id"] != about["run_id"], lambda row: f"run_id {text['run_id'][row]}, {RUN} has {about['run_id']}")
    rows.flag(report, ok & (text["error"] != ""), lambda row: "status ok, but there is an error")
    rows.flag(report, ~ok & (text["error"] == ""), lambda row: f"status {text['status'][row]} without a reason in error")
    for name in FIGURES:
        rows.flag(report, ok & np.isnan(numbers[name]), lambda row, name=name: f"status ok without {name}")  # type: ignore[misc]
    for name in (*FIGURES, *SCORES):
        rows.flag(
            report, ~ok & ~np.isnan(numbers[name]),
            lambda row, name=name: f"status {text['status'][row]} with a figure in {name}",  # type: ignore[misc]
        )  # fmt: skip


def _check_systems(rows: Table, report: Report) -> None:
    """Check that an arm's rows from one machine were measured on one system."""
    systems: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row, arm in enumerate(zip(rows.text["arm_id"], rows.text["node"], strict=True)):
        systems.setdefault(arm, []).append(system_of(SimpleNamespace(**{name: rows.text[name][row] for name in SYSTEM})))
    for (arm_id, _), of_arm in systems.items():
        report.problems += [f"{SUMMARY}: arm {arm_id} mixes systems: {what}" for what in mixed(of_arm)]


def _check_ranges(rows: Table, report: Report) -> None:
    for name, values in rows.numbers.items():
        low, high = (0.0, 1.0) if name in SCORES else (0.0, np.inf) if _cannot_be_negative(name) else (-np.inf, np.inf)
        rows.flag(
            report, (values < low) | (values > high),
            lambda row, name=name, values=values: f"{name} {values[row]:g} is out of its range",  # type: ignore[misc]
        )  # fmt: skip
    for lower, upper in itertools.pairwise(RISING):
        below, above = rows.numbers[lower], rows.numbers[upper]
        rows.flag(
            report, below > above * (1 + RELATIVE),
            lambda row, a=lower, b=upper: f"{a} {rows.numbers[a][row]:g} is above {b} {rows.numbers[b][row]:g}",  # type: ignore[misc]
        )  # fmt: skip
    mean, low_ms, high_ms = (rows.numbers[name] for name in ("latency_ms", "latency_min_ms", "latency_max_ms"))
    rows.flag(
        report,
        (mean < low_ms * (1 - RELATIVE)) | (mean > high_ms * (1 + RELATIVE)),
        lambda row: f"latency_ms {mean[row]:g} is not between its smallest and largest frame",
    )
    alloc, reserved = rows.numbers["gpu_peak_alloc_MiB"], rows.numbers["gpu_peak_reserved_MiB"]
    rows.flag(report, alloc > reserved, lambda row: f"gpu_peak_alloc_MiB {alloc[row]:g} is above gpu_peak_reserved_MiB {reserved[row]:g}")


def _cannot_be_negative(name: str) -> bool:
    return name == "fps" or name.endswith(("_ms", "_MiB", "_w")) or number_values(SummaryRow)[name] is int


def _check_sums(rows: Table, ok: Flags, report: Report) -> None:
    n = rows.numbers
    with np.errstate(divide="ignore"):
        fps = 1000 / n["latency_ms"]
    expected = {
        "fps": (fps, "1000 / latency_ms"),
        "setup_ms": (n["init_ms"] + n["first_frame_ms"], "init_ms + first_frame_ms"),
        "JandF": ((n["J"] + n["F"]) / 2, "(J + F) / 2"),
        "forecast_MiB": (np.sum([n[name] for name in FORECAST_PARTS], axis=0), " + ".join(FORECAST_PARTS)),
    }
    for name, (values, formula) in expected.items():
        rows.flag(
            report, ok & ~close(n[name], values),
            lambda row, name=name, values=values, formula=formula: f"{name} {n[name][row]:g} is not {formula} = {values[row]:g}",  # type: ignore[misc]
        )  # fmt: skip
    _check_energy(rows, ok, report)
    parts, call = np.sum([n[name] for name in PARTS], axis=0), _call_ms(n)
    rows.flag(
        report,
        ok & ~_add_up(parts, call),
        lambda row: f"{' + '.join(PARTS)} = {parts[row]:.3f}, {_call_name(n, row)} is {call[row]:.3f}",
    )
    _check_stages(rows, ok, report)
    rows.flag(
        report, ok & (n["latency_ms"] > n["session_latency_ms"] * (1 + RELATIVE)),
        lambda row: f"latency_ms {n['latency_ms'][row]:g} is above session_latency_ms {n['session_latency_ms'][row]:g}",
    )  # fmt: skip


def _check_stages(rows: Table, ok: Flags, report: Report) -> None:
    """Check that the stages of --stages sum to the call."""
    n = rows.numbers
    stages, call = np.array([n[name] for name in STAGE_PARTS]), _call_ms(n)
    total = np.nansum(stages, axis=0)
    rows.flag(
        report,
        ok & ~np.isnan(stages).all(axis=0) & ~_add_up(total, call),
        lambda row: f"the stages sum to {total[row]:.3f} ms, {_call_name(n, row)} is {call[row]:.3f}",
    )


def _add_up(parts: Numbers, call: Numbers) -> Flags:
    """Whether the successive parts of a call sum to it. True if one is missing."""
    return ~(np.abs(parts - call) > np.maximum(RELATIVE * call, PARTS_ABSOLUTE_MS))


def _call_ms(numbers: dict[str, Numbers]) -> Numbers:
    """Duration of a call of the runner: the latency, or session_latency_ms of a shared session."""
    return np.where(np.isnan(numbers["session_latency_ms"]), numbers["latency_ms"], numbers["session_latency_ms"])


def _call_name(numbers: dict[str, Numbers], row: int) -> str:
    return "latency_ms" if np.isnan(numbers["session_latency_ms"][row]) else "session_latency_ms"


def _check_energy(rows: Table, ok: Flags, report: Report) -> None:
    """Check that energy is power times time and frames per joule its inverse, with a tolerance for the two clocks."""
    n = rows.numbers
    if "energy_gross_j_per_frame" not in n:
        return
    gross, seconds = n["energy_gross_j_per_frame"], _call_ms(n) / 1e3
    with np.errstate(divide="ignore"):
        expected = {
            "energy_gross_j_per_frame": (n["power_mean_w"] * seconds, "power_mean_w * latency_ms / 1000"),
            "fps_per_w": (1 / gross, "1 / energy_gross_j_per_frame"),
        }
    for name, (values, formula) in expected.items():
        rows.flag(
            report, ok & (np.abs(n[name] - values) > ENERGY_RELATIVE * np.abs(values)),
            lambda row, name=name, values=values, formula=formula: f"{name} {n[name][row]:g} is not {formula} = {values[row]:g}",  # type: ignore[misc]
        )  # fmt: skip
    # the difference may be small compared with the rounding of its terms, so the tolerance is relative to the gross energy
    net = gross - n["idle_w"] * seconds
    rows.flag(
        report,
        ok & (np.abs(n["energy_j_per_frame"] - net) > ENERGY_RELATIVE * gross),
        lambda row: f"energy_j_per_frame {n['energy_j_per_frame'][row]:g} is not the gross energy less idle_w * latency = {net[row]:g}",
    )


def _check_counts(rows: Table, ok: Flags, report: Report) -> None:
    n = rows.numbers
    stride = np.where(np.isnan(n["frame_stride"]), 1, n["frame_stride"])
    # every `stride`th frame from the prompted one on is fed; the prompted frame is not timed
    passes = np.where(np.isnan(n["passes"]), 1, n["passes"])
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = passes * np.floor((n["clip_frames"] - 1 - n["prompt_frame"]) / stride)
    # in a shared session, frames on which another object is prompted are not timed
    is_shared = ~np.isnan(n["session_tracks"])
    rows.flag(
        report,
        ok & (n["frames"] != expected) & ~(is_shared & (n["frames"] < expected)),
        lambda row: f"{n['frames'][row]:g} timed frames, its clip has {expected[row]:g} after the prompt",
    )
    rows.flag(
        report,
        n["frames_scored"] > n["frames_annotated"],
        lambda row: f"{n['frames_scored'][row]:g} frames scored of {n['frames_annotated'][row]:g} annotated",
    )
    rows.flag(report, ok & (n["nonfinite_frames"] > 0), lambda row: f"status ok with {n['nonfinite_frames'][row]:g} nonfinite_frames")
    scored = n["frames_scored"] > 0
    for name in SCORES:
        rows.flag(
            report, ok & (scored == np.isnan(n[name])),
            lambda row, name=name: f"{n['frames_scored'][row]:g} frames scored, {name} is {rows.text[name][row] or 'empty'}",  # type: ignore[misc]
        )  # fmt: skip


def _check_frames(folder: Path, rows: Table, ok: Flags, report: Report) -> None:
    """Check counts, means and percentiles of the rows against frames.csv."""
    if not (folder / FRAMES).exists():
        report.notes.append(f"{FRAMES} is missing: means and percentiles are not checked")
        return
    try:
        frames = Table(read_csv(folder / FRAMES, KEY), FrameRow, report)
    except InputError:
        if ok.any():
            raise
        report.notes.append(f"{FRAMES} has no rows, because no object is ok")
        return
    frames.flag(report, frames.repeats((*KEY, "frame", "repeat")), lambda row: f"frame {frames.text['frame'][row]} appears twice")
    for name, values in frames.numbers.items():
        if name != "object_score":
            frames.flag(report, values < 0, lambda row, name=name: f"{name} is negative")  # type: ignore[misc]
    inside = positions_by_key(frames)
    keys = keys_of(rows)
    orphans = [key for key in inside if key not in set(keys)]
    if orphans:
        report.problems.append(f"{FRAMES}: frames of {len(orphans)} objects without a row in {SUMMARY}, the first {'/'.join(orphans[0])}")
    none = np.zeros(0, np.int64)
    differing: dict[str, Numbers] = {}
    for row in np.flatnonzero(ok):
        of = inside.get(keys[row], none)
        for name, value in _from_frames(frames, of).items():
            differing.setdefault(name, np.full(len(rows.lines), np.nan))[row] = value
    for name, values in differing.items():
        rows.flag(
            report, ok & ~close(rows.numbers[name], values),
            lambda row, name=name, values=values: f"{name} {rows.numbers[name][row]:g}, {FRAMES} gives {values[row]:g}",  # type: ignore[misc]
        )  # fmt: skip
    for name in ("J", "F"):
        _check_frame_scores(frames, inside, keys, rows, ok, name, report)
    check_failures(frames, inside, rows, ok, report)
    report.checked.append(f"{len(frames.lines)} frames of {FRAMES}")


def _from_frames(frames: Table, of: Positions) -> dict[str, float]:
    """Columns of a row, computed from its frames."""
    latency = frames.numbers["latency_ms"][of]
    found: dict[str, float] = {"frames": len(of)}
    if not latency.size:
        return found
    found |= {"latency_ms": float(np.mean(latency)), "latency_min_ms": float(latency.min()), "latency_max_ms": float(latency.max())}
    found |= {name: float(np.percentile(latency, percent)) for name, percent in PERCENTILES}
    found |= dict.fromkeys(ROW_MEANINGS, np.nan) | row_values(latency)
    for kind in ("key", "between"):
        of_kind = latency[frames.text["frame_kind"][of] == kind]
        found[f"{kind}_latency_p50_ms"] = float(np.median(of_kind)) if of_kind.size else np.nan
    for name in (*PARTS, *STAGE_PARTS, "decode_ms", "stage_wait_ms"):
        values = frames.numbers[name][of]
        found[name] = float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else np.nan
    return found


def _check_frame_scores(
    frames: Table,
    inside: dict[tuple[str, str, str], Positions],
    keys: list[tuple[str, str, str]],
    rows: Table,
    ok: Flags,
    name: str,
    report: Report,
) -> None:
    """Check the row's mean score against the frames'. Frames scored but not timed, such as a prompted one, have no line in frames.csv."""
    total, count = np.zeros(len(keys)), np.zeros(len(keys))
    for row in np.flatnonzero(ok):
        values = frames.numbers[name][inside.get(keys[row], np.zeros(0, np.int64))]
        values = values[~np.isnan(values)]
        total[row], count[row] = values.sum(), len(values)
    scored = np.nan_to_num(rows.numbers["frames_scored"])
    elsewhere = np.nan_to_num(rows.numbers[name]) * scored - total
    slack = RELATIVE * np.maximum(scored, 1)
    wrong = ok & ((elsewhere < -slack) | (elsewhere > scored - count + slack))
    rows.flag(report, wrong, lambda row: f"{name} {rows.text[name][row]} does not agree with the {count[row]:g} scored frames of {FRAMES}")


def _check_overlays(folder: Path, rows: Table, report: Report) -> None:
    gone = np.array([bool(path) and not (folder / path).is_file() for path in rows.text["overlay"]], dtype=np.bool_)
    rows.flag(report, gone, lambda row: f"overlay {rows.text['overlay'][row]} is not there")


def add_flags(parser: Parser) -> None:
    """Declare the flags of the subcommand."""
    parser.description = "Check that the files of a run agree with the schema, with each other and with the saved masks."
    parser.epilog = "exit status: 0 all checks passed, 1 problems were found, 2 the run cannot be read"
    parser.add_argument("run", type=INPUT_PATH, metavar="RUN", help="folder of the run")
    parser.add_argument("--split_dir", type=INPUT_PATH, help="folder of the split now (default: the path in the run's run.json)")
    parser.add_argument("--skip_masks", action="store_true", help="do not rescore saved masks")


def main(args: argparse.Namespace) -> int:
    """Validate and print. Returns the exit status.

    Raises:
        InputError: the run cannot be read.
    """
    report = validate(args.run, args.split_dir, with_masks=not args.skip_masks)
    for line in report.problems:
        print(f"problem: {line}")
    for line in report.notes:
        print(f"note: {line}")
    print(f"checked {'; '.join(report.checked)}: {len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'}")
    return EXIT_PROBLEMS if report.problems else EXIT_OK
