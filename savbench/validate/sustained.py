"""Checks that every course in sustained.csv advances in time, round by round, and belongs to an arm of the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.data.csv_file import read_csv
from savbench.results.run_folder import SUMMARY
from savbench.results.sustained import SUSTAINED, SustainedRow
from savbench.validate.findings import KEY, Table, close, keys_of

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.validate.findings import Report


def check_sustained(folder: Path, rows: Table, report: Report) -> None:
    """Check sustained.csv if there is one.

    Raises:
        InputError: it cannot be read at all.
    """
    if not (folder / SUSTAINED).exists():
        return
    runs = Table(read_csv(folder / SUSTAINED, KEY), SustainedRow, report)
    text, n = runs.text, runs.numbers
    known = set(keys_of(rows))
    # a row without an object only says why a course was aborted
    is_run = text["video"] != ""
    unknown = np.array([key not in known for key in keys_of(runs)], np.bool_)
    runs.flag(report, is_run & unknown, lambda row: f"{SUMMARY} has no such row for arm {text['arm_id'][row]}")
    for name in ("round", "minutes", "t_s", "frames", "fps", "latency_p50_ms"):
        runs.flag(report, is_run & np.isnan(n[name]), lambda row, name=name: f"a run without {name}")  # type: ignore[misc]
    seen: dict[tuple[str, str, str], int] = {}
    next_round = np.full(len(runs.lines), np.nan)
    for index, key in enumerate(keys_of(runs)):
        if is_run[index]:
            next_round[index] = seen[key] = seen.get(key, 0) + 1
    runs.flag(
        report, is_run & ~close(n["round"], next_round), lambda row: f"round {n['round'][row]:g}, but the next is {next_round[row]:g}"
    )
    arms = sorted(set(text["arm_id"]))
    for arm in arms:
        of_arm = np.flatnonzero(text["arm_id"] == arm)
        backwards, early_end = np.zeros(len(runs.lines), np.bool_), np.zeros(len(runs.lines), np.bool_)
        for name in ("minutes", "t_s"):
            with np.errstate(invalid="ignore"):
                backwards[of_arm[1:]] |= np.diff(n[name][of_arm]) < 0
        early_end[of_arm[:-1]] = text["end"][of_arm[:-1]] != ""
        runs.flag(report, backwards, lambda row: "earlier than the run before it")
        runs.flag(report, early_end, lambda row: f"the course continues after its end, {text['end'][row]}")
        if not text["end"][of_arm[-1]]:
            report.notes.append(f"{SUSTAINED}: the course of {arm} was interrupted; run the same command again to restart it")
    report.checked.append(f"{int(is_run.sum())} runs of {len(arms)} courses in {SUSTAINED}")
