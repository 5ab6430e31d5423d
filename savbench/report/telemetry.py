"""Power and temperature over the course of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from savbench.report.charts import NEUTRAL_STYLE, Axis, Figure, Line, Lines, Missing, number, style_of
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.report.arms import Arm
    from savbench.report.runs import Run

MOST_POINTS = 600
"""Maximum number of time bins over a run."""
LONGEST_PAUSE_S = 60.0
"""Longer gaps between readings, such as between two invocations of a run, are cut from the time axis."""
MOST_ALARMS = 200

BETWEEN = "between arms"


def power_and_temperature(arms: Sequence[Arm], runs: Sequence[Run], why_not: str) -> list[Figure | Missing]:
    """Draw power and temperature of every run with telemetry.csv.

    Args:
        why_not: why there is no power, if the rows say.
    """
    figures: list[Figure | Missing] = []
    several = sum(len(run.telemetry) > 0 for run in runs) > 1
    for index, run in enumerate(runs):
        table = _prepared(run.telemetry)
        if len(table):
            ours = [arm for arm in arms if arm.run == run.label]
            suffix, of = (f"-{index + 1}", f", {run.label}") if several else ("", "")
            figures += [_power(table, ours, suffix, of), _temperature(table, ours, suffix, of)]
    if figures:
        return figures
    why = why_not or "--power auto, which is the default, records it where jetson-stats, INA3221 monitors or NVML answer."
    return [Missing("power", "Power and temperature over time", f"There is no telemetry.csv beside the results. {why}")]


def _prepared(readings: pd.DataFrame) -> pd.DataFrame:
    """Return readings in order, with `minute` since the first, excluding pauses, and `temperature` of the junction or hottest zone."""
    if not len(readings):
        return readings
    time = pd.to_datetime(readings["time"], errors="coerce", utc=True, format="ISO8601")
    table = readings[time.notna()].assign(when=time[time.notna()]).sort_values("when", kind="stable").reset_index(drop=True)
    step_s = table["when"].diff().dt.total_seconds().fillna(0.0).to_numpy(np.float64)
    zones = table["temperatures_c"].astype(str)
    junction = pd.to_numeric(zones.str.extract(r"(?:^|; )tj=(-?[\d.]+)", expand=False), errors="coerce")
    listed = zones.str.extractall(r"=(-?[\d.]+)")[0].astype(float)
    hottest = listed.groupby(level=0).max().reindex(table.index)
    return table.assign(
        minute=np.cumsum(np.where(step_s > LONGEST_PAUSE_S, 0.0, step_s)) / 60,
        temperature=junction.fillna(hottest).astype(float),
        watt=table["total_mw"] / 1e3,
    )


def _power(table: pd.DataFrame, arms: Sequence[Arm], suffix: str, of: str) -> Figure | Missing:
    key, title = f"power{suffix}", f"Power over time{of}"
    if table["watt"].isna().all():
        return Missing(key, title, "telemetry.csv has no power: its source reads none.")
    says = "Mean power of each stretch of time, with the band from its lowest to its highest reading. Grey: idling, building, scoring."
    lines = _lines(table, "watt", arms, has_band=True)
    drawing = Lines(Axis("minutes of the run", low=0), Axis("power, W", low=0), lines)
    return Figure(key, title, says, drawing, _table(table, "watt", arms, "W"), _thinned(table))


def _temperature(table: pd.DataFrame, arms: Sequence[Arm], suffix: str, of: str) -> Figure | Missing:
    key, title = f"temperature{suffix}", f"Temperature over time{of}"
    if table["temperature"].isna().all():
        return Missing(key, title, "telemetry.csv has no temperatures: its source reads none.")
    alarms = table[(table["alarms"] != "") & table["temperature"].notna()]
    shown = alarms.iloc[:: max(1, -(-len(alarms) // MOST_ALARMS))]
    marks = tuple(
        (float(m), float(t), str(text)) for m, t, text in zip(shown["minute"], shown["temperature"], shown["alarms"], strict=True)
    )
    says = "Highest temperature of the junction, or of the hottest zone where there is no such sensor, in each stretch of time."
    if marks:
        says += " Crosses: the board throttled or drew too much."
    lines = _lines(table, "temperature", arms, has_band=False)
    drawing = Lines(Axis("minutes of the run", low=0), Axis("temperature, °C"), lines, marks)
    return Figure(key, title, says, drawing, _table(table, "temperature", arms, "°C"), _thinned(table))


def _thinned(table: pd.DataFrame) -> tuple[str, ...]:
    if len(table) <= MOST_POINTS:
        return ()
    return (f"{len(table)} readings are drawn as at most {MOST_POINTS} stretches of time; telemetry.csv has them all.",)


def _lines(table: pd.DataFrame, column: str, arms: Sequence[Arm], *, has_band: bool) -> tuple[Line, ...]:
    """Return one line per arm and one for the time between arms, each broken where another line takes over."""
    width = max(float(table["minute"].iloc[-1]) / MOST_POINTS, 1e-9)
    slot = np.minimum((table["minute"].to_numpy(np.float64) / width).astype(np.int64), MOST_POINTS - 1)
    number_of = {arm.arm_id: index for index, arm in enumerate(arms) if arm.arm_id}
    during = table["phase"].isin(["warm-up", "timed"])
    owner = np.array(
        [number_of.get(arm, -1) if is_during else -1 for arm, is_during in zip(table["arm_id"], during, strict=True)], np.int64
    )
    grouped = pd.DataFrame({"slot": slot, "owner": owner, "minute": table["minute"], "value": table[column]}).groupby(["slot", "owner"])
    values = grouped["value"].max() if column == "temperature" else grouped["value"].mean()
    bins = pd.DataFrame(
        {"minute": grouped["minute"].mean(), "value": values, "low": grouped["value"].min(), "high": grouped["value"].max()}
    )
    bins = bins.reset_index().sort_values("minute", kind="stable").reset_index(drop=True)
    lines = []
    for code in sorted(set(bins["owner"]), key=lambda code: (code < 0, code)):
        mine = (bins["owner"] == code).to_numpy()
        # a bin of another owner breaks the line
        chosen = bins[mine | np.append(False, mine[:-1])].assign(
            value=lambda frame, code=code: frame["value"].where(frame["owner"] == code)
        )
        x, y, low, high = (tuple(map(float, chosen[name].where(chosen["value"].notna() | (name == "minute")))) for name in (
            "minute", "value", "low", "high"))  # fmt: skip
        style, label = (style_of(arms[code].number), arms[code].label) if code >= 0 else (NEUTRAL_STYLE, BETWEEN)
        lines.append(Line(label, style, x, y, low if has_band else (), high if has_band else ()))
    return tuple(lines)


def _table(table: pd.DataFrame, column: str, arms: Sequence[Arm], unit: str) -> Grid:
    rows = []
    for arm in arms:
        values = table.loc[(table["arm_id"] == arm.arm_id) & (table["phase"] == "timed"), column].dropna()
        if len(values):
            rows.append([arm.label, str(len(values)), *(number(float(value)) for value in (values.min(), values.mean(), values.max()))])
    return Grid(["arm, timed frames and decoding", "readings", f"lowest, {unit}", f"mean, {unit}", f"highest, {unit}"], rows)
