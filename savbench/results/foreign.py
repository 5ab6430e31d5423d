"""Read results files of this project and of older tools into one table of rows.

Supported are this project's summary.csv (alone, concatenated from shards, or resaved by other tools) and the headers of two older tools,
which have no status, device, prompt or weights, and call the dtype `precision` or omit it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from runners.text import one_line
from savbench.data.csv_file import CsvFile, InputError, read_csv
from savbench.results.beside import leads_out
from savbench.results.cells import spread_cells
from savbench.results.circumstances import KNOWN_ONCE_BUILT, MEANING_OF_EMPTY, SETTINGS
from savbench.results.measures import BY_COLUMN, MEASURES
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import ENVIRONMENT, SUMMARY
from savbench.results.schema import number_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


KEY = ("video", "object")
REQUIRED = (*KEY, "model")
SHARED = "tracked"
"""Whether a row's object was tracked alone or in a shared session; an arm may have both, since a video may have a single object."""

UNKNOWN = "?"
"""Value of a setting that the file lacks."""
NOT_APPLICABLE = "none"
"""Value of a setting that does not apply to the model, as in the rows themselves."""

_NOT_A_NUMBER = frozenset({"nan", "na", "n/a", "<na>", "null", "none", "-nan"})
_PRECISIONS = {
    "fp32": "float32", "float": "float32", "fp16": "float16", "half": "float16", "amp": "float16", "bf16": "bfloat16",
}  # fmt: skip
_PROMPT_SUFFIXES = ("points", "bbox", "mask")
_LEGACY_OUTLIER_FACTOR = 1.5


@dataclass
class Results:
    """Rows of one or more results files.

    Attributes:
        rows: one per object and arm, in the order of the files. Columns: `file` (label of the file), `path`, `line`; `video`, `object`;
            every name of `SETTINGS` as text, `UNKNOWN` if the file lacks it; every column of `MEASURES` as float64, NaN if missing;
            `status`; `failure`, empty or why the row has no figures; `invalid`, empty or why the row's times are invalid; and every
            other column of the files as its text, with cells that hold several values spread over columns.
        labels: labels of the files, in the order given.
        legacy: labels of files of older tools, whose fps covers the whole clip.
        notes: what was left out, repaired or assumed, with file and line.
    """

    rows: pd.DataFrame
    labels: list[str]
    legacy: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)


def load_results(paths: Sequence[Path]) -> Results:
    """Read files and run folders.

    Args:
        paths: CSV files, or folders that hold a summary.csv.

    Raises:
        InputError: a file cannot be used; the message names file and line.
    """
    files = [path / SUMMARY if path.is_dir() else path for path in paths]
    labels = _labels(paths)
    frames, notes, legacy = [], [], set()
    for path, label in zip(files, labels, strict=True):
        csv_file = read_csv(path, REQUIRED)
        notes += csv_file.notes
        faults = spread_cells(csv_file, SummaryRow)
        if faults:
            raise InputError(faults[0])
        is_legacy = "arm_id" not in csv_file.columns
        if is_legacy:
            legacy.add(label)
        frames.append(_rows_of(csv_file, label, is_legacy, notes))
    rows = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    for name in {name for frame in frames for name in frame.columns if any(name not in other.columns for other in frames)}:
        if rows[name].dtype == object:
            rows[name] = rows[name].where(rows[name].notna(), "")
    return Results(rows, labels, frozenset(legacy), notes)


def to_numbers(csv_file: CsvFile, column: str, notes: list[str]) -> npt.NDArray[np.float64]:
    """Convert a column to float64, NaN for empty cells. Cells such as `nan` or `n/a` count as empty.

    Args:
        notes: receives a note if cells such as `nan` were taken as empty.

    Raises:
        InputError: a cell is not a finite number; the message names file and line.
    """
    cells = csv_file.columns[column]
    distinct = set(cells)
    if distinct <= {"", None}:
        return np.full(len(cells), math.nan)
    try:
        # fast path; an empty or non-numeric cell falls back to the slow one
        numbers = np.array(list(map(float, cells)))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        numbers = np.array([_to_number(csv_file, column, index) for index in range(len(cells))])
    for index in np.flatnonzero(np.isinf(numbers)):
        raise InputError(f"{csv_file.path}:{csv_file.lines[index]}: column {column}: {cells[index]} is not finite; mend or empty the cell")
    said = [index for index in np.flatnonzero(np.isnan(numbers)) if (cells[index] or "").strip()]
    if said:
        more = f" (and {len(said) - 1} more rows)" if len(said) > 1 else ""
        notes.append(f"{csv_file.path}:{csv_file.lines[said[0]]}: column {column}: {cells[said[0]]}{more}; taken as missing")
    return numbers


