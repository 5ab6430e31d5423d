"""The dictionary of every column, as results/README.md prints it: `python -m savbench.results.dictionary` brings it up to date."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

from savbench.results.rows import FrameRow, StreamingRow, SummaryRow
from savbench.results.schema import Row
from savbench.results.sustained import SustainedRow
from savbench.results.telemetry import TelemetryRow


def dictionary(schema: type[Row]) -> str:
    """A markdown table of every column and its meaning, for results/README.md."""
    lines = ["| column | meaning |", "|---|---|"]
    lines += [f"| `{f.name}` | {f.metadata['meaning']} |" for f in fields(schema)]
    return "\n".join(lines)


def with_dictionary(readme: str) -> str:
    """The text of results/README.md with the tables of columns brought up to date."""
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
        readme = before + heading + table + "\n" + re.sub(r"\A(\|.*\n?)*", "", after)
    return readme


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[2] / "results" / "README.md"
    path.write_text(with_dictionary(path.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
