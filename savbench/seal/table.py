"""The checks of an archive as a table of text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from runners.text import one_line

if TYPE_CHECKING:
    from savbench.seal.checks import Checked

_WIDTH = 100
_MARGIN = 18


def render_checks(checked: Checked, width: int | None) -> str:
    """A line per check, continued below itself, after what the archive is and before how many checks have which verdict.

    Args:
        width: columns of the terminal; None: not a terminal.
    """
    lines = _about(checked)
    for check in checked.checks:
        for number, said in enumerate(check.said):
            head = f"{check.verdict:<6}{check.name:<{_MARGIN - 6}}" if not number else " " * _MARGIN
            lines += textwrap.wrap(f"{head}{said}", max(width or _WIDTH, 50), subsequent_indent=" " * _MARGIN, break_on_hyphens=False)
    counts = {verdict: sum(check.verdict == verdict for check in checked.checks) for verdict in ("pass", "warn", "fail", "skip")}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return "\n".join([*lines, f"{checked.verdict}: {told}"])


def _about(checked: Checked) -> list[str]:
    lines = [f"{one_line(checked.path.name)}{f', seal {checked.seal}' if checked.seal else ''}"]
    if checked.submitter:
        lines.append(f"submitted by {checked.submitter}")
    if checked.run is not None and checked.run.rows:
        row = checked.run.rows[0]
        dates = sorted({one.started_at[:10] for one in checked.run.rows if one.started_at})
        when = "" if not dates else f", {dates[0]}" if len(dates) == 1 else f", {dates[0]} to {dates[-1]}"
        mode = f", {row.nvpmodel}" if row.nvpmodel else ""
        lines.append(one_line(f"{len(checked.run.rows)} rows of {row.split} on {row.device_name}{mode}{when}"))
    return lines
