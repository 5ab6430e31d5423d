"""The files beside a run's summary.csv, read leniently: a report must work for broken runs too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from savbench.results.beside import FRAME_TEXT, folder_of, leads_out, read_table
from savbench.results.run_folder import ENVIRONMENT, FRAMES, RUN, SUMMARY
from savbench.results.sustained import SUSTAINED
from savbench.results.telemetry import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from savbench.results.foreign import Results

_FRAME_NUMBERS = ("frame", "latency_ms", "J", "F")
_TELEMETRY_TEXT = ("time", "arm_id", "phase", "temperatures_c", "alarms")
_TELEMETRY_NUMBERS = ("total_mw",)
_SUSTAINED_NUMBERS = ("minutes", "fps", "temperature_peak_c")


@dataclass(frozen=True)
class Run:
    """A results file and the files beside it.

    Attributes:
        label: as in the column `file` of `Results.rows`.
        summary: the results file.
        folder: the run's folder; None if the file is not a run's own summary.csv, so that files beside it may not belong to it.
        about: contents of run.json.
        invocations: entries of environment.json, oldest first.
        frames: columns arm_id, video, object, spike_cause, frame_kind as text; frame, latency_ms, J, F as float64. Empty without a file.
        telemetry: columns time, arm_id, phase, temperatures_c, alarms as text; total_mw as float64.
        sustained: columns arm_id, video, object as text; minutes, fps, temperature_peak_c as float64.
        notes: files that could not be read, and why.
    """

    label: str
    summary: Path
    folder: Path | None
    about: Mapping[str, Any] = field(default_factory=dict)
    invocations: Sequence[Mapping[str, Any]] = ()
    frames: pd.DataFrame = field(default_factory=pd.DataFrame)
    telemetry: pd.DataFrame = field(default_factory=pd.DataFrame)
    sustained: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: Sequence[str] = ()


def read_runs(paths: Sequence[Path], results: Results) -> list[Run]:
    """Read the files beside each file that `results` was loaded from, in their order.

    Args:
        paths: files and folders, as given to `load_results`.
    """
    return [_read(path, label) for path, label in zip(paths, results.labels, strict=True)]


def _read(path: Path, label: str) -> Run:
    summary, folder = path / SUMMARY if path.is_dir() else path, folder_of(path)
    if folder is None:
        return Run(label, summary, None)
    notes: list[str] = []
    about, environment = (_read_json(folder, name, notes) for name in (RUN, ENVIRONMENT))
    invocations = environment.get("invocations")
    return Run(
        label,
        summary,
        folder,
        about,
        [entry for entry in invocations if isinstance(entry, dict)] if isinstance(invocations, list) else [],
        read_table(folder, FRAMES, (*FRAME_TEXT, "spike_cause", "frame_kind"), _FRAME_NUMBERS, notes),
        read_table(folder, TELEMETRY, _TELEMETRY_TEXT, _TELEMETRY_NUMBERS, notes),
        read_table(folder, SUSTAINED, FRAME_TEXT, _SUSTAINED_NUMBERS, notes),
        notes,
    )


def _read_json(folder: Path, name: str, notes: list[str]) -> dict[str, Any]:
    path = folder / name
    if leads_out(folder, path):
        notes.append(f"{path}: a link out of the run's folder, not followed; what it tells is missing here")
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        notes.append(f"{path}: cannot be read ({error}); what it tells is missing here")
        return {}
    return data if isinstance(data, dict) else {}
