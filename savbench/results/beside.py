"""Lenient reading of the files beside a summary.csv, which may be damaged, cut off or untrusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from savbench.results.run_folder import FRAMES, SUMMARY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FRAME_TEXT = ("arm_id", "video", "object")
_LATENCY = "latency_ms"
_NA = "NaN"
"""What pandas writes for an empty cell with na_rep="NaN"."""

Positions = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def folder_of(path: Path) -> Path | None:
    """The run's folder; None for a file not named summary.csv, since the files beside it may belong to something else."""
    summary = path / SUMMARY if path.is_dir() else path
    return summary.parent if summary.name == SUMMARY else None


def leads_out(folder: Path, path: Path) -> bool:
    """Whether a path in a folder is, or is behind, a link out of it. Folders may be untrusted, so no such link is followed."""
    return path.exists() and not path.resolve().is_relative_to(folder.resolve())


def read_table(folder: Path, name: str, text: Sequence[str], numbers: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """Read the wanted columns of a file; no rows if there is no file. Cells that should be numbers and are not become NaN.

    Args:
        notes: receives a line for a file that could not be read, with the reason.
    """
    empty = pd.DataFrame({name: pd.Series(dtype=object if name in text else float) for name in (*text, *numbers)})
    path = folder / name
    if leads_out(folder, path):
        notes.append(f"{path}: link out of the run's folder, not followed; its figures are missing here")
        return empty
    try:
        read = pd.read_csv(
            path, usecols=lambda column: column in (*text, *numbers), dtype=str, keep_default_na=False, on_bad_lines="skip",
            encoding="utf-8", encoding_errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        return empty
    except (OSError, ValueError) as error:
        notes.append(f"{path}: cannot be read ({error}); its figures are missing here")
        return empty
    for column in text:
        read[column] = read[column].fillna("").replace(_NA, "") if column in read else ""
    for column in numbers:
        read[column] = pd.to_numeric(read[column], errors="coerce").astype(float) if column in read else float("nan")
    return read


class FrameLatencies:
    """Latencies of the timed frames of rows, from the frames.csv beside their files."""

    def __init__(self, rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> None:
        """
        Args:
            rows: as in `Results.rows`.
            tables: by the label of the file; columns arm_id, video, object as text and latency_ms.
        """
        self._values = np.zeros(0)
        self._begins = np.zeros(len(rows) + 1, np.int64)
        counts = np.zeros(len(rows), np.int64)
        if "arm_id" in rows and len(rows):
            found = [self._of_file(rows, label, table) for label, table in tables.items() if len(table)]
            row = np.concatenate([np.zeros(0, np.int64), *(of for of, _ in found)])
            values = np.concatenate([np.zeros(0), *(of for _, of in found)])
            self._values = values[np.argsort(row, kind="stable")]
            counts = np.bincount(row, minlength=len(rows))
            self._begins[1:] = np.cumsum(counts)
        frames = rows["frames"].to_numpy(np.float64) if "frames" in rows else np.full(len(rows), np.nan)
        self._is_whole = (counts > 0) & (np.isnan(frames) | (frames == counts))

    @staticmethod
    def _of_file(rows: pd.DataFrame, label: str, table: pd.DataFrame) -> tuple[Positions, Floats]:
        """Row position and latency of each timed frame; frames without a row are left out."""
        own = np.flatnonzero((rows["file"] == label).to_numpy())
        table = table[table[_LATENCY].notna()]
        keys = pd.MultiIndex.from_arrays([rows[name].iloc[own].astype(str) for name in FRAME_TEXT])
        first = ~keys.duplicated()
        position = keys[first].get_indexer(pd.MultiIndex.from_arrays([table["arm_id"], table["video"], object_names(table["object"])]))
        inside = position >= 0
        return own[first][position[inside]], table[_LATENCY].to_numpy(np.float64)[inside]

    def of(self, positions: Positions) -> Floats | None:
        """Latencies in ms of these rows together; None if any row lacks frames, since percentiles of a part would mislead."""
        if not len(positions) or not self._is_whole[positions].all():
            return None
        return np.concatenate([self._values[self._begins[row] : self._begins[row + 1]] for row in positions])


def object_names(names: pd.Series[str]) -> pd.Series[str]:
    """Names of objects as `load_results` writes them: 000 for 0 and 0.0."""
    short = names.astype(str).str.removesuffix(".0")
    return short.where(~short.str.isdecimal(), short.str.zfill(3))


def read_frame_latencies(paths: Sequence[Path], labels: Sequence[str], rows: pd.DataFrame) -> FrameLatencies:
    """Read the frames.csv beside each of the files.

    Args:
        paths, labels: paths as given to `load_results`, and the labels it returned.
        rows: `Results.rows`.
    """
    tables = {}
    for path, label in zip(paths, labels, strict=True):
        folder = folder_of(path)
        if folder is not None:
            tables[label] = read_table(folder, FRAMES, FRAME_TEXT, (_LATENCY,), [])
    return FrameLatencies(rows, tables)
