"""The report as markdown, with its figures as PNG files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.report.charts import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from savbench.compare.tables import Grid
    from savbench.report.content import Report

_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|~#$"})


def render_markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The text.

    Args:
        pictures: path of each figure's file relative to the text, by the figure's key.
    """
    parts = [f"# {_text(report.title)}", f"Made {report.made_at}.", _bullets(report.answer)]
    if report.provenance.warnings:
        parts += ["## To know before trusting this", _bullets(report.provenance.warnings)]
    parts += ["## The arms", _table(report.arms), _bullets(report.arms_notes)]
    if report.references:
        parts += ["### Beside published SA-V scores", _table(report.references)]
    for chapter in report.chapters:
        parts.append(f"## {_text(chapter.title)}")
        for item in chapter.items:
            parts.append(f"### {_text(item.title)}")
            if isinstance(item, Figure):
                parts += [f"![{_text(item.title)}](<{pictures[item.key]}>)", _text(item.says), _table(item.table), _bullets(item.notes)]
            else:
                parts.append(f"Not shown. {_text(item.reason)}")
        if chapter.remarks:
            parts += ["### What was left out or differs", _bullets(chapter.remarks)]
    gallery = report.gallery
    if gallery.best or gallery.worst:
        parts += [f"## Best and worst objects under {_text(gallery.ranked_by)}"]
        for name, shown in (("Worst", gallery.worst), ("Best", gallery.best)):
            if shown:
                parts.append(f"{name}: " + ", ".join(f"{_text(entry.object)} ({_text(entry.says)})" for entry in shown))
    parts.append("## Circumstances")
    if report.provenance.failures:
        parts += ["### Rows without figures", _table(report.provenance.failures)]
    for label, facts in report.provenance.circumstances:
        parts += [f"### {_text(label)}", _bullets(f"{name}: {value}" for name, value in facts.rows)]
    if report.provenance.notes:
        parts += ["### Notes", _bullets(report.provenance.notes)]
    parts.append("## How to reproduce")
    for what, command in report.provenance.commands:
        fence = "`" * max(3, 1 + _longest_run(command))
        parts += [f"{_text(what)}:", f"{fence}\n{command}\n{fence}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """Text without what markdown or HTML would make of it, on one line."""
    return " ".join(text.split()).translate(_ESCAPED)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _table(grid: Grid) -> str:
    if not grid.rows:
        return ""
    last = len(grid.header) - grid.left
    rule = ["---" if index == 0 or index >= last else "---:" for index in range(len(grid.header))]
    lines = [[_text(name) for name in grid.header], rule, *([_text(cell) for cell in row] for row in grid.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _longest_run(text: str) -> int:
    longest = run = 0
    for sign in text:
        run = run + 1 if sign == "`" else 0
        longest = max(longest, run)
    return longest
