"""Checks of what a run covers and how it came about: objects, sittings, and whether its times fit between its clocks."""

from __future__ import annotations

import bisect
import datetime
import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from savbench.results.systems import whole_id
from savbench.seal.manifest import run_settings, some
from savbench.seal.outcome import Check, failed, passed, skipped, warned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.results.rows import SummaryRow
    from savbench.seal.manifest import SealedRun

CLOCK_S = 1.5
"""Rows tell the second in which they started."""
_OF_A_SITTING = ("benchmark", "code_sha256", "protocol_version", "power_mode", "python", "packages", "variables", "board")
"""Entries of an invocation that a measurement may depend on."""
_NOT_COMPARED = ("plan", "out_dir", "retry_failed", "accept_changes", "save_overlays", "shard", "power", "ray_address")
"""Settings that may change between sittings: none changes what an object's row holds."""


def check_wall_time(run: SealedRun) -> Check:
    """The timed frames of an object fit between its start and the next one's: one board tracks one session at a time."""
    name = "wall time"
    if run.settings().get("executor") == "ray":
        return skipped(name, "several machines at once: starts do not follow each other")
    sessions = [rows for rows in _sessions(run) if all(row.started_at for row in rows)]
    if not sessions:
        return skipped(name, "no row has times")
    starts: list[float] = []
    for row in (row for rows in sessions for row in rows):
        moment = _seconds(row.started_at)
        if moment is None:
            return failed(name, f"started_at {row.started_at!r} is no time")
        starts.append(moment)
    starts.sort()
    by_start: dict[tuple[float, float], list[list[SummaryRow]]] = defaultdict(list)
    for rows in sessions:
        begun = [moment for row in rows if (moment := _seconds(row.started_at)) is not None]
        by_start[min(begun), max(begun)].append(rows)
    wrong, total_s = [], 0.0
    for (first, last), together in by_start.items():
        timed_s = sum(max(_timed_s(row) for row in rows) for rows in together)
        total_s += timed_s
        after = bisect.bisect_right(starts, last)
        if after < len(starts) and timed_s > starts[after] - first + CLOCK_S:
            row = together[0][0]
            said = f"{timed_s:.1f} s of timed frames, and the next object started {starts[after] - first:.0f} s later"
            wrong.append(f"{row.video}/{row.object} of {row.arm_id}: {said}")
    if len(wrong) > 1:
        return failed(name, *wrong)
    if wrong:
        return warned(name, *wrong, "a clock that was set back meanwhile would show this too")
    return passed(name, f"{total_s:.0f} s of timed frames fit between {len(starts)} starts")


def _sessions(run: SealedRun) -> list[list[SummaryRow]]:
    """Rows with figures that were or may have been tracked together: they tell when they were prepared, not when they were tracked."""
    settings = run.settings()
    shares = bool(settings.get("joint_objects") or settings.get("share_prompts"))
    together: dict[tuple[str, ...], list[SummaryRow]] = defaultdict(list)
    for row in run.rows:
        if row.status == "ok":
            is_alone = not shares and row.session_tracks is None
            together[(row.arm_id, row.video, row.object) if is_alone else (row.model, row.video)].append(row)
    return list(together.values())


def check_coverage(run: SealedRun, manifest: Mapping[str, Any]) -> Check:
    """Every arm has every object of every video that the run is about, and what failed is told."""
    name = "coverage"
    notes = []
    counts = Counter(row.status for row in run.rows)
    if not run.rows:
        return failed(name, "no row: nothing was measured; finish the run, then seal it again")
    if not counts["ok"]:
        return failed(name, "no object has figures; see the column `error`")
    by_arm: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in run.rows:
        by_arm[whole_id(row.arm_id)].add((row.video, row.object))
    missing = {arm: run.objects - objects for arm, objects in by_arm.items() if run.objects - objects}
    if not run.about.get("complete"):
        notes.append(f"the run was not finished: {len(run.rows)} rows of {len(by_arm)} arms")
    notes += [f"{arm} lacks {some(f'{video}/{obj}' for video, obj in sorted(objects))}" for arm, objects in missing.items()]
    bad = {status: count for status, count in counts.items() if status != "ok"}
    if bad:
        notes.append(f"{sum(bad.values())} of {len(run.rows)} rows have no figures: {', '.join(f'{n} {s}' for s, n in bad.items())}")
    settings = run.settings()
    parts = [
        f"--{option} {settings[option]}" for option in ("limit_videos", "limit_objects", "max_frames", "shard") if settings.get(option)
    ]
    split = manifest.get("split")
    listed = split.get("listed") if isinstance(split, dict) else None
    videos = len({video for video, _ in run.objects})
    if parts:
        notes.append(f"a part of the split: {', '.join(parts)}; figures are not those of the whole")
    elif isinstance(listed, int) and videos < listed:
        notes.append(f"rows are about {videos} of the split's {listed} videos")
    if notes:
        return warned(name, *notes)
    return passed(
        name, f"{len(run.objects)} objects of {videos} videos under {len(by_arm)} arm{'s' * (len(by_arm) != 1)}, all with figures"
    )


def check_sittings(run: SealedRun) -> Check:
    """How often the run was resumed, and what changed meanwhile. A change within an arm is told by `rows`."""
    name = "sittings"
    sittings = run.invocations
    if not sittings:
        return failed(name, "environment.json names none")
    if len(sittings) == 1:
        return passed(name, "one, never resumed")
    changed = []
    for before, after in itertools.pairwise(sittings):
        changed += [f"{str(after.get('started_at'))[:16]}: {what}" for what in _changes(before, after)]
    if changed:
        return warned(name, f"{len(sittings)} sittings", *changed)
    return passed(name, f"{len(sittings)}, with the same code, packages, power mode and settings")


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    found = [entry for entry in _OF_A_SITTING if before.get(entry) != after.get(entry)]
    ours, theirs = (run_settings(one) for one in (before, after))
    settings = [option for option in ours if option in theirs and option not in _NOT_COMPARED and ours[option] != theirs[option]]
    return [
        *(f"{entry} changed" for entry in found),
        *(f"--{option} was {ours[option]!s:.60} and is {theirs[option]!s:.60}" for option in settings),
    ]


def _timed_s(row: SummaryRow) -> float:
    frame_ms = row.latency_ms if row.session_latency_ms is None else row.session_latency_ms
    return (row.frames or 0) * (frame_ms or 0.0) / 1e3


def _seconds(text: str) -> float | None:
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
