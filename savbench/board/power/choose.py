"""Opening the source that --power names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.board.power.base import PowerError, Sampler, check_interval
from savbench.board.power.jtop import JtopSampler
from savbench.board.power.nvml import NvmlSampler
from savbench.board.power.sysfs import SysfsSampler
from savbench.plan.settings import POWER_SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Choice:
    """The source to read, or none, and the reason in words."""

    sampler: Sampler | None
    why: str
    """One line to show: which source, and why not those tried before it."""


def open_source(
    choice: str,
    interval_s: float,
    device: str = "auto",
    *,
    root: Path = Path("/"),
    openers: Mapping[str, Callable[[], Sampler]] | None = None,
) -> Choice:
    """Open the source that --power names. `auto` takes the first of jtop, sysfs and NVML that answers, or no source.

    Args:
        choice: one of `POWER_SOURCES`.
        interval_s: --power_interval, seconds between readings.
        device: --device; NVML measures that GPU.
        root: root of the file system to read.
        openers: replace the sources, by name and in order; for tests.

    Raises:
        PowerError: the named source cannot be read; the message has the command that fixes it.
    """
    if choice not in POWER_SOURCES:
        raise PowerError(f"--power {choice}: use one of {', '.join(POWER_SOURCES)}")
    check_interval(interval_s)
    if choice == "none":
        return Choice(None, "power: none, as requested")
    if openers is None:
        openers = {
            "jtop": lambda: JtopSampler(interval_s, root=root),
            "sysfs": lambda: SysfsSampler(interval_s, root),
            "nvml": lambda: NvmlSampler(interval_s, device, root=root),
        }
    if choice != "auto":
        sampler = openers[choice]()
        return Choice(sampler, _describe(sampler, interval_s))
    refused: list[str] = []
    for opener in openers.values():
        found = _try(opener)
        if not isinstance(found, str):
            return Choice(found, "; ".join([_describe(found, interval_s), *(f"not {reason}" for reason in refused)]))
        # remedies are shown only if the user names this source
        refused.append(found.partition(";")[0].partition(" (")[0])
    return Choice(None, "; ".join(["power: none", *refused]))


def _try(opener: Callable[[], Sampler]) -> Sampler | str:
    """The source, or the reason why it cannot be read."""
    try:
        return opener()
    except PowerError as error:
        return str(error)


def _describe(sampler: Sampler, asked_s: float) -> str:
    text = f"power: {sampler.name} every {sampler.interval_s:g} s"
    if sampler.interval_s != asked_s:
        text += f" (set by another client of the service; {asked_s:g} s was requested)"
    return text
