"""Judge --noninferior: whether arms keep a share of the baseline's J&F, as MLPerf asks 99% or 99.9% of a reduced precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from savbench.arguments.values import Real
from savbench.compare.statistics import LEVEL, MIN_VIDEOS
from savbench.data.csv_file import InputError

if TYPE_CHECKING:
    from savbench.compare.findings import Comparison, Kept


@dataclass(frozen=True)
class _Margin(Real):
    """A share that may be lost, `0.01`, or the share to keep, `99%`."""

    def parse(self, text: str) -> float:
        return round(1 - super().parse(text[:-1]) / 100, 12) if text.endswith("%") else super().parse(text)


MARGIN = _Margin(0.0001, 0.5, name="MARGIN", hint="the share of J&F that may be lost, or the share to keep in percent, 99%")


@dataclass(frozen=True)
class Noninferiority:
    """`yes`: the interval lies at or above the share to keep; `no`: below it; `undecided`: it spans it, or there is none."""

    answer: Literal["yes", "no", "undecided"]
    line: str


def judge_noninferiority(comparison: Comparison, margin: float) -> list[Noninferiority]:
    """Judge every compared arm.

    Args:
        margin: share of the baseline's J&F that may be lost.

    Raises:
        InputError: nothing was compared, or an arm has no meaningful scores in common with the baseline.
    """
    pairs = [(block.setting, pair) for block in comparison.blocks for pair in block.comparisons]
    if not pairs:
        raise InputError("--noninferior: cannot be judged, no two arms were compared")
    found = []
    for setting, pair in pairs:
        why_not = f"--noninferior: cannot be judged for {pair.arm} against {pair.baseline}"
        if pair.kept is None:
            raise InputError(f"{why_not}: no object has a J&F of trained weights on both sides")
        if pair.lost:
            raise InputError(
                f"{why_not}: {pair.lost} objects have no J&F in {pair.arm}, and leaving them out would favour it; run them again with "
                "--retry_failed"
            )
        answer = answer_of(pair.kept, 1 - margin)
        where = " ".join(value for value in setting.values() if value not in ("none", "?", "all"))
        found.append(
            Noninferiority(
                answer,
                f"{pair.arm} keeps at least {_percent(1 - margin)} of {pair.baseline}'s J&F: {answer}, {in_words(pair.kept)} ({where})",
            )
        )
    return found


def answer_of(kept: Kept, share: float) -> Literal["yes", "no", "undecided"]:
    """Whether an arm keeps this share of the baseline's J&F."""
    if kept.low is None or kept.high is None:
        return "undecided"
    return "yes" if kept.low >= share else "no" if kept.high < share else "undecided"


def in_words(kept: Kept) -> str:
    """The share kept, with its interval."""
    over = f"{kept.objects} objects of {kept.videos} videos"
    if kept.low is None or kept.high is None:
        return f"{kept.share:.2%}, no interval with fewer than {MIN_VIDEOS} videos, {over}"
    return f"{kept.share:.2%}, {LEVEL:.0%} interval [{kept.low:.2%}, {kept.high:.2%}], {over}"


def _percent(share: float) -> str:
    return f"{100 * share:.12g}%"
