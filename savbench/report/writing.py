"""Writes a report in each format."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from savbench.arguments.output import write_text, written_whole
from savbench.report.figures import save_pdf, save_png
from savbench.report.markdown import render_markdown
from savbench.report.packages import ReportError
from savbench.report.page import render_html

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from savbench.report.content import Report

FORMATS = ("html", "md", "png", "pdf")


def write_report(report: Report, kind: str, output: Path) -> list[Path]:
    """Write a report.

    Args:
        kind: one of `FORMATS`.
        output: the file. png writes one file per figure, `NAME-FIGURE.png`; md writes them into `NAME_figures/`.

    Returns:
        The files, the main one first.

    Raises:
        ReportError: a package is missing, or there is no figure to draw.
        OSError: a file cannot be written, or `output` is a folder.
    """
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(output))
    if kind == "html":
        write_text(output, render_html(report))
        return [output]
    if kind == "md":
        folder = output.with_name(f"{output.stem}_figures")
        pictures = {figure.key: folder / f"{figure.key}.png" for figure in report.figures}
        drawn = [_write(pictures[figure.key], partial(save_png, figure)) for figure in report.figures]
        relative = {key: f"{folder.name}/{path.name}" for key, path in pictures.items()}
        write_text(output, render_markdown(report, relative))
        return [output, *drawn]
    if not report.figures:
        raise ReportError("there is no figure to draw: no row has figures; --format html says why for each")
    if kind == "pdf":
        return [_write(output, partial(save_pdf, report.figures))]
    stem = output.with_suffix("") if output.suffix.lower() == ".png" else output
    return [_write(stem.with_name(f"{stem.name}-{figure.key}.png"), partial(save_png, figure)) for figure in report.figures]


def _write(path: Path, write: Callable[[Path], None]) -> Path:
    with written_whole(path) as file:
        write(file)
    return path
