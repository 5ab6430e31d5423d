"""Brings tables that another version of the benchmark wrote to this version's columns: archives outlive versions.

What this version has in addition is empty, as in a row without that feature; what it does not know is left out. The sums of the sealed
files are checked before.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from savbench.results.cells import open_cell
from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import FRAMES, STREAMING, SUMMARY
from savbench.results.schema import columns, values_of
from savbench.results.sustained import SUSTAINED, SustainedRow
from savbench.results.telemetry import TELEMETRY, TelemetryRow

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.results.schema import RowSchema

SCHEMAS: dict[str, type[RowSchema]] = {
    SUMMARY: SummaryRow, FRAMES: FrameRow, STREAMING: StreamingRow, SUSTAINED: SustainedRow, TELEMETRY: TelemetryRow,
}  # fmt: skip


def adapt(folder: Path) -> list[str]:
    """Rewrite the tables of an unpacked archive whose columns are not this version's. Returns what was added and left out, a line each.

    Raises:
        ValueError: a table is no CSV.
        OSError: a file cannot be read or written.
    """
    return [line for name, schema in SCHEMAS.items() if (folder / name).is_file() for line in _adapt(folder / name, schema)]


def _adapt(path: Path, schema: type[RowSchema]) -> list[str]:
    wanted = columns(schema)
    of_cell: dict[str, set[str]] = {}
    for value in values_of(schema):
        if value.cell is not None:
            of_cell.setdefault(value.column, set()).add(value.name)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"{path.name}: no CSV ({error})") from error
    unknown_keys: set[str] = set()
    for row in rows:
        for column, known in of_cell.items():
            try:
                details = open_cell(row.get(column) or "")
            except ValueError:
                continue  # told where the rows are read
            if extra := details.keys() - known:
                unknown_keys |= extra
                kept = {name: content for name, content in details.items() if name in known}
                row[column] = json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""
    if header == wanted and not unknown_keys:
        return []
    if len(set(header)) < len(header) or any(None in row or None in row.values() for row in rows):
        return []  # damaged, not of another version: told where the rows are read
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, wanted, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    added, dropped = [name for name in wanted if name not in header], [name for name in header if name not in wanted]
    told = {"is without": added, "has what this version does not know": [*dropped, *sorted(unknown_keys)]}
    return [f"{path.name} {what}: {', '.join(names)}" for what, names in told.items() if names]
