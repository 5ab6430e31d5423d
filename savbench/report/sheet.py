"""What figures are drawn on, and what all drawings share."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

PT_PER_IN = 72
ROW_IN = 0.27
LETTER_PT = 5.0
"""Mean width of a letter of a label."""
INK, GRID, PAPER = "#1b1f24", "#d5d9de", "#ffffff"
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "star": "*", "triangle-down": "v",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn on.

    Attributes:
        label_letters: letters of a row's label before it wraps.
        has_text: with title and notes; the page has those outside.
    """

    width_in: float
    label_letters: int
    has_text: bool = False

    @property
    def width_pt(self) -> float:
        return self.width_in * PT_PER_IN


JOURNAL = Sheet(6.3, 26, has_text=True)
"""As wide as the text of a journal."""
WIDE, NARROW = Sheet(9.0, 34), Sheet(3.5, 17)
"""For a desktop; for a phone and for one of two columns on paper."""


@dataclass
class Tips:
    """Collects what to show when the pointer is on a part of a figure."""

    lines: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *lines: str) -> str:
        """Return the id to give to artists."""
        self.lines.append(lines)
        return f"tip{len(self.lines) - 1}"


def rows_of(label: list[str]) -> float:
    """Height of a row with a label of these lines, in units of `ROW_IN`."""
    return max(1.0, 0.2 + 0.55 * len(label))


def heading_of(text: str, sheet: Sheet) -> list[str]:
    """Lines of the heading of a group of rows."""
    return textwrap.wrap(text, int(sheet.width_pt / LETTER_PT))


def write_heading(axes: Any, lines: list[str], place: float) -> None:
    """Write the heading of a group of rows above `place`, from the left edge of the drawing, over the labels of the rows."""
    style: dict[str, Any] = {"fontsize": 7.5, "fontweight": "bold", "va": "bottom", "annotation_clip": False}
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    written = axes.annotate("\n".join(lines), (0.01, place), xycoords=("figure fraction", "data"), bbox=ground, **style)
    written.set_in_layout(False)