def _to_number(csv_file: CsvFile, column: str, index: int) -> float:
    text = (csv_file.columns[column][index] or "").strip()
    if not text or text.lower() in _NOT_A_NUMBER:
        return math.nan
    try:
        return float(text)
    except ValueError:
        where = f"{csv_file.path}:{csv_file.lines[index]}"
        raise InputError(f"{where}: column {column}: {text!r} is not a number; mend or empty the cell") from None


def _rows_of(csv_file: CsvFile, label: str, is_legacy: bool, notes: list[str]) -> pd.DataFrame:
    columns, size = csv_file.columns, len(csv_file.lines)
    data: dict[str, Any] = {"file": [label] * size, "path": [str(csv_file.path)] * size, "line": np.array(csv_file.lines)}
    # keep exact text: blanks may be part of the name
    video = [cell or "" for cell in columns["video"]]
    nameless = next((index for index, name in enumerate(video) if not name.strip()), None)
    if nameless is not None:
        raise InputError(f"{csv_file.path}:{csv_file.lines[nameless]}: no video; mend or remove that line")
    data["video"], data["object"] = video, _mapped(columns["object"], _object_name)
    settings = _settings(csv_file)
    kinds = number_values(SummaryRow)
    for name in SETTINGS:
        data[name] = settings.get(name, [UNKNOWN] * size)
        if name in columns and name in kinds:
            to_numbers(csv_file, name, notes)
    measured = {measure.column for measure in MEASURES} | {name for name in kinds if name not in SETTINGS}
    for name in columns:
        if name in measured:
            data[name] = to_numbers(csv_file, name, notes)
    for measure in MEASURES:
        if measure.column not in data:
            data[measure.column] = np.full(size, np.nan)
        _require_range(csv_file, measure.column, data[measure.column])
    alone = columns.get("shared")
    data[SHARED] = [UNKNOWN] * size if alone is None else _mapped(alone, lambda text: "in a shared session" if text else "alone")
    data["status"], data["failure"] = _statuses(csv_file, data)
    data["invalid"] = _mapped(columns.get("validity", [""] * size), lambda text: "" if text in ("", "ok") else text)
    # build the DataFrame from one dict: adding columns one by one fragments it
    rest = {name: cells for name, cells in columns.items() if name not in data}
    rows = pd.DataFrame({name: _column(values) for name, values in (data | rest).items()})
    if not is_legacy:
        _fill_from_arm(rows, csv_file)
        _fill_power_mode(rows, csv_file.path)
    else:
        notes += _legacy_notes(csv_file, label, rows)
    return rows


def _column(values: Any) -> Any:
    """Keep text as Python strings, since the dtype that pandas infers differs between its versions."""
    return values if isinstance(values, np.ndarray) else pd.Series(values, dtype=object)


def _mapped(cells: Sequence[str | None], function: Callable[[str], str]) -> list[str]:
    """Apply a function once per distinct cell, since files repeat a few values."""
    results = {cell: function((cell or "").strip()) for cell in set(cells)}
    return [results[cell] for cell in cells]


def _object_name(text: str) -> str:
    """Return `000` for 000, 0 and 0.0: spreadsheets and pandas turn the folder's name into a number."""
    number = text.removesuffix(".0")
    return number.zfill(3) if number.isdecimal() else text


def _settings(csv_file: CsvFile) -> dict[str, list[str]]:
    columns = csv_file.columns
    kinds = number_values(SummaryRow)
    settings = {}
    for name in SETTINGS:
        cells = columns.get(name)
        if name == "autocast_dtype" and cells is None and "precision" in columns:
            cells = columns["precision"]
        if cells is not None:
            tidy = _mapped(cells, _whole_number) if name in kinds else [(cell or "").strip() for cell in cells]
            empty = MEANING_OF_EMPTY.get(name, UNKNOWN)
            settings[name] = [UNKNOWN if cell is None else text or empty for cell, text in zip(cells, tidy, strict=True)]
    if "autocast_dtype" in settings:
        settings["autocast_dtype"] = _mapped(settings["autocast_dtype"], lambda text: _PRECISIONS.get(text.lower(), text))
    if "num_maskmem" in settings and "attention" in settings:
        without = [attention == NOT_APPLICABLE for attention in settings["attention"]]
        settings["num_maskmem"] = [NOT_APPLICABLE if no else text for no, text in zip(without, settings["num_maskmem"], strict=True)]
    if "prompt" not in columns:
        # older tools write MODEL_PROMPT into the column `model`
        tags = settings["model"]
        settings["prompt"] = _mapped(tags, lambda tag: tag.rpartition("_")[2] if tag.rpartition("_")[2] in _PROMPT_SUFFIXES else UNKNOWN)
        settings["model"] = _mapped(tags, lambda tag: tag.rpartition("_")[0] if tag.rpartition("_")[2] in _PROMPT_SUFFIXES else tag)
    return settings


