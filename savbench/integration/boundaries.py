"""What is inside the latency: the call and all of its work, nothing before it and nothing after it."""

from __future__ import annotations

import dataclasses
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from runners.base import PARTS, STAGES
from savbench.integration.calls import INTERFACE
from savbench.measure.measured import TimedFrame
from savbench.selfcheck.clocks import ClockedRunner, judge_clocks, judge_sums
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.integration.bench import Bench, Call
    from savbench.selfcheck.outcome import Outcome

LEAST_WAIT_S, MOST_WAIT_S = 0.05, 0.5
"""How long a frame's call is followed by nothing, to see what still runs; as long as the call, within these."""
LEFT_MS, LEFT_PART = 5.0, 0.25
"""CPU time after a call that is no deferred work: idle threads of a library turn for a moment before they sleep."""
SKIPPED = 2
"""First calls that are left out: the prompt, and the first tracked frame, which may allocate or load."""


def check_boundaries(bench: Bench) -> Iterator[Outcome]:
    """The checks of this module."""
    staged = bench.rebuild(dataclasses.replace(bench.options, stages=True))
    left_ms: list[float] = []

    def wait(call: Call) -> None:
        before = time.process_time()
        time.sleep(min(MOST_WAIT_S, max(LEAST_WAIT_S, call.wall / 1e3)))
        left_ms.append((time.process_time() - before) * 1e3)

    scene = bench.wide
    calls = bench.play(scene, {0: [scene.prompt(0, bench.kind)]}, runner=staged, after=wait)
    tracked = calls[SKIPPED:]
    yield judge_left(tracked, left_ms[SKIPPED:])
    yield judge_inspect(tracked)
    yield judge_final(calls)
    yield judge_names(tracked)
    yield from _clocks(bench, tracked)


def judge_left(calls: Sequence[Call], left_ms: Sequence[float]) -> Outcome:
    """
    Args:
        calls: tracked frames.
        left_ms: CPU time of the process, of all threads, while nothing was called after each.
    """
    spent, left = median(call.cpu for call in calls), median(left_ms)
    limit = max(LEFT_MS, LEFT_PART * spent)
    return judged(
        "timing: no work is left when the masks are returned",
        left <= limit,
        f"the call takes {spent:.1f} ms of CPU time, the pause after it {left:.1f} (limit {limit:.1f})",
        meaning="work is deferred past the end of the latency: FPS is too high, and the next frame pays or nobody does",
        remedy="wait for threads and devices before `track` returns (runners/torch_common.py, synchronize)",
        call_cpu_ms=spent,
        left_cpu_ms=left,
    )


def judge_inspect(calls: Sequence[Call]) -> Outcome:
    spent, inspected = median(call.cpu for call in calls), median(call.cpu_of_inspect for call in calls)
    limit = max(LEFT_MS, LEFT_PART * spent)
    return judged(
        "timing: inspect only reports",
        inspected <= limit,
        f"{inspected:.2f} ms of CPU time (limit {limit:.1f})",
        meaning="`inspect` is not timed: work of a frame that is done there is missing from its latency",
        remedy="do in `track` what masks or the next frame need",
        inspect_cpu_ms=inspected,
    )


def judge_final(calls: Sequence[Call]) -> Outcome:
    """Whether masks stay as they were returned, through the pause, the next calls and `close`."""
    changed = [call.position for call in calls if not np.array_equal(call.masks, call.at_return)]
    return judged(
        "timing: masks are final when they are returned",
        not changed,
        f"masks of frames {', '.join(map(str, changed))} changed afterwards"
        if changed
        else f"{len(calls)} frames, none changed afterwards",
        meaning="scores depend on when masks are read: they are still being computed, or share memory with the next frame's",
        remedy="return an array of its own once it is complete",
    )


def judge_names(calls: Sequence[Call]) -> Outcome:
    wrong = []
    for what, known, seen in (
        ("parts_ms", PARTS, [call.report.parts_ms for call in calls]),
        ("stages_ms", STAGES, [call.report.stages_ms for call in calls]),
    ):
        for spent in seen:
            if what == "parts_ms" and tuple(spent) != known:
                wrong.append(f"{what} has {', '.join(spent) or 'nothing'}, not {', '.join(known)}")
            elif list(spent) != [name for name in known if name in spent] or any(ms < 0 for ms in spent.values()):
                wrong.append(f"{what} has unknown names, another order or negative times: {dict(spent)}")
    parts = {name: median(call.report.parts_ms.get(name, 0.0) for call in calls) for name in PARTS}
    inside = ", ".join(f"{name.removesuffix('_ms')} {ms:.2f}" for name, ms in parts.items())
    return judged(
        "timing: what is inside the latency",
        not wrong,
        wrong[0] if wrong else f"a frame {median(call.wall for call in calls):.2f} ms: {inside}",
        meaning="`parts_ms` and `stages_ms` of rows are wrong or missing",
        remedy=f"report times by the names and in the order of PARTS and STAGES ({INTERFACE}, FrameReport)",
        parts_ms=parts,
    )


def _clocks(bench: Bench, calls: Sequence[Call]) -> Iterator[Outcome]:
    """What the self-check asks of clocks: that parts and stages sum to the call, and on a GPU that the call waits for it."""
    timed = [TimedFrame(call.position, call.position, 0, (0.0, call.wall / 1e3), 0.0, 0.0, call.report) for call in calls]
    for outcome in judge_sums(timed):
        what = outcome.check.split()[1]
        if any(getattr(call.report, f"{what}_ms") for call in calls):
            yield outcome
        else:
            yield not_applicable(outcome.check, f"the runner reports no {what}")
    check = "clocks: the call ends when the GPU is idle"
    if not bench.runner.applied.device.startswith("cuda"):
        yield not_applicable(check, "on a CPU the pause after the call tells")
        return
    import torch

    clocked = ClockedRunner(bench.runner, torch.device(bench.runner.applied.device))
    played = bench.play(bench.wide, {0: [bench.wide.prompt(0, bench.kind)]}, runner=clocked)
    yield from judge_clocks([call.wall for call in played[SKIPPED:]], clocked.calls[SKIPPED - 1 :])
