"""Checks that an audit is of the sealed run, and what it found."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from savbench.results.systems import is_part
from savbench.seal.archive import AUDIT
from savbench.seal.audit import Audit, judge
from savbench.seal.outcome import Check, failed, passed, skipped, warned

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.seal.manifest import SealedRun

NAME = "audit"


def check_audit(folder: Path, run: SealedRun) -> Check:
    """The audit's figures of the run are the rows', every arm was audited, and names, order and paths changed nothing."""
    path = folder / AUDIT
    if not path.is_file():
        return skipped(NAME, "of caching: none; `seal RUN --audit` runs a sample again under other names")
    try:
        audit = Audit.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        return failed(NAME, f"{AUDIT} is damaged ({error})")
    rows = {(row.arm_id, row.video, row.object): row for row in run.rows}
    problems = [f"of run {audit.run_id}, not of this one"] if audit.run_id != run.about.get("run_id") else []
    for one in audit.objects:
        row = rows.get((one.arm_id, one.video, one.object))
        if row is None or not (_same(one.JandF, row.JandF) and _same(one.latency_p50_ms, row.latency_p50_ms)):
            problems.append(f"{one.video}/{one.object} of {one.arm_id}: not the figures of its row")
    judged = judge(audit)
    problems += [f"{arm.arm_id}: {arm.said}" for arm in judged if arm.verdict == "fail"]
    if problems:
        return failed(NAME, *problems)
    unaudited = sorted({row.arm_id for row in run.rows if row.status == "ok" and not is_part(row.arm_id)} - {arm.arm_id for arm in judged})
    notes = [f"{arm.arm_id}: {arm.said}" for arm in judged if arm.verdict == "warn"]
    if unaudited:
        notes.append(f"not of {', '.join(unaudited)}: audit and seal the run again")
    if notes:
        return warned(NAME, *notes)
    return passed(NAME, *(f"{arm.arm_id}: {arm.said}" for arm in judged))


def _same(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9))
