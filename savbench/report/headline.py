"""The answer in words: what to choose, by how much it is better, and reasons not to trust it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from savbench.compare.comparison import compare
from savbench.compare.findings import Options
from savbench.data.csv_file import InputError
from savbench.report.arms import FILE, whole_arm
from savbench.report.charts import number
from savbench.report.streaming import winners
from savbench.report.tradeoffs import JOULES, SPEED, below_floor, contenders, floor_of, pareto_front
from savbench.results.figures import kinds_of_frames
from savbench.results.foreign import Results
from savbench.results.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.compare.findings import Change, PairComparison
    from savbench.report.arms import Arm
    from savbench.report.changes import Compared

CAMERA_FPS = 24.0
"""Frame rate of SA-V's videos."""
ARM = "arm"
MOST_LISTED = 6


def answer(arms: Sequence[Arm], results: Results, compared: Sequence[Compared], options: Options) -> list[str]:
    """Return the answer's sentences, the most important first.

    They name the most accurate arm, even a baseline, and compare speed and energy among arms above the floor with valid times.
    """
    scored = [arm for arm in arms if arm.JandF is not None and not arm.is_random]
    learned = [arm for arm in scored if not arm.is_floor]
    timed = [arm for arm in arms if arm.figure("fps") is not None]
    timed = [arm for arm in timed if not arm.is_floor] or timed
    if not scored and not timed:
        return ["No row has figures: nothing can be said about speed or accuracy. The reasons are under Circumstances."]
    only_floors = all(arm.is_floor for arm in arms)
    sentences = _accuracy(scored, results, options) if scored and (learned or only_floors) else [_no_scores(arms)]
    sentences += _floors(arms, learned, results, options)
    eligible = contenders(arms) if learned or only_floors else timed
    pool = [arm for arm in eligible if not arm.is_doubtful]
    if eligible and not pool:
        sentences.append("Speed, energy and memory are not compared: every row's times are marked invalid; --force compares them.")
    sentences += _speed(pool, "above the floor" if len(eligible) < len(learned) else "")
    sentences += _front(pool)
    sentences += _energy([arm for arm in pool if arm.figure(JOULES.column) is not None])
    below = below_floor(arms)
    sentences += _camera([arm for arm in arms if arm not in below], results, pool)
    for found in compared:
        if found.column in ("autocast_dtype", "attention"):
            sentences += _differences(found)
    return sentences


def _no_scores(arms: Sequence[Arm]) -> str:
    if any(arm.is_random for arm in arms):
        return (
            "Which model is most accurate cannot be told: the weights are untrained and their J&F is meaningless. Time and memory are real."
        )
    return "Which model is most accurate cannot be told: no row has J&F."


def _accuracy(scored: Sequence[Arm], results: Results, options: Options) -> list[str]:
    ranked = sorted(scored, key=lambda arm: -(arm.JandF or 0.0))
    best = ranked[0]
    interval = best.intervals.get("JandF")
    within = f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    what = ", a baseline that learns nothing" if best.is_floor and any(not arm.is_floor for arm in scored) else ""
    sentences = [f"Most accurate: {best.shown}{what}, J&F {best.JandF:.3f}{within}{_at_speed(best)}."]
    if len(ranked) > 1:
        sentences.append(_runner_up(best, ranked[1], results, options))
    return sentences


def _at_speed(arm: Arm) -> str:
    fps = arm.figure("fps")
    return "" if fps is None or arm.is_doubtful else f", at {number(fps)} FPS"


def _runner_up(best: Arm, second: Arm, results: Results, options: Options) -> str:
    change = _between(second, best, results, options)
    said = f"The next, {second.shown}, has {second.JandF:.3f}{_at_speed(second)}"
    if change is None:
        return f"{said}; they have no objects in common to compare them on."
    if change.low is None or change.high is None:
        return f"{said}; with {counted(change.videos, 'video')} in common there is no interval, so that this may be chance."
    if change.verdict == "=":
        return f"{said}: the same on each of the {counted(change.pairs, 'object')} that both have{_faster(best, second)}."
    bounds = f"95% interval {change.low:+.3f} to {change.high:+.3f}"
    if change.verdict != "~":
        return f"{said}: the lead of {change.change:+.3f} is more than chance ({bounds}, {counted(change.pairs, 'object')})."
    both = f"over the {counted(change.pairs, 'object')} that both have"
    return f"{said}: {both}, the data do not tell them apart ({bounds}){_faster(best, second)}."


