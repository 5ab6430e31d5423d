"""A report as data: everything shown on the page, in the markdown and in the figures for papers."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from savbench.compare.explained import has_attributes
from savbench.compare.findings import Options
from savbench.compare.protocol import require_one_version
from savbench.compare.tables import OF_OBJECTS, figure_label
from savbench.report.arms import UNTRAINED, find_arms, numbers
from savbench.report.atlas import atlas
from savbench.report.changes import change_figures, compare_all, losses
from savbench.report.charts import Chapter, Figure, notes_of
from savbench.report.gallery import Gallery, make_gallery
from savbench.report.headline import answer
from savbench.report.memory import peak_memory
from savbench.report.power_modes import power_modes
from savbench.report.provenance import Provenance, provenance, why_no_power
from savbench.report.rows_table import RowsTable, make_rows_table
from savbench.report.runs import read_runs
from savbench.report.spikes import spikes
from savbench.report.streaming import streaming
from savbench.report.telemetry import power_and_temperature
from savbench.report.timing import frames_of, latency_distributions, latency_over_frames, stage_shares, sustained_speed
from savbench.report.tradeoffs import accuracy_against_energy, accuracy_against_speed
from savbench.results.attributes import BY_NAME
from savbench.results.beside import FrameLatencies
from savbench.results.figures import kinds_of_frames
from savbench.results.foreign import load_results
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from savbench.report.arms import Arm

_ARM_FIGURES = ("fps", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "energy_j_per_frame", "fps_per_w")


@dataclass(frozen=True)
class Settings:
    """Options of a report.

    Attributes:
        title: title of the report; if empty, made from the names of the runs.
        split_dir: folder of the split, for pictures from masks; None draws none from masks.
        objects: number of best objects, and of worst objects, to show.
        force: count the times of rows marked invalid, and compare arms that differ in other settings.
    """

    title: str = ""
    split_dir: Path | None = None
    objects: int = 3
    force: bool = False
    center: Literal["mean", "median"] = "mean"
    resamples: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Report:
    title: str
    made_at: str
    answer: tuple[str, ...]
    arms: Grid
    arms_notes: tuple[str, ...]
    references: Grid | None
    chapters: tuple[Chapter, ...]
    gallery: Gallery
    rows: RowsTable
    provenance: Provenance

    @property
    def figures(self) -> list[Figure]:
        """All figures that have data, in order."""
        return [item for chapter in self.chapters for item in chapter.items if isinstance(item, Figure)]


def make_report(paths: Sequence[Path], settings: Settings, command: Sequence[str]) -> Report:
    """Read results and compute the report.

    Args:
        paths: CSV files, or folders that hold a summary.csv.
        command: the command line, shown on the page.

    Raises:
        InputError: a file cannot be used; the message names the file and line.
        RefusedError: the results were timed or scored by several versions of the protocol, without `force`.
    """
    results = load_results(paths)
    require_one_version(results.rows, force=settings.force)
    runs = read_runs(paths, results)
    rows = results.rows
    latencies = FrameLatencies(rows, {run.label: run.frames for run in runs})
    arms = find_arms(results, force=settings.force, frame_latencies=latencies)
    options = Options(
        force=settings.force,
        center=settings.center,
        resamples=settings.resamples,
        seed=settings.seed,
        explain_by=tuple(BY_NAME) if has_attributes(rows) else (),
    )
    compared = compare_all(results, options)
    frames = frames_of(arms, runs, rows)
    why = why_no_power(rows)
    left_out = [f"{found.title}: {line}" for found in compared for line in losses(found)]
    chapters = (
        Chapter(
            "accuracy",
            "Accuracy, speed and energy",
            (accuracy_against_speed(arms), accuracy_against_energy(arms, why), *power_modes(arms)),
        ),
        Chapter("failures", "Where it fails", tuple(atlas(arms, rows, compared))),
        Chapter("streaming", "At the camera's pace", tuple(streaming(arms, rows))),
        Chapter(
            "time",
            "Latency",
            (
                latency_distributions(arms, frames),
                latency_over_frames(arms, frames),
                stage_shares(arms, rows),
                *spikes(arms, frames),
                *sustained_speed(arms, runs),
            ),
        ),
        Chapter("memory", "Memory", (peak_memory(arms, rows),)),
        Chapter("power", "Power and temperature", tuple(power_and_temperature(arms, runs, why))),
        Chapter(
            "differences",
            "Differences and how sure they are",
            tuple(item for index, found in enumerate(compared) for item in change_figures(found, index + 1)),
            tuple(left_out),
        ),
    )
    names = ", ".join(results.labels)
    return Report(
        title=settings.title or f"Video segmentation benchmark: {names if len(names) <= 60 else f'{len(results.labels)} runs'}",
        made_at=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        answer=tuple(answer(arms, results, compared, options)),
        arms=_arms_table(arms),
        arms_notes=(*_about_objects(arms), *_blind(arms, rows), *notes_of(arms, of_scores=True)),
        references=_references(arms),
        chapters=chapters,
        gallery=make_gallery(arms, rows, runs, settings.split_dir, settings.objects),
        rows=make_rows_table(rows, arms),
        provenance=provenance(results, arms, runs, command),
    )


def _arms_table(arms: Sequence[Arm]) -> Grid:
    has_scores = any(arm.JandF is not None for arm in arms)
    pools_frames = any(arm.summary.pools_frames for arm in arms)
    figures = {name: figure_label(name, pools_frames) for name in _ARM_FIGURES if any(arm.figure(name) is not None for arm in arms)}
    kinds = {arm.summary.peak_kind for arm in arms} - {""}
    peak_header = f"{next(iter(kinds))} MiB" if len(kinds) == 1 else "peak MiB"
    header = ["arm", "objects", *(["J", "F", "J&F"] if has_scores else []), *figures.values(), *([peak_header] if kinds else [])]
    lines = []
    for arm in arms:
        summary = arm.summary
        others = [f"{count} {status}" for status, count in sorted(summary.counts.items()) if status != "ok"]
        line = [arm.shown, " + ".join([str(summary.counts.get("ok", 0)), *others])]
        if has_scores:
            means, mark = summary.means, UNTRAINED if arm.is_random else ""
            line += ["", "", ""] if means is None else [f"{value:.3f}{mark}" for value in (means.J, means.F, means.JandF)]
        line += [arm.told(name) for name in figures]
        if kinds:
            peak = "" if summary.peak_MiB is None else f"{summary.peak_MiB:.0f}"
            line.append(f"{peak} {summary.peak_kind}".rstrip() if len(kinds) > 1 else peak)
        lines.append(line)
    return Grid(header, lines)


def _about_objects(arms: Sequence[Arm]) -> list[str]:
    """Say which objects the figures cover, and how percentiles are computed."""
    notes = [f"{note}." for note in arms[0].same.notes()]
    if any("invalid" in arm.summary.counts for arm in arms):
        notes.append("invalid: of these objects only J, F and J&F count, not times, power and memory.")
    few = {f"n<{one.needed}" for arm in arms for one in arm.summary.percentiles.values() if not one.can_be_quoted}
    notes += [f"{mark}: too few timed frames for this percentile, it needs {mark[2:]}." for mark in sorted(few)]
    notes += [f"{arm.label}: {kinds}." for arm in arms if (kinds := kinds_of_frames(arm.summary.figures))]
    if not any(arm.summary.pools_frames for arm in arms):
        notes.append(
            f"p50 ms{OF_OBJECTS}: mean over objects of their own percentiles; that of all frames needs frames.csv beside every file."
        )
    return notes


def _blind(arms: Sequence[Arm], rows: pd.DataFrame) -> list[str]:
    """Name the arms whose scores cover only frames that the model saw."""
    counts = {arm.label: numbers(rows.iloc[arm.scored], "between_frames_scored") for arm in arms}
    blind = [label for label, found in counts.items() if found.size and (found == 0).all()]
    return [f"{', '.join(blind)}: every scored frame is a key frame, so J and F say nothing of those between."] if blind else []


def _references(arms: Sequence[Arm]) -> Grid | None:
    """Set published scores, and speeds of the same board, beside those of comparable arms."""
    rows = []
    for arm in arms:
        if (line := arm.summary.reference) is not None:
            said = ["more than a point apart: check weights file, prompt and size"] if line.is_suspect else []
            said += [f"not the same experiment: {', '.join(line.departures)}"] if line.departures else []
            figures = [line.reference.shown, f"{line.JandF_percent:.1f}", str(line.objects), f"{line.difference:+.1f}"]
            rows.append([arm.shown, *figures, "; ".join(said) or "the same experiment", line.reference.source])
        for speed in arm.summary.speeds:
            reference = speed.reference
            said = [f"{reference.origin}: {reference.measured}", *speed.departures]
            figures = [f"{reference.shown} on {reference.board}", speed.here, str(arm.summary.timed), f"x{speed.ratio:.2f} as fast"]
            rows.append([arm.shown, *figures, "; ".join(said), reference.source])
    return Grid(["arm", "reference", "here", "objects", "difference", "remarks", "source"], rows, left=2) if rows else None
