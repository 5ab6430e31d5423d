"""Export a comparison as CSV, one line per arm and measure, or as JSON with everything."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

from runners.text import one_line
from savbench.results.measures import MEASURES, SCORES, Measure
from savbench.results.text import for_spreadsheet

if TYPE_CHECKING:
    from savbench.compare.findings import ArmSummary, Change, Comparison

_COLUMNS = (
    "arm", "is_baseline", "is_reference", "measure", "kind", "objects", "value", "value_is", "weights_random", "baseline",
    "baseline_paired",
    "arm_paired", "paired_are", "change", "low", "high", "verdict", "pairs", "videos", "wins", "losses", "ties",
)  # fmt: skip


def render_csv(comparison: Comparison) -> str:
    """Write one line per block, arm and measure. Cells that a spreadsheet would run as formulas are escaped.

    `value` is the arm's figure over the objects that all arms of the block have; `value_is` says how it is computed. The columns that
    compare the arm with the baseline cover the objects that both have.
    """
    settings = list(dict.fromkeys(name for block in comparison.blocks for name in block.setting))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*settings, *_COLUMNS])
    for block in comparison.blocks:
        changes = {(pair.arm, change.measure.column): (pair, change) for pair in block.comparisons for change in pair.changes}
        for arm in block.arms:
            for measure in MEASURES:
                value = _value(arm, measure)
                pair, change = changes.get((arm.arm, measure.column), (None, None))
                if value is None and change is None:
                    continue
                cells: list[Any] = [block.setting.get(name, "") for name in settings]
                cells += [arm.arm, int(arm.is_baseline), int(arm.is_reference), measure.column, measure.kind]
                cells += [arm.scored if measure.column in SCORES else arm.timed, value, "" if value is None else _value_is(arm, measure)]
                cells += [int(arm.random), "" if pair is None else pair.baseline, *_cells(change, comparison.options.center)]
                writer.writerow(
                    ["" if cell is None else for_spreadsheet(one_line(cell)) if isinstance(cell, str) else cell for cell in cells]
                )
    return buffer.getvalue()


def render_json(comparison: Comparison) -> str:
    """Write the whole `Comparison`, with each measure as its column name."""

    def plain(value: Any) -> Any:
        if isinstance(value, Measure):
            return value.column
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return json.dumps(plain(comparison), indent=2) + "\n"


def _value(arm: ArmSummary, measure: Measure) -> float | None:
    if measure.column in SCORES:
        return None if arm.means is None else {"J": arm.means.J, "F": arm.means.F, "JandF": arm.means.JandF}[measure.column]
    return arm.figures.get(measure.column)


def _value_is(arm: ArmSummary, measure: Measure) -> str:
    if measure.percentile is not None and arm.pools_frames:
        return "of all timed frames"
    return {"rate": "timed frames over their total", "frames": "mean over timed frames", "largest": "largest of any object"}.get(
        measure.pooling, "mean over objects"
    )


def _cells(change: Change | None, center: str) -> list[Any]:
    if change is None:
        return [""] * 11
    paired_are = "means" if change.measure.kind == "difference" else "geometric means"
    if change.measure.is_time and center == "median":
        paired_are = "medians"
    return [
        change.baseline, change.arm, paired_are, change.change, change.low, change.high, change.verdict, change.pairs, change.videos,
        change.better, change.worse, change.same,
    ]  # fmt: skip
