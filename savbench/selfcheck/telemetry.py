"""The power source: its readings move under load, and the energy of a fixed load comes out twice alike."""

from __future__ import annotations

import time
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from savbench.board.power.choose import open_source
from savbench.board.power.energy import integrate, max_gap_s, total_w
from savbench.board.power.recorder import Recorder
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.board.power.base import Reading
    from savbench.board.power.energy import Interval
    from savbench.selfcheck.outcome import Outcome

INTERVAL_S = 0.1
SETTLE_S, IDLE_S, LOAD_S = 2.0, 2.0, 4.0
MIN_RISE = 0.02
"""Part of the idle power that a load has to add."""
TOLERANCE = 0.1
"""Part by which two equal loads may differ: temperature and clocks move between them."""
MOVES, TWICE = "telemetry: readings move under load", "telemetry: energy of a fixed load, twice"


def check_telemetry(device: torch.device, quick: bool) -> Iterator[Outcome]:
    """The checks of this module."""
    choice = open_source("auto", INTERVAL_S, str(device))
    sampler, reason = choice.sampler, choice.why
    if sampler is not None and sampler.scope == "gpu" and device.type != "cuda":
        reason = f"{sampler.name} measures the GPU, and the check runs on {device}"
        sampler.close()
        sampler = None
    if sampler is None:
        yield not_applicable(MOVES, reason)
        yield not_applicable(TWICE, reason)
        return
    work = load(device)
    shorter = 0.5 if quick else 1.0
    with Recorder(sampler) as recorder:
        work(0.5)  # what the first use of a library costs is not the load
        time.sleep(SETTLE_S)
        begun = time.perf_counter()
        time.sleep(IDLE_S * shorter)
        idle = (begun, time.perf_counter())
        loads = []
        for _ in range(2):
            begun = time.perf_counter()
            work(LOAD_S * shorter)
            loads.append((begun, time.perf_counter()))
            recorder.wait_past(loads[-1][1], 2 * sampler.interval_s + 0.5)
            time.sleep(SETTLE_S * shorter)
        readings = recorder.around(idle[0], loads[-1][1])
    yield from judge_readings(readings, idle, loads, sampler.interval_s, sampler.name)


def load(device: torch.device) -> Callable[[float], None]:
    """Work that keeps the device busy for so many seconds."""
    side = 4096 if device.type == "cuda" else 512
    a = torch.rand((side, side), device=device)

    def work(seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(8):
                torch.mm(a, a)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    return work


def judge_readings(
    readings: Sequence[Reading], idle: Interval, loads: Sequence[Interval], interval_s: float, source: str
) -> Iterator[Outcome]:
    """
    Args:
        readings: from before idling to after the last load.
        idle: beginning and end, on the clock of the readings.
        loads: of two equal loads.
    """
    remedy = "name another source with --power (jtop, sysfs or nvml); doctor says what each of them lacks"
    idle_w, load_w = (_watts(readings, [idle]), _watts(readings, loads))
    if not idle_w or not load_w:
        yield judged(
            MOVES, False, f"{source}: {len(idle_w)} readings of power while idle, {len(load_w)} under load",
            meaning="power and energy are missing from rows", remedy=remedy,
        )  # fmt: skip
        return
    rise = fmean(load_w) - fmean(idle_w)
    yield judged(
        MOVES,
        len(set(load_w)) > 1 and rise > MIN_RISE * fmean(idle_w),
        f"{source}: {fmean(idle_w):.2f} W idle, {fmean(load_w):.2f} W under load, {len(set(load_w))} different readings",
        meaning="power and energy of rows are not those of the model's work",
        remedy=remedy,
        idle_mean_w=fmean(idle_w),
        load_mean_w=fmean(load_w),
        load_readings=len(load_w),
    )
    joules = [integrate(readings, [one], max_gap_s=max_gap_s(interval_s)) for one in loads]
    powers = [0.0 if energy is None else energy / (end - begin) for energy, (begin, end) in zip(joules, loads, strict=True)]
    yield judged(
        TWICE,
        min(powers) > 0 and max(powers) - min(powers) <= TOLERANCE * max(powers),
        f"{source}: {' and '.join(f'{power:.2f}' for power in powers)} J a second (within {TOLERANCE:.0%})",
        meaning="energy of a frame differs between runs of the same work",
        remedy="lock clocks (sudo jetson_clocks), close other programs, and check again",
        joules=joules,
        mean_w=powers,
    )


def _watts(readings: Sequence[Reading], intervals: Sequence[Interval]) -> list[float]:
    of_intervals = [reading for reading in readings if any(begin <= reading.t_s <= end for begin, end in intervals)]
    return [watts for reading in of_intervals if (watts := total_w(reading)) is not None]
