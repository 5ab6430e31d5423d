"""What a run left beside its summary.csv, read leniently: a report is wanted of broken runs too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from savbench.results.run_folder import ENVIRONMENT, FRAMES, RUN, SUMMARY
from savbench.results.sustained import SUSTAINED
from savbench.results.telemetry import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from savbench.results.foreign import Results

_FRAME_TEXT = ("arm_id", "video", "object")
_FRAME_NUMBERS = ("frame", "latency_ms", "J", "F")
_TELEMETRY_TEXT = ("time", "arm_id", "phase", "temperatures_c", "alarms")
_TELEMETRY_NUMBERS = ("total_mw",)
_SUSTAINED_NUMBERS = ("minutes", "fps", "temperature_peak_c")


@dataclass(frozen=True)
class Run:
    """One file of results and what lies beside it.

    Attributes:
        label: as in the column `file` of `Results.rows`.
        summary: the file.
        folder: the run's folder; None where the file is not a run's own summary.csv, so that nothing beside it can be taken for its own.
        about: what run.json holds.
        invocations: of environment.json, oldest first.
        frames: columns arm_id, video, object as text; frame, latency_ms, J, F as float64. Empty where there is no file.
        telemetry: columns time, arm_id, phase, temperatures_c, alarms as text; total_mw as float64.
        sustained: columns arm_id, video, object as text; minutes, fps, temperature_peak_c as float64.
        notes: what could not be read.
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
    """What lies beside each of the files that `results` was loaded from, in their order.

    Args:
        paths: files and folders, as they were given to `load_results`.
    """
    return [_read(path, label) for path, label in zip(paths, results.labels, strict=True)]


def _read(path: Path, label: str) -> Run:
    summary = path / SUMMARY if path.is_dir() else path
    if summary.name != SUMMARY:
        return Run(label, summary, None)
    folder = summary.parent
    notes: list[str] = []
    about, environment = (_read_json(folder / name, notes) for name in (RUN, ENVIRONMENT))
    invocations = environment.get("invocations")
    return Run(
        label,
        summary,
        folder,
        about,
        [entry for entry in invocations if isinstance(entry, dict)] if isinstance(invocations, list) else [],
        _read_table(folder / FRAMES, _FRAME_TEXT, _FRAME_NUMBERS, notes),
        _read_table(folder / TELEMETRY, _TELEMETRY_TEXT, _TELEMETRY_NUMBERS, notes),
        _read_table(folder / SUSTAINED, _FRAME_TEXT, _SUSTAINED_NUMBERS, notes),
        notes,
    )


def _read_json(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        notes.append(f"{path}: cannot be read ({error}); what it tells is missing here")
        return {}
    return data if isinstance(data, dict) else {}


def _read_table(path: Path, text: Sequence[str], numbers: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """The columns that are there and wanted; no rows where there is no file. Cells that are no numbers are missing."""
    empty = pd.DataFrame({name: pd.Series(dtype=object if name in text else float) for name in (*text, *numbers)})
    try:
        read = pd.read_csv(
            path, usecols=lambda name: name in (*text, *numbers), dtype=str, keep_default_na=False, on_bad_lines="skip",
            encoding="utf-8", encoding_errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        return empty
    except (OSError, ValueError) as error:
        notes.append(f"{path}: cannot be read ({error}); its figures are missing here")
        return empty
    for name in text:
        read[name] = read[name].fillna("") if name in read else ""
    for name in numbers:
        read[name] = pd.to_numeric(read[name], errors="coerce").astype(float) if name in read else float("nan")
    return read