def _faster(best: Arm, second: Arm) -> str:
    if best.is_doubtful or second.is_doubtful or (best.is_floor and not second.is_floor):
        # a model's speed is no merit if a baseline equals its accuracy
        return ""
    ratio = (second.figure("fps") or 0.0) / (best.figure("fps") or math.inf)
    return f", and it is {ratio:.1f} times as fast" if ratio > 1.05 else ""


def _between(baseline: Arm, arm: Arm, results: Results, options: Options) -> Change | None:
    """Return the change in J&F between two arms over the objects that both have; None if they cannot be compared."""
    positions = [*baseline.rows, *arm.rows]
    rows = whole_arm(results.rows.iloc[positions])
    rows[ARM] = [baseline.label] * len(baseline.rows) + [arm.label] * len(arm.rows)
    # other differences define the arms: they are no reason to refuse
    chosen = Options(**{**vars(options), "by": (ARM,), "baseline": baseline.label, "force": True})
    try:
        found = compare(Results(rows, sorted(set(rows[FILE])), results.legacy), chosen)
    except InputError:
        return None
    pairs = [pair for block in found.blocks for pair in block.comparisons]
    return next((change for pair in pairs for change in pair.changes if change.measure.column == "JandF"), None)


def _speed(pool: Sequence[Arm], of_what: str) -> list[str]:
    timed = [arm for arm in pool if arm.figure("fps") is not None]
    if not timed:
        return []
    fastest = max(timed, key=lambda arm: arm.figure("fps") or 0.0)
    p90 = fastest.summary.percentiles.get("latency_p90_ms")
    tail = f" (90% of its frames within {number(p90.value)} ms)" if p90 is not None and p90.can_be_quoted else ""
    score = "" if fastest.JandF is None or fastest.is_random else f", J&F {fastest.JandF:.3f}"
    first = f"Fastest of those {of_what}" if of_what else "Fastest"
    return [f"{first}: {fastest.shown}, {number(fastest.figure('fps'))} FPS{tail}{score}."]


def _front(chosen: Sequence[Arm]) -> list[str]:
    placed = [arm for arm in chosen if arm.figure("fps") is not None]
    if len(placed) < 3:
        return []
    front = pareto_front(placed, SPEED)
    beaten = [arm for arm in placed if arm not in front]
    if not beaten:
        return ["Every arm is a choice: none is both slower and less accurate than another."]
    return [f"Worth choosing between, from accurate to fast: {_listed(front)}. Another one is at least as good in both: {_listed(beaten)}."]


def _energy(measured: Sequence[Arm]) -> list[str]:
    if len(measured) < 2:
        return []
    least = min(measured, key=lambda arm: arm.figure(JOULES.column) or 0.0)
    per_w = least.figure("fps_per_w")
    tail = "" if per_w is None else f", {number(per_w)} frames per joule with idle power counted"
    return [f"Least energy: {least.shown}, {number(least.figure(JOULES.column))} J per frame beyond idling{tail}."]


def _floors(arms: Sequence[Arm], learned: Sequence[Arm], results: Results, options: Options) -> list[str]:
    """Compare each trained model with its baseline, claiming no more than the data support."""
    of_floor: dict[int, list[Arm]] = {}
    for arm in learned:
        floor = floor_of(arm, arms)
        if floor is not None:
            of_floor.setdefault(floor.number, []).append(arm)
    sentences = []
    for floor in (arm for arm in arms if arm.number in of_floor):
        groups: dict[str, list[Arm]] = {}
        for arm in of_floor[floor.number]:
            groups.setdefault(_against_floor(arm, _between(floor, arm, results, options), floor), []).append(arm)
        named = f"the floor, {floor.label} with J&F {floor.JandF:.3f}"
        sentences += [text.format(floor=named, models=_listed(models)) for text, models in groups.items()]
    return sentences


