"""The dictionary of columns in results/README.md. `.venv/bin/python -m savbench.results.dictionary` updates it."""

from __future__ import annotations

import sys
from pathlib import Path

from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import SummaryRow
from savbench.results.schema import Cell, RowSchema, values_of
from savbench.results.sustained import SustainedRow
from savbench.results.telemetry import TelemetryRow

KINDS = {str: "text", int: "whole number", float: "number", dict: "object of numbers"}


def dictionary(schema: type[RowSchema]) -> str:
    """Markdown for results/README.md: a table of columns and their meanings, then a table of keys for each cell."""
    lines = ["| column | meaning |", "|---|---|"]
    of_cell: dict[Cell, list[str]] = {}
    for value in values_of(schema):
        if value.cell is None:
            lines.append(f"| `{value.name}` | {value.meaning} |")
            continue
        if value.cell not in of_cell:
            lines.append(f"| `{value.cell.column}` | JSON object, keys below. {value.cell.meaning} |")
            of_cell[value.cell] = [f"Keys of `{value.cell.column}`:", "", "| key | kind | meaning |", "|---|---|---|"]
        of_cell[value.cell].append(f"| `{value.name}` | {KINDS[value.kind]} | {value.meaning} |")
    return "\n\n".join(["\n".join(table) for table in (lines, *of_cell.values())])


def with_dictionary(readme: str) -> str:
    """The text of results/README.md with its tables of columns updated."""
    tables = {
        "summary.csv": dictionary(SummaryRow),
        "frames.csv": dictionary(FrameRow),
        "streaming.csv": dictionary(StreamingRow),
        "sustained.csv": dictionary(SustainedRow),
        "telemetry.csv": dictionary(TelemetryRow),
    }
    for title, table in tables.items():
        heading = f"## {title}\n\n"
        before, _, after = readme.partition(heading)
        _, next_heading, rest = after.partition("\n## ")
        readme = before + heading + table + "\n" + next_heading + rest
    return readme


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[2] / "results" / "README.md"
    path.write_text(with_dictionary(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
