"""Opening the source that --power names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.board.power.base import PowerError, Sampler, check_interval
from savbench.board.power.jtop import JtopSampler
from savbench.board.power.meter import MeterSampler
from savbench.board.power.nvml import NvmlSampler
from savbench.board.power.sysfs import SysfsSampler
from savbench.plan.settings import METER, POWER_SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


NAMED = "named with --power"


@dataclass(frozen=True)
class Choice:
    """The source to read, or none, and the reason in words."""

    sampler: Sampler | None
    why: str
    """One line to show: which source, and why not those tried before it."""
    reason: str = ""
    """The same without the source, for its rows."""


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
        choice: one of `POWER_SOURCES`, or `csv:FILE`.
        interval_s: --power_interval, seconds between readings.
        device: --device; NVML measures that GPU.
        root: root of the file system to read.
        openers: replace the sources, by name and in order; for tests.

    Raises:
        PowerError: the named source cannot be read; the message has the command that fixes it.
    """
    prefix, _, file = choice.partition(":")
    is_meter = prefix == METER and file != ""
    if choice not in POWER_SOURCES and not is_meter:
        raise PowerError(f"--power {choice}: use one of {', '.join(POWER_SOURCES)}, {METER}:FILE")
    check_interval(interval_s)
    if choice == "none":
        return Choice(None, "power: none, as requested", NAMED)
    if openers is None:
        openers = {
            "jtop": lambda: JtopSampler(interval_s, root=root),
            "sysfs": lambda: SysfsSampler(interval_s, root),
            "nvml": lambda: NvmlSampler(interval_s, device, root=root),
        }
    if is_meter:
        board, refused = _first(openers)
        try:
            meter = MeterSampler(Path(file), board)
        except PowerError:
            if board is not None:
                board.close()
            raise
        beside = "nothing else" if board is None else board.name
        return Choice(meter, "; ".join([f"power: {file} every {meter.interval_s:g} s, beside it {beside}", *refused]), NAMED)
    if choice != "auto":
        sampler = openers[choice]()
        return Choice(sampler, _describe(sampler, interval_s), NAMED)
    found, refused = _first(openers)
    if found is None:
        return Choice(None, "; ".join(["power: none", *refused]), "; ".join(refused))
    others = [f"not {reason}" for reason in refused]
    return Choice(found, "; ".join([_describe(found, interval_s), *others]), "; ".join(["the first that answered", *others]))


def _first(openers: Mapping[str, Callable[[], Sampler]]) -> tuple[Sampler | None, list[str]]:
    """The first source that answers, and the reasons of those before it, without remedies, which are shown if the user names a source."""
    refused: list[str] = []
    for opener in openers.values():
        found = _try(opener)
        if not isinstance(found, str):
            return found, refused
        refused.append(found.partition(";")[0].partition(" (")[0])
    return None, refused


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
