"""Writes a report in each format, to a temporary file beside the target that is renamed when complete."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.report.figures import save_pdf, save_png
from savbench.report.markdown import render_markdown
from savbench.report.packages import ReportError
from savbench.report.page import render_html

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return [_write(output, partial(_save_text, render_html(report)))]
    if kind == "md":
        folder = output.with_name(f"{output.stem}_figures")
        pictures = {figure.key: folder / f"{figure.key}.png" for figure in report.figures}
        drawn = [_write(pictures[figure.key], partial(save_png, figure)) for figure in report.figures]
        relative = {key: f"{folder.name}/{path.name}" for key, path in pictures.items()}
        return [_write(output, partial(_save_text, render_markdown(report, relative))), *drawn]
    if not report.figures:
        raise ReportError("there is no figure to draw: no row has figures; --format html says why for each")
    if kind == "pdf":
        return [_write(output, partial(save_pdf, report.figures))]
    stem = output.with_suffix("") if output.suffix.lower() == ".png" else output
    return [_write(stem.with_name(f"{stem.name}-{figure.key}.png"), partial(save_png, figure)) for figure in report.figures]


def _write(path: Path, write: Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a pipe or a device, such as /dev/stdout, must not be replaced by a file
        write(path)
        return path
    whole = Path(os.path.realpath(path))  # replace the target of a link, keep the link
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        temporary.replace(whole)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _save_text(text: str, path: Path) -> None:
    # show file names that are not UTF-8 with escapes
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