def _against_floor(arm: Arm, change: Change | None, floor: Arm) -> str:
    """Return a sentence with placeholders for floor and models, claiming no more than the data support."""
    is_above = (arm.JandF or 0.0) > (floor.JandF or 0.0)
    where = "Higher than" if is_above else "At or under"
    cause = "" if is_above else " A wrong weights file, prompt or size is a usual cause."
    if change is None:
        return f"{where} {{floor}}, but on other objects: {{models}}.{cause}"
    if change.low is None:
        few = f"{counted(change.pairs, 'object')} of {counted(change.videos, 'video')}"
        return f"{where} {{floor}}, on {few}, too few to exclude chance: {{models}}.{cause}"
    if change.verdict in ("~", "="):
        return "Not told apart from {floor}: {models}."
    return f"{'Above' if is_above else 'Below'} {{floor}}, by more than chance: {{models}}.{cause}"


def _camera(arms: Sequence[Arm], results: Results, pool: Sequence[Arm]) -> list[str]:
    best = winners(arms, results.rows)
    if best:
        listed = "; ".join(f"{arm.shown} at {rate:g} FPS (streaming J&F {score:.3f})" for rate, arm, score in best)
        return [f"In a live loop, best at the camera's rate: {listed}."]
    # the 90th percentile of an arm with --keyframe may be that of frames that the model did not see
    whole = [arm for arm in pool if not arm.shared and not kinds_of_frames(arm.summary.figures)]
    timed = [(arm, value) for arm in whole if (value := arm.figure("latency_p90_ms")) is not None]
    if not timed:
        return []
    limit = 1000 / CAMERA_FPS
    keeps_up = [arm for arm, value in timed if value <= limit]
    if not keeps_up:
        return [f"None keeps up with a camera of {CAMERA_FPS:g} FPS: every one has a 90th percentile above {limit:.1f} ms."]
    if len(keeps_up) == len(timed):
        return [f"All keep up with a camera of {CAMERA_FPS:g} FPS at the 90th percentile of their latency."]
    return [f"Keeping up with a camera of {CAMERA_FPS:g} FPS at the 90th percentile of the latency: {_listed(keeps_up)}."]


def _differences(compared: Compared) -> list[str]:
    """Say what a dtype or attention changes over all models that have both, one sentence per pair of values."""
    if compared.comparison is None:
        return []
    found: dict[tuple[str, str], list[tuple[str, PairComparison]]] = {}
    for block in compared.comparison.blocks:
        of = " ".join(value for name, value in block.setting.items() if name in ("model", "prompt"))
        for pair in block.comparisons:
            found.setdefault((pair.arm, pair.baseline), []).append((of, pair))
    sentences = []
    for (arm, baseline), pairs in found.items():
        speeds, scores, same = [], [], []
        for of, pair in pairs:
            there = {change.measure.column: change for change in pair.changes}
            if "fps" in there:
                speeds.append(f"{_ratio(there['fps'])} for {of}")
            score = there.get("JandF")
            if score and score.verdict in ("~", "="):
                same.append(of)
            elif score and score.verdict != "meaningless":
                scores.append(f"{score.change:+.4f} for {of}{'' if score.low is not None else ' (too few videos for an interval)'}")
        parts = [f"FPS {_cut(speeds)}"] if speeds else []
        if scores or same:
            parts.append(
                "J&F " + "; ".join([*([_cut(scores)] if scores else []), *([f"no difference shown for {_cut(same)}"] if same else [])])
            )
        if parts:
            sentences.append(f"{arm} against {baseline}: {'. '.join(parts)}.")
    return sentences


def _ratio(change: Change) -> str:
    if change.verdict in ("~", "="):
        return "without a difference"
    return f"x{change.change:.2f}" + ("" if change.low is not None else " (too few videos for an interval)")


def _cut(parts: Sequence[str]) -> str:
    return ", ".join(parts[:MOST_LISTED]) + (f" and {len(parts) - MOST_LISTED} more" if len(parts) > MOST_LISTED else "")


def _listed(arms: Sequence[Arm]) -> str:
    return _cut([arm.shown for arm in arms])