def _whole_number(text: str) -> str:
    """Return `1024` for 1024.0; keep text that is not a number, for `to_numbers` to report."""
    try:
        number = float(text)
    except ValueError:
        return text
    return "" if math.isnan(number) else f"{number:.0f}" if number.is_integer() else text


def _statuses(csv_file: CsvFile, data: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the status of each row, and the reason if it is not ok or has no figures."""
    size = len(csv_file.lines)
    figures = np.zeros(size, np.bool_)
    for name in ("latency_ms", "fps", "J"):
        figures |= ~np.isnan(data[name])
    status = [cell or "" for cell in csv_file.columns.get("status", [""] * size)]
    status = [text or ("ok" if has else "no figures") for text, has in zip(status, figures, strict=True)]
    failure = [("" if has else "no figures") if text == "ok" else text for text, has in zip(status, figures, strict=True)]
    return status, failure


def _require_range(csv_file: CsvFile, column: str, numbers: npt.NDArray[np.float64]) -> None:
    is_share = BY_COLUMN[column].is_share
    high = 1.0 if is_share else math.inf
    # energy minus idle power may be negative
    low = -math.inf if column == "energy_j_per_frame" else 0.0
    for index in np.flatnonzero((numbers < low) | (numbers > high)):
        bounds = "0 to 1; divide percentages by 100" if is_share else "0 or more"
        raise InputError(f"{csv_file.path}:{csv_file.lines[index]}: column {column}: {numbers[index]:g} is not in its range, {bounds}")


def _fill_from_arm(rows: pd.DataFrame, csv_file: CsvFile) -> None:
    arm_id = np.array([cell or "" for cell in csv_file.columns["arm_id"]], dtype=object)
    failed = (rows["failure"] != "").to_numpy()
    for name in KNOWN_ONCE_BUILT:
        values = rows[name].to_numpy(dtype=object).copy()
        lacking = failed & np.isin(values, [UNKNOWN, NOT_APPLICABLE])
        for arm in set(arm_id[lacking]):
            known = set(values[(arm_id == arm) & ~failed])
            values[lacking & (arm_id == arm)] = known.pop() if len(known) == 1 else UNKNOWN
        rows[name] = pd.Series(values, dtype=object)


def _fill_power_mode(rows: pd.DataFrame, path: Path) -> None:
    """Take the power mode from the run's environment.json if no row has it."""
    if path.name != SUMMARY or (rows["nvpmodel"] != UNKNOWN).any() or leads_out(path.parent, path.parent / ENVIRONMENT):
        return
    try:
        invocations = json.loads((path.parent / ENVIRONMENT).read_text(encoding="utf-8"))["invocations"]
        modes = {invocation["power_mode"]["name"] for invocation in invocations if invocation.get("power_mode")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # the rows already say unknown
    if modes:
        rows["nvpmodel"] = pd.Series([" then ".join(sorted(map(str, modes)))] * len(rows), dtype=object)


def _legacy_notes(csv_file: CsvFile, label: str, rows: pd.DataFrame) -> list[str]:
    notes = [f"{label}: written by an older tool; its fps and latency are whole-clip figures"]
    if "JandF_proxy" in csv_file.columns:
        notes.append(f"{label}: JandF_proxy is not J&F and is not taken for it")
    outliers = []
    for (model, *_), group in rows.groupby(["model", "prompt", "imgsz", "autocast_dtype"], sort=False):
        for column in ("latency_ms", "setup_ms"):
            first, others = group[column].iloc[0], group[column].iloc[1:].dropna()
            if len(others) >= 2 and first > _LEGACY_OUTLIER_FACTOR * others.median():
                outliers.append(f"line {group['line'].iloc[0]}: {model} {column} {first / others.median():.1f} times the median")
                break
    if outliers:
        shown = "; ".join(outliers[:3]) + (f"; and {len(outliers) - 3} more" if len(outliers) > 3 else "")
        notes.append(f"{label}: the first row of a model holds its loading ({shown}); --center median is not moved by it")
    return notes


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each path, with as many of its folders as needed to distinguish it."""
    parts = []
    for path in paths:
        whole = path.absolute()
        if whole.name == SUMMARY:
            whole = whole.parent
        parts.append(tuple(map(one_line, (*whole.parts[1:-1], whole.name.removesuffix(".csv")))))
    labels = [part[-1] for part in parts]
    for depth in range(2, max(map(len, parts)) + 1):
        if len(set(labels)) == len(labels):
            break
        labels = ["/".join(part[-depth:]) if labels.count(label) > 1 else label for part, label in zip(parts, labels, strict=True)]
    return [f"{label}#{labels[:index].count(label) + 1}" if labels.count(label) > 1 else label for index, label in enumerate(labels)]
