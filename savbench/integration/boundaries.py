"""What is inside the latency: the call and all of its work, nothing before it and nothing after it."""

from __future__ import annotations

import dataclasses
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from runners.base import PARTS, STAGES
from savbench.integration.calls import INTERFACE
from savbench.selfcheck.clocks import ClockedRunner, judge_clocks
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.integration.bench import Bench, Call
    from savbench.selfcheck.outcome import Outcome

LEAST_WAIT_S, MOST_WAIT_S = 0.05, 0.5
"""How long a frame's call is followed by nothing, to see what still runs; as long as the call, within these."""
LEFT_MS, LEFT_PART = 5.0, 0.25
"""CPU time after a call that is no deferred work: idle threads of a library turn for a moment before they sleep."""
SLACK_MS, SLACK = 1.0, 0.25
"""What the runner's own clock may miss of a call, which also holds the waiting for a busy CPU."""
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
    yield judge_parts(tracked)
    yield from _idle(bench)


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


def judge_parts(calls: Sequence[Call]) -> Outcome:
    """Names and order of the times that the runner reports, and whether they sum to the call."""
    call_ms = median(call.wall for call in calls)
    wrong = []
    for what, known, seen in (
        ("parts_ms", PARTS, [call.report.parts_ms for call in calls]),
        ("stages_ms", STAGES, [call.report.stages_ms for call in calls]),
    ):
        names = next((tuple(spent) for spent in seen if spent), ())
        if what == "parts_ms" and names != known:
            wrong.append(f"{what} has {', '.join(names) or 'nothing'}, not {', '.join(known)}")
        elif names != tuple(name for name in known if name in names) or any(ms < 0 for spent in seen for ms in spent.values()):
            wrong.append(f"{what} has unknown names, another order or negative times: {seen[0]}")
        elif names and abs((own_ms := median(sum(spent.values()) for spent in seen)) - call_ms) > max(SLACK_MS, SLACK * call_ms):
            wrong.append(f"{what} sum to {own_ms:.2f} ms, the call takes {call_ms:.2f}")
    parts = {name: median(call.report.parts_ms.get(name, 0.0) for call in calls) for name in PARTS}
    inside = ", ".join(f"{name.removesuffix('_ms')} {ms:.2f}" for name, ms in parts.items())
    return judged(
        "timing: what is inside the latency",
        not wrong,
        "; ".join(wrong) or f"a frame {call_ms:.2f} ms: {inside}",
        meaning="`parts_ms` and `stages_ms` of rows do not tell where a frame's time goes",
        remedy=f"report times by the names and in the order of PARTS and STAGES, on the clock of the call ({INTERFACE}, FrameReport)",
        parts_ms=parts,
    )


def _idle(bench: Bench) -> Iterator[Outcome]:
    """What the self-check asks of the clock of a GPU."""
    if not bench.runner.applied.device.startswith("cuda"):
        yield not_applicable("clocks: the call ends when the GPU is idle", "on a CPU the pause after the call tells")
        return
    import torch

    clocked = ClockedRunner(bench.runner, torch.device(bench.runner.applied.device))
    played = bench.play(bench.wide, {0: [bench.wide.prompt(0, bench.kind)]}, runner=clocked)
    yield from judge_clocks([call.wall for call in played[SKIPPED:]], clocked.calls[SKIPPED - 1 :])
