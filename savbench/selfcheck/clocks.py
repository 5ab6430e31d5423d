"""Three clocks around the same calls, what a call's parts and stages sum to, and what watching costs."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from runners import nvtx
from savbench.board.background import BackgroundLoad
from savbench.measure.memory import RssSampler, SystemMemorySampler
from savbench.selfcheck.laboratory import build
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runners.base import Clip, Frame, FrameReport, Masks, Prompt, VideoRunner
    from savbench.measure.measured import TimedFrame
    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.outcome import Outcome

TOLERANCE = 0.02
"""Part of the median that clocks may differ by."""
OWN_TOLERANCE = 0.1
"""By which the runner's own clock may differ, which starts and stops within the call; what it misses is added to the last part."""
SLACK_MS = 0.05
"""What they may differ by on calls so short that starting a clock shows."""
WATCHING_MS = 0.3
"""What stages, ranges or samplers may add to a call beside the noise: a hook is a Python call and two events."""
MIN_ROUNDS, QUICK_ROUNDS = 4, 3


@dataclass(frozen=True)
class Clocked:
    """One call by the clocks around it, in ms."""

    returned: float
    """Until the runner returned."""
    idle: float
    """Until the device was idle after that."""
    events: float | None
    """Between CUDA events around the call; None without a GPU."""


class ClockedRunner:
    """A `VideoRunner` that reads other clocks around another one's `track`."""

    def __init__(self, runner: VideoRunner, device: torch.device) -> None:
        self.applied = runner.applied
        self.calls: list[Clocked] = []
        """One for each tracked frame."""
        self._runner = runner
        self._device = device
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.calls.clear()  # those of the warm-up, or of the pass before
        self._runner.open(clip, first_frame_hwc)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        return self._runner.prompt(frame_index, frame_hwc, prompts)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        if self._device.type != "cuda":
            begun = time.perf_counter()
            masks_nhw = self._runner.track(frame_index, frame_hwc)
            spent_ms = (time.perf_counter() - begun) * 1e3
            self.calls.append(Clocked(spent_ms, spent_ms, None))
            return masks_nhw
        first, last = self._events
        stream = torch.cuda.current_stream(self._device)
        torch.cuda.synchronize(self._device)
        begun = time.perf_counter()
        first.record(stream)
        masks_nhw = self._runner.track(frame_index, frame_hwc)
        returned = time.perf_counter()
        last.record(stream)
        torch.cuda.synchronize(self._device)
        idle = time.perf_counter()
        self.calls.append(Clocked((returned - begun) * 1e3, (idle - begun) * 1e3, float(first.elapsed_time(last))))
        return masks_nhw

    def inspect(self) -> FrameReport:
        return self._runner.inspect()

    def close(self) -> None:
        self._runner.close()


def check_clocks(laboratory: Laboratory, quick: bool) -> Iterator[Outcome]:
    """The checks of this module."""
    plain, staged = laboratory.runner, build(laboratory.runner.applied.device, stages=True)
    clocked = ClockedRunner(staged, laboratory.torch_device)
    timed = laboratory.track(runner=clocked).measured.timed
    yield from judge_clocks([frame.call_ms for frame in timed], clocked.calls)
    yield from judge_sums(timed)
    rounds = QUICK_ROUNDS if quick else MIN_ROUNDS
    frames = 6 if quick else 12
    yield judge_turns("stages", *_in_turns(lambda: laboratory.call_ms(plain, frames), lambda: laboratory.call_ms(staged, frames), rounds))
    if not laboratory.is_gpu:
        yield not_applicable("clocks: NVTX on and off", "ranges are made on a GPU alone")
    else:
        with _ranges():
            ranged = build(laboratory.runner.applied.device)

        def with_ranges() -> list[float]:
            with _ranges():
                return laboratory.call_ms(ranged, frames)

        yield judge_turns("NVTX", *_in_turns(lambda: laboratory.call_ms(plain, frames), with_ranges, rounds))

    def with_samplers() -> list[float]:
        with RssSampler(), SystemMemorySampler(), BackgroundLoad():
            return laboratory.call_ms(plain, frames)

    yield judge_turns("samplers", *_in_turns(lambda: laboratory.call_ms(plain, frames), with_samplers, rounds))


