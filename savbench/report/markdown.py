"""The report as markdown, with its figures as PNG files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from savbench.report.charts import Figure
from savbench.results.grid import markdown_table
from savbench.results.text import for_markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from savbench.report.content import Report


def render_markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """Return the text.

    Args:
        pictures: path of each figure's file relative to the text, by figure key.
    """
    subtitle = " · ".join(f"{name}: {value}" for name, value in (*report.provenance.subtitle, ("report made", report.made_at)))
    parts = [f"# {for_markdown(report.title)}", for_markdown(subtitle), _bullets(report.answer)]
    if report.provenance.warnings:
        parts += ["## To know before trusting this", _bullets(report.provenance.warnings)]
    parts += ["## The arms", markdown_table(report.arms), _bullets(report.arms_notes)]
    if report.references:
        parts += ["### Beside reference figures", markdown_table(report.references)]
    for chapter in report.chapters:
        parts.append(f"## {for_markdown(chapter.title)}")
        for item in chapter.items:
            parts.append(f"### {for_markdown(item.title)}")
            if isinstance(item, Figure):
                parts += [
                    f"![{for_markdown(item.title)}](<{pictures[item.key]}>)",
                    for_markdown(item.says),
                    markdown_table(item.table),
                    _bullets(item.notes),
                ]
            else:
                parts.append(f"Not shown. {for_markdown(item.reason)}")
        if chapter.remarks:
            parts += ["### What was left out or differs", _bullets(chapter.remarks)]
    gallery = report.gallery
    if gallery.best or gallery.worst:
        parts += [f"## Best and worst objects under {for_markdown(gallery.ranked_by)}"]
        for name, shown in (("Worst", gallery.worst), ("Best", gallery.best)):
            if shown:
                parts.append(f"{name}: " + ", ".join(f"{for_markdown(entry.object)} ({for_markdown(entry.says)})" for entry in shown))
    parts.append("## Circumstances")
    if report.provenance.failures:
        parts += ["### Rows without figures", markdown_table(report.provenance.failures)]
    for label, facts in report.provenance.circumstances:
        parts += [f"### {for_markdown(label)}", _bullets(f"{name}: {value}" for name, value in facts.rows)]
    if report.provenance.notes:
        parts += ["### Notes", _bullets(report.provenance.notes)]
    parts.append("## How to reproduce")
    for what, command in report.provenance.commands:
        fence = "`" * max(3, 1 + _longest_run(command))
        parts += [f"{for_markdown(what)}:", f"{fence}\n{command}\n{fence}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {for_markdown(line)}" for line in lines)


def _longest_run(text: str) -> int:
    longest = run = 0
    for sign in text:
        run = run + 1 if sign == "`" else 0
        longest = max(longest, run)
    return longest
