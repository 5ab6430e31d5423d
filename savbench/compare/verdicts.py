"""Judge --fail_if: conditions on changes that end a comparison with exit status 1, for CI."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from savbench.data.csv_file import InputError
from savbench.results.measures import BY_COLUMN, SCORES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from savbench.compare.findings import Comparison, PairComparison
    from savbench.results.foreign import Results

_REASONS_SHOWN = 3
_UNLOCKED = "clocks not locked"
"""Text in the `validity` column."""
LOST = "lost"
"""Name of the count of objects for which the baseline has figures and the arm has none."""

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Condition:
    """A limit on the change of one measure: a difference for scores, a ratio for the others, a count for `lost`."""

    text: str
    name: str
    operator: str
    limit: float

    def holds(self, change: float) -> bool:
        return bool(_OPERATORS[self.operator](change, self.limit))


def parse_condition(text: str) -> Condition:
    """Parse `JandF<-0.005` or `latency_p90_ms>1.10`.

    Raises:
        InputError: the form is wrong, the name is not a compared measure, or the measure cannot change by the limit.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise InputError(f"--fail_if {text!r}: write a column, one of < <= > >= and a number, for example 'JandF<-0.005'")
    name, sign, number = match.groups()
    try:
        limit = float(number)
    except ValueError:
        raise InputError(f"--fail_if {text!r}: {number!r} is not a number") from None
    if name != LOST and name not in BY_COLUMN:
        raise InputError(f"--fail_if {text!r}: {name} is not compared; there are {', '.join([*BY_COLUMN, LOST])}")
    if name in BY_COLUMN and BY_COLUMN[name].is_share and abs(limit) >= 1:
        raise InputError(f"--fail_if {text!r}: a score differs by less than 1; half a point is 0.005")
    if name in BY_COLUMN and BY_COLUMN[name].kind == "ratio" and limit <= 0:
        raise InputError(f"--fail_if {text!r}: {name} changes by a ratio, 1.10 is 10% more than the baseline")
    return Condition(text.strip(), name, sign, limit)


def judge(comparison: Comparison, conditions: Sequence[Condition]) -> list[str]:
    """Return one line for every condition and compared arm for which the condition holds, with its setting and change.

    A condition tests the change itself, not its interval; the line shows both.

    Raises:
        InputError: a condition cannot be judged: nothing was compared, the measure is missing, or it is meaningless.
    """
    pairs = [(block.setting, pair) for block in comparison.blocks for pair in block.comparisons]
    if conditions and not pairs:
        raise InputError(f"--fail_if {conditions[0].text}: cannot be judged, no two arms were compared")
    lines = []
    for condition in conditions:
        for setting, pair in pairs:
            change, shown = _change(condition, pair, forced=comparison.options.force)
            if condition.holds(change):
                where = " ".join(value for value in setting.values() if value not in ("none", "?", "all"))
                lines.append(f"fail_if {condition.text} holds: {pair.arm} against {pair.baseline} ({where}): {shown}")
    return lines


def missing_times(comparison: Comparison, results: Results) -> str:
    """Return a warning if invalid rows leave no times to compare; otherwise empty.

    Raises:
        InputError: there are no meaningful scores either, or the clocks were not locked, so no run of this board will have valid times.
    """
    pairs = [pair for block in comparison.blocks for pair in block.comparisons]
    arms = [arm for block in comparison.blocks for arm in block.arms]
    if pairs:
        has_times = any(change.measure.is_time for pair in pairs for change in pair.changes)
        is_disturbed = any(pair.untimed for pair in pairs)
        has_scores = any(change.measure.column in SCORES and change.verdict != "meaningless" for pair in pairs for change in pair.changes)
    else:
        has_times = any(arm.timed for arm in arms)
        is_disturbed = any("invalid" in arm.counts for arm in arms)
        has_scores = any(arm.means and not arm.random for arm in arms)
    if has_times or not is_disturbed:
        return ""
    reasons = list(dict.fromkeys(str(text) for text in results.rows["invalid"] if text))
    left_out = len(reasons) - _REASONS_SHOWN
    more = f" and {left_out} more reason{'s' * (left_out > 1)}" if left_out > 0 else ""
    said = (
        f"no times to compare, only J, F and J&F: the rows are not valid ({'; '.join(reasons[:_REASONS_SHOWN])}{more}); measure again on a "
        "quiet machine, on a Jetson with its clocks locked (sudo scripts/lock_clocks.sh), or give --force to compare the times as they are"
    )
    if not has_scores or any(_UNLOCKED in reason for reason in reasons):
        raise InputError(said)
    return said


def _change(condition: Condition, pair: PairComparison, *, forced: bool) -> tuple[float, str]:
    if condition.name == LOST:
        return pair.lost, f"{pair.lost} objects lost"
    change = next((change for change in pair.changes if change.measure.column == condition.name), None)
    what = f"--fail_if {condition.text}: cannot be judged for {pair.arm} against {pair.baseline}"
    if change is None:
        raise InputError(f"{what}: no object has {condition.name} on both sides")
    if change.verdict == "meaningless" and not forced:
        raise InputError(f"{what}: untrained weights, their scores mean nothing; give trained ones, or --force")
    form = "{:+.4f}" if change.measure.kind == "difference" else "x{:.3f}"
    interval = "no interval"
    if change.low is not None and change.high is not None:
        interval = f"95% interval [{form.format(change.low)}, {form.format(change.high)}]"
    return change.change, f"{condition.name} {form.format(change.change)}, {interval}, {change.pairs} objects"