def judge_clocks(latencies_ms: Sequence[float], calls: Sequence[Clocked]) -> Iterator[Outcome]:
    """
    Args:
        latencies_ms: of the session's timed frames.
        calls: the same calls by other clocks.
    """
    ours = median(latencies_ms)
    idle = median(call.idle for call in calls)
    yield judged(
        "clocks: latency and a synchronised clock",
        len(latencies_ms) == len(calls) and _agree(ours, idle) and _agree(median(call.returned for call in calls), idle),
        f"latency {ours:.3f} ms, until the device is idle {idle:.3f} ms (within {TOLERANCE:.0%})",
        meaning="a frame's latency leaves out work that the device has still to do, or holds work that is not the frame's",
        remedy="trust no latency, FPS or energy of this machine; report it with the JSON of this check",
        latency_p50_ms=ours,
        idle_p50_ms=idle,
        returned_p50_ms=median(call.returned for call in calls),
    )
    events = [call.events for call in calls if call.events is not None]
    if not events:
        yield not_applicable("clocks: latency and CUDA events", "there is no GPU in use")
        return
    yield judged(
        "clocks: latency and CUDA events",
        _agree(ours, median(events)),
        f"latency {ours:.3f} ms, CUDA events around the call {median(events):.3f} ms (within {TOLERANCE:.0%})",
        meaning="times of parts and stages, which are read from CUDA events, are not on the clock of the latency",
        remedy="use no parts or stages of this machine; report it with the version of the driver",
        latency_p50_ms=ours,
        events_p50_ms=median(events),
    )


def judge_sums(timed: Sequence[TimedFrame]) -> Iterator[Outcome]:
    """Whether what a call was spent on is the call, and whether the runner's own clock says nearly the same."""
    call = median(frame.call_ms for frame in timed)
    for name, completed, own in (
        ("parts", [frame.parts_ms for frame in timed], [frame.report.parts_ms for frame in timed]),
        ("stages", [frame.stages_ms for frame in timed], [frame.report.stages_ms for frame in timed]),
    ):
        summed, measured = (median(sum(spent.values()) for spent in spents) for spents in (completed, own))
        yield judged(
            f"clocks: {name} sum to the call",
            _agree(summed, call) and abs(measured - call) <= max(SLACK_MS, OWN_TOLERANCE * call),
            f"call {call:.3f} ms, {name} {summed:.3f} ms, by the runner's own clock {measured:.3f} ms (within {OWN_TOLERANCE:.0%})",
            meaning=f"the {name} of a row do not tell where a frame's time goes",
            remedy=f"use no {name} of this machine; report it with the JSON of this check",
            **{"call_p50_ms": call, f"{name}_p50_ms": summed, "own_p50_ms": measured},
        )


def judge_turns(what: str, without_ms: Sequence[Sequence[float]], with_ms: Sequence[Sequence[float]]) -> Outcome:
    """Whether watching changes what is watched.

    Noise is how far the medians of equal turns lie apart, the larger of the two sides.

    Args:
        what: is switched.
        without_ms: milliseconds of calls, by turn.
        with_ms: the same with it.
    """
    offs, ons = ([median(turn) for turn in turns] for turns in (without_ms, with_ms))
    noise = max(max(offs) - min(offs), max(ons) - min(ons))
    # the fastest turn is the one that others on the machine disturbed least
    added = min(ons) - min(offs)
    # two to four turns show about half of the spread that more of them would
    limit = max(2 * noise, WATCHING_MS, TOLERANCE * min(offs))
    return judged(
        f"clocks: {what} on and off",
        abs(added) <= limit,
        f"off {min(offs):.3f} ms, on {min(ons):.3f} ms: {added:+.3f} ms, where equal turns differ by {noise:.3f} ms",
        meaning=f"{what} change the latency that they are to explain",
        remedy=f"compare no run that has {what} with one that has not" if what != "samplers" else "report it with the JSON of this check",
        off_p50_ms=offs,
        on_p50_ms=ons,
        noise_ms=noise,
        limit_ms=limit,
    )


def _in_turns(
    without: Callable[[], list[float]], with_it: Callable[[], list[float]], rounds: int
) -> tuple[list[list[float]], list[list[float]]]:
    offs, ons = [], []
    for _ in range(rounds):
        offs.append(without())
        ons.append(with_it())
    return offs, ons


def _agree(a: float, b: float) -> bool:
    return abs(a - b) <= max(SLACK_MS, TOLERANCE * max(a, b))


@contextlib.contextmanager
def _ranges() -> Iterator[None]:
    """NVTX ranges as in a run with SAVBENCH_NVTX=1, for the time of the block."""
    os.environ["SAVBENCH_NVTX"] = "1"
    nvtx.ranges.cache_clear()
    try:
        yield
    finally:
        del os.environ["SAVBENCH_NVTX"]
        nvtx.ranges.cache_clear()
