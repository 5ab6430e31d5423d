"""What the benchmarks share: calls that take turns, their ratios, tables, and what machine it was."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from savbench.results.environment import cpu_name

ROOT = Path(__file__).resolve().parents[1]


def take_turns(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What the calls return, one value a round, by name. In each round every one is called once, another first each time.

    What else the machine does then strikes all of them, and a ratio within a round has most of it taken out.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            samples[name].append(calls[name]())
        order = order[1:] + order[:1]
    return samples


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """A call that returns how many milliseconds it took."""

    def measure() -> float:
        begun = time.perf_counter()
        call()
        return (time.perf_counter() - begun) * 1e3

    return measure


def ratio(samples: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median over the rounds of one over the other within a round."""
    return statistics.median(a / b for a, b in zip(samples[one], samples[other], strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A markdown table whose first `left` columns are words."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """One line: CPU, cores this process may use, how busy it is, and versions. Without torch, which not every benchmark imports."""
    cores = len(os.sched_getaffinity(0))
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{cpu_name()}, {cores} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}, {versions}"
