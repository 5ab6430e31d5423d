"""The table of a paper: one line per arm, J&F, J and F times 100, FPS, watts and joules per frame, the best bold, the second underlined."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from runners.text import one_line
from savbench.compare.arms import FILE
from savbench.compare.tables import SHOWN_NAMES, render_markdown, sections
from savbench.data.csv_file import InputError
from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN
from savbench.results.grid import Grid, markdown_table
from savbench.results.numbers import number
from savbench.results.text import for_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.compare.findings import ArmSummary, Comparison
    from savbench.compare.section import Section

Mark = Literal["", "best", "second"]

_LABELS = {
    "model": "Model", "prompt": "Prompt", "imgsz": "Input", "autocast_dtype": "Precision", "attention": "Attention", "compile": "Compiled",
    "runtime": "Runtime", "keyframe": "Keyframe",
    "device_name": "Board", "nvpmodel": "Mode", FILE: "Run",
}  # fmt: skip
"""Settings that become columns if they vary, in this order, with their headings. The model is always one."""
_SCORES = ("J&F", "J", "F")
_MISSING = "--"
_LATEX_HEADINGS = {"J&F": r"$\mathcal{J}\&\mathcal{F}$", "J": r"$\mathcal{J}$", "F": r"$\mathcal{F}$"}
_LATEX_MARKS = {"best": "textbf:--rwrap;", "second": "underline:--rwrap;", "": ""}
_LATEX_ESCAPES = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%_#${}"},
        **{sign: f"\\ensuremath{{{sign}}}" for sign in "<>|"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
)
_LATEX_PREAMBLE = "% \\usepackage[T1]{fontenc}\n% \\usepackage{booktabs}\n"


@dataclass(frozen=True)
class _Figure:
    """A column of figures: its heading, its value for an arm, and how that is written."""

    heading: str
    value: Callable[[ArmSummary], float | None]
    text: Callable[[float], str]
    higher_is_better: bool = True


def _score(name: Literal["J", "F", "JandF"]) -> Callable[[ArmSummary], float | None]:
    return lambda arm: None if arm.means is None or arm.random else 100 * float(getattr(arm.means, name))


_FIGURES = (
    _Figure("J&F", _score("JandF"), "{:.1f}".format),
    _Figure("J", _score("J"), "{:.1f}".format),
    _Figure("F", _score("F"), "{:.1f}".format),
    _Figure("FPS", lambda arm: arm.figures.get("fps"), lambda value: number(value, 3)),
    _Figure("W", lambda arm: arm.power_w, "{:.1f}".format, higher_is_better=False),
    _Figure("J/frame", lambda arm: arm.figures.get("energy_j_per_frame"), lambda value: number(value, 3), higher_is_better=False),
)


@dataclass(frozen=True)
class PaperTable:
    """What a paper prints.

    Attributes:
        grid: the table, its figures without marks.
        marks: for each row, the mark of each of its cells.
        caption: the settings that all rows share.
        notes: what a reader of the table has to know beside it.
    """

    grid: Grid
    marks: tuple[tuple[Mark, ...], ...]
    caption: str
    notes: tuple[str, ...]


def paper_table(comparison: Comparison) -> PaperTable:
    """Make the table of all arms and references of a comparison, models together."""
    lines = _distinct([(arm, _settings(arm, comparison)) for block in comparison.blocks for arm in block.arms])
    labels = _labels([settings for _, settings in lines])
    order = {name: list(dict.fromkeys(settings.get(name, "") for _, settings in lines)) for name in labels}
    lines.sort(key=lambda line: [order[name].index(line[1].get(name, "")) for name in labels])
    arms = [arm for arm, _ in lines]
    columns = [(figure, _column(figure, arms)) for figure in _FIGURES if any(figure.value(arm) is not None for arm in arms)]
    header = [*(_LABELS.get(name, SHOWN_NAMES.get(name, name)) for name in labels), *(figure.heading for figure, _ in columns)]
    rows = [
        [*(_shown(settings, name) for name in labels), *(cells[row][0] for _, cells in columns)] for row, (_, settings) in enumerate(lines)
    ]
    unmarked: list[Mark] = [""] * len(labels)
    marks = [(*unmarked, *(cells[row][1] for _, cells in columns)) for row in range(len(lines))]
    notes = [*comparison.forced, *(note for block in comparison.blocks for note in block.notes)]
    if any("invalid" in arm.counts for arm in arms):
        notes.append("times and power of rows marked invalid are left out")
    if any(arm.random for arm in arms):
        notes.append("scores of untrained weights are left out")
    caption = _caption(arms, _shared([settings for _, settings in lines]), marked=any(map(any, marks)))
    grid = Grid(header, rows, texts=tuple(header[: len(labels)]))
    return PaperTable(grid, tuple(marks), caption, tuple(dict.fromkeys(notes)))


def _settings(arm: ArmSummary, comparison: Comparison) -> dict[str, str]:
    return {**arm.settings, **({FILE: arm.arm} if FILE in comparison.compared else {})}


def _distinct(lines: Sequence[tuple[ArmSummary, dict[str, str]]]) -> list[tuple[ArmSummary, dict[str, str]]]:
    """The lines, a reference once, although each block of a comparison has it."""
    seen = {(tuple(settings.items()), arm.means, tuple(arm.figures.items())): (arm, settings) for arm, settings in lines}
    return list(seen.values())


def _shared(settings: Sequence[dict[str, str]]) -> dict[str, str]:
    """The settings that all lines share to which they apply at all."""
    values = {name: {of.get(name, "") for of in settings} - {NOT_APPLICABLE} for of in settings for name in of}
    return {name: of_lines.pop() for name, of_lines in values.items() if len(of_lines) == 1}


def _is_known(value: str) -> bool:
    return value not in ("", UNKNOWN, NOT_APPLICABLE)


def _labels(settings: Sequence[dict[str, str]]) -> list[str]:
    """The settings that tell the rows apart; the run only where nothing else does."""
    names = dict.fromkeys((*_LABELS, *(name for of in settings for name in of)))
    varying = [name for name in names if len({of[name] for of in settings if _is_known(of.get(name, ""))}) > 1]
    named = ["model", *(name for name in varying if name in _LABELS and name not in ("model", FILE))]
    for name in sorted((name for name in varying if name not in named), key=lambda name: name != FILE):
        told_apart = len({tuple(of.get(label, "") for label in named) for of in settings})
        if told_apart < len({tuple(of.get(label, "") for label in (*named, name)) for of in settings}):
            named.append(name)
    return named


def _shown(settings: dict[str, str], name: str) -> str:
    value = settings.get(name, "")
    return value[:8] if name == "weights" else value if _is_known(value) else _MISSING


def _column(figure: _Figure, arms: Sequence[ArmSummary]) -> list[tuple[str, Mark]]:
    """The cells of a column, each with its mark. Equal texts have equal marks.

    A column of equal texts has no marks, nor has one whose figures rest on different numbers of objects.
    """
    values = [figure.value(arm) for arm in arms]
    texts = [_MISSING if value is None else figure.text(value) for value in values]
    ranked = sorted({float(text) for text in texts if text != _MISSING}, reverse=figure.higher_is_better)
    counts = {arm.scored if figure.heading in _SCORES else arm.timed for arm, value in zip(arms, values, strict=True) if value is not None}
    names: tuple[Mark, ...] = ("best", "second") if len(ranked) > 1 and len(counts) == 1 else ()
    marks = dict(zip(ranked, names, strict=False))
    return [(text, "" if text == _MISSING else marks.get(float(text), "")) for text in texts]


def _caption(arms: Sequence[ArmSummary], shared: dict[str, str], *, marked: bool) -> str:
    """`sav_val, 293 objects of 155 videos, mask prompt, 1024 px, bfloat16, Orin, power mode MAXN.`"""

    def known(name: str, form: str = "{}", *usual: str) -> str:
        value = shared.get(name, "")
        return form.format(value) if _is_known(value) and value not in usual else ""

    objects = sorted({arm.scored or arm.timed for arm in arms})
    videos = sorted({arm.videos for arm in arms})
    counts = [f"{listed[0]}" if len(listed) == 1 else f"{listed[0]} to {listed[-1]}" for listed in (objects, videos)]
    parts = [
        known("split", "Split {}"),
        f"{counts[0]} {'object' if counts[0] == '1' else 'objects'} of {counts[1]} {'video' if counts[1] == '1' else 'videos'}",
        known("prompt", "{} prompt"),
        known("imgsz", "input {} px"),
        known("max_frames", "clips cut after {} frames", "all"),
        known("frame_stride", "every {}th frame", "1"),
        known("postprocessing", "postprocessing {}", "on"),
        known("autocast_dtype"),
        known("attention", "attention {}", "auto"),
        known("compile", "compiled {}", "off"),
        known("runtime", "in {}", "torch"),
        known("keyframe", "the model on every frame K of {}", "1"),
        known("device_name"),
        known("nvpmodel", "power mode {}"),
    ]
    how = "best bold, second underlined" if marked else "none is marked best, as the rows rest on different objects or are equal"
    return f"{', '.join(part for part in parts if part)}. J&F, J and F times 100; FPS, W and J/frame over timed frames; {how}."


def render_paper_markdown(comparison: Comparison, *, details: bool = False, explain: bool = False) -> str:
    """The table of a paper as markdown.

    Args:
        details: also the paired changes with their intervals.
        explain: with details: also how to read them.
    """
    table = paper_table(comparison)
    text = markdown_table(replace(table.grid, rows=[[one_line(cell) for cell in row] for row in table.grid.rows]), table.marks)
    notes = "\n".join(f"- {for_markdown(note)}" for note in table.notes)
    parts = [text, for_markdown(table.caption), notes, render_markdown(comparison, explain=explain).rstrip() if details else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_latex(comparison: Comparison, *, details: bool = False, explain: bool = False) -> str:
    """The table of a paper for LaTeX with the booktabs package. Arguments as of `render_paper_markdown`; other text becomes comments."""
    table = paper_table(comparison)
    parts = [_LATEX_PREAMBLE + _comments(table.notes) + _latex_table(table.grid, table.marks, table.caption)]
    if details:
        parts += [_latex_section(section) for section in sections(comparison, explain=explain)]
    return "\n".join(parts)


def _latex_section(section: Section) -> str:
    comments = _comments([section.title, *section.before, *section.after])
    return comments + ("" if section.grid is None else _latex_table(section.grid))


def _latex_table(grid: Grid, marks: Sequence[Sequence[Mark]] | None = None, caption: str = "") -> str:
    frame = pd.DataFrame([[_latex(cell) for cell in row] for row in grid.rows])
    try:
        styler = frame.style.hide(axis="index")
    except (ImportError, AttributeError) as error:  # pandas needs jinja2 for it
        raise InputError("--format latex needs the Python package jinja2: run scripts/setup.sh (requirements-report.txt)") from error
    if marks is not None:
        props = pd.DataFrame([[_LATEX_MARKS[mark] for mark in row] for row in marks])
        styler = styler.apply(lambda _: props, axis=None)
    headings: dict[object, str] = {index: _LATEX_HEADINGS.get(name, _latex(name)) for index, name in enumerate(grid.header)}
    styler = styler.format_index(headings.__getitem__, axis="columns")
    columns = "".join("l" if grid.is_text(index) else "r" for index in range(len(grid.header)))
    if not caption:
        return str(styler.to_latex(hrules=True, column_format=columns))
    around: Any = {"position": "t", "position_float": "centering", "caption": _latex(caption), "label": "tab:compare"}
    return str(styler.to_latex(hrules=True, column_format=columns, **around))


def _latex(text: str) -> str:
    """A text on one line, escaped. What pdflatex has no glyph for becomes a question mark."""
    return one_line(text).encode("latin-1", "replace").decode("latin-1").translate(_LATEX_ESCAPES)


def _comments(lines: Sequence[str]) -> str:
    return "".join(f"% {part}\n" for line in lines for part in textwrap.wrap(one_line(line), 120))
