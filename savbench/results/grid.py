"""Tables of text, drawn by the tabulate library: for a terminal of any width, or as markdown.

A terminal that is too narrow for a table shows fewer columns, the least important ones gone first, and a line that names them. Labels in
the first column are shortened in the middle, but never to the same text.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from tabulate import SEPARATING_LINE, DataRow, Line, TableFormat, tabulate

from savbench.results.text import for_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKDOWN_MARKS = {"best": "**{}**", "second": "<u>{}</u>"}
_TERMINAL = TableFormat(
    None, Line("", "-", "  ", ""), None, None, headerrow=None, datarow=DataRow("", "  ", ""), padding=0, with_header_hide=None
)
LABEL_LEAST = 20
"""Labels are not shortened below this length for the sake of another column."""


@dataclass
class Grid:
    """A table: the first column, the last `left` columns and those in `texts` are text, the others numbers.

    Attributes:
        drop: names of columns that a narrow terminal does without, the least important first.
    """

    header: list[str]
    rows: list[list[str]]
    left: int = 0
    texts: tuple[str, ...] = ()
    drop: tuple[str, ...] = field(default=(), kw_only=True)

    def is_text(self, index: int) -> bool:
        """Whether a column holds text, which is aligned to the left."""
        return index == 0 or index >= len(self.header) - self.left or self.header[index] in self.texts


def width_of(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream writes to; None for a file or a pipe, unless COLUMNS is set."""
    return shutil.get_terminal_size().columns if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else None


def wrapped(text: str, width: int | None) -> list[str]:
    """A remark as lines of the terminal's width, later ones indented by two more than the first; one line if the width is None."""
    if width is None:
        return [text]
    indent = len(text) - len(text.lstrip())
    return textwrap.wrap(text, width, subsequent_indent=" " * (indent + 2), break_long_words=False, break_on_hyphens=False)


def text_table(grid: Grid, width: int | None = None) -> str:
    """Aligned columns, and a line that names the columns left out.

    Args:
        width: columns of the terminal; None: as wide as the table is.
    """
    for count in range(len(grid.drop) + 1):
        gone = [name for name in grid.drop[:count] if name in grid.header]
        if count and grid.drop[count - 1] not in grid.header:
            continue
        kept = _without(grid, gone)
        text = _aligned(kept)
        if width is None or _width(text) <= width:
            break
        room = width - _width(text) + max(len(row[0]) for row in (kept.header, *kept.rows))
        labels = shortened([row[0] for row in kept.rows], max(room, LABEL_LEAST))
        text = _aligned(Grid(kept.header, [[label, *row[1:]] for label, row in zip(labels, kept.rows, strict=True)], kept.left, kept.texts))
        if _width(text) <= width:
            break
    return f"{text}\nnot shown in {width} columns: {', '.join(gone)}" if gone else text


def markdown_table(grid: Grid, marks: Sequence[Sequence[str]] = ()) -> str:
    """A markdown table; empty if there are no rows.

    Args:
        marks: `best`, `second` or empty for each cell of each row: the best is bold, the second underlined.
    """
    escaped = [[for_markdown(cell) for cell in row] for row in grid.rows]
    for row, of_row in zip(escaped, marks, strict=False):
        row[:] = [MARKDOWN_MARKS.get(mark, "{}").format(cell) for cell, mark in zip(row, of_row, strict=True)]
    header = [*map(for_markdown, grid.header)]
    return tabulate(escaped, header, tablefmt="pipe", colalign=_sides(grid), disable_numparse=True) if escaped else ""


def shortened(labels: Sequence[str], width: int) -> list[str]:
    """Labels of at most `width` characters, or of as many as keep different labels different. The middle gives way, as ends differ."""
    for length in range(width, max(map(len, labels), default=0)):
        short = [_shorten(label, length) for label in labels]
        if len(set(short)) == len(set(labels)):
            return short
    return list(labels)


def _shorten(label: str, width: int) -> str:
    if len(label) <= width:
        return label
    head = (width - 3) // 2
    return f"{label[:head]}...{label[len(label) - (width - 3 - head) :]}"


def _without(grid: Grid, gone: Sequence[str]) -> Grid:
    kept = [index for index, name in enumerate(grid.header) if name not in gone]
    texts = tuple(name for index, name in enumerate(grid.header) if grid.is_text(index))
    return Grid([grid.header[index] for index in kept], [[row[index] for index in kept] for row in grid.rows], texts=texts)


def _aligned(grid: Grid) -> str:
    # as a row: a header proper makes its column two signs wider
    text = tabulate([grid.header, SEPARATING_LINE, *grid.rows], tablefmt=_TERMINAL, colalign=_sides(grid), disable_numparse=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _sides(grid: Grid) -> list[str]:
    return ["left" if grid.is_text(index) else "right" for index in range(len(grid.header))]


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))
