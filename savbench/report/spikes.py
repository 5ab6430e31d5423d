"""Why frames took longer than 99% of their object's frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.report.charts import Axis, Bars, Figure, Part, notes_of, number
from savbench.results.grid import Grid
from savbench.results.spikes import CAUSES, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from savbench.report.arms import Arm


def spikes(arms: Sequence[Arm], frames: dict[int, pd.DataFrame]) -> list[Figure]:
    """Show the frames beyond the 99th percentile by cause. Nothing if no frame has a cause, as in files of older versions.

    Args:
        frames: valid timed frames by arm number.
    """
    of_arm: dict[int, pd.DataFrame] = {}
    for arm in arms:
        table = frames.get(arm.number)
        if table is None or not (table["spike_cause"] != "").any():
            continue
        usual_ms = table.groupby(["video", "object"])["latency_ms"].transform("median")
        of_arm[arm.number] = table.assign(excess=table["latency_ms"] - usual_ms)[table["spike_cause"] != ""]
    drawn = [arm for arm in arms if arm.number in of_arm]
    if not drawn:
        return []
    causes = [cause for cause in (*CAUSES, UNKNOWN) if any(_has(of_arm[arm.number], cause).any() for arm in drawn)]
    shares = {cause: [100 * float(_has(of_arm[arm.number], cause).mean()) for arm in drawn] for cause in causes}
    parts = tuple(Part(cause, tuple(of_cause), tuple(f"{share:.0f}%" for share in of_cause)) for cause, of_cause in shares.items())
    rows = [
        [arm.shown, str(len(of_arm[arm.number])), number(float(of_arm[arm.number]["excess"].median()))]
        + [str(int(_has(of_arm[arm.number], cause).sum())) for cause in causes]
        for arm in drawn
    ]
    says = "Frames beyond the 99th percentile of their object's frames, by what happened in them; a frame may have several causes."
    meanings = tuple(f"{cause}: {CAUSES[cause]}." for cause in causes if cause in CAUSES)
    grid = Grid(["arm", "frames", "median excess, ms", *causes], rows)
    bars = Bars(Axis("share of these frames, %", low=0, high=100), tuple(arm.shown for arm in drawn), parts)
    return [Figure("spikes", "Causes of latency spikes", says, bars, grid, (*meanings, *notes_of(drawn)))]


def _has(table: pd.DataFrame, cause: str) -> pd.Series[bool]:
    return table["spike_cause"].str.split("; ").map(lambda causes: cause in causes)
