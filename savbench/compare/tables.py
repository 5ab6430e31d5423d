"""Render a comparison in full, as text for terminals or as markdown. `savbench.compare.paper` has the table of a paper."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runners.text import one_line
from savbench.compare.camera_rates import RateTable, rate_tables
from savbench.compare.causes import by_cause
from savbench.compare.explained import explanation_sections, legend
from savbench.compare.section import Section
from savbench.compare.statistics import FEWEST_RESAMPLES, LEVEL, MIN_VIDEOS, MOST_RESAMPLES
from savbench.results.figures import kinds_of_frames
from savbench.results.foreign import UNKNOWN
from savbench.results.grid import Grid, markdown_table, shortened, text_table, wrapped
from savbench.results.measures import BY_COLUMN, Measure
from savbench.results.numbers import counted, difference, number, ratio
from savbench.results.text import for_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.compare.findings import ArmSummary, BlockComparison, Change, Comparison, PairComparison

TEXT_WIDTH = 100
"""Columns that lines of text are wrapped to where there is no terminal, or a wider one."""

_NAMES_SHOWN = 5
_SIDE_WIDTH = 18
_UNTRAINED = "*"
OF_OBJECTS = "'"
"""Suffix of the name of a percentile that is the mean of the objects' percentiles."""
_ARM_FIGURES = (
    "streaming_JandF", "streaming_fps", "fps", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "energy_j_per_frame", "fps_per_w",
)  # fmt: skip
TAILS = ("latency_p90_ms", "latency_p99_ms")
"""Percentiles whose intervals are shown below the table of arms."""
_DROPPED = ("latency_p99_ms", "fps_per_w", "streaming_fps", "F", "J", "latency_p50_ms", "energy_j_per_frame")
"""Columns of an arm that a narrow terminal does without, the first of them first."""
SHOWN_NAMES = {"autocast_dtype": "dtype", "nvpmodel": "power mode", "camera_fps": "camera FPS", "streaming_clock": "clock"}


def render_table(comparison: Comparison, *, explain: bool = False, width: int | None = None) -> str:
    """Render as aligned text.

    Args:
        explain: also say how to read the tables.
        width: columns of the terminal; None: all columns of the tables.
    """
    text = _render(comparison, explain, lambda section: _text_section(section, width))
    return text if explain else f"{text}\nhow to read this: --explain\n"


def render_markdown(comparison: Comparison, *, explain: bool = False) -> str:
    """Render as markdown."""
    return _render(comparison, explain, _markdown_section)


def _render(comparison: Comparison, explain: bool, section_text: Callable[[Section], str]) -> str:
    return "\n\n".join(section_text(_printable(section)) for section in sections(comparison, explain=explain)) + "\n"


def _printable(section: Section) -> Section:
    """Escape terminal escape sequences, since names come from files."""
    grid = section.grid and replace(
        section.grid, header=[*map(one_line, section.grid.header)], rows=[[*map(one_line, row)] for row in section.grid.rows]
    )
    return Section(one_line(section.title), section.level, [*map(one_line, section.before)], grid, [*map(one_line, section.after)])


def sections(comparison: Comparison, *, explain: bool) -> list[Section]:
    """Return the sections, in order; with `explain` also how to read them."""
    shown = [block for block in comparison.blocks if block.comparisons]
    paired_by = list(comparison.blocks[0].setting) if comparison.blocks else []
    head = Section(f"compared: {', '.join(comparison.compared)}", level=1)
    head.before = [*comparison.forced, *(f"note: {note}" for note in comparison.notes)]
    if shown:
        head.before.append(f"rows are paired by video, object{''.join(', ' + name for name in paired_by)}")
    found = [head]
    for block in shown or comparison.blocks:
        found.append(_arms_section(block))
        for pair in block.comparisons:
            found.append(_pair_section(pair, comparison.options.center))
            found += explanation_sections(pair) if comparison.options.explain_by else []
    alone = [block for block in comparison.blocks if shown and not block.comparisons]
    if alone:
        found.append(Section("not compared, nothing of the baseline to set them against", after=[_alone(block) for block in alone]))
    found += [_rates_section(table) for table in rate_tables(shown or comparison.blocks)]
    if explain:
        found.append(Section("how to read this", after=_legend(comparison, shown)))
    return found


_USUAL = {("frame_stride", "1"), ("attention", "auto"), ("compile", "off"), ("runtime", "torch"), ("keyframe", "1")}
"""Settings that `describe` leaves out."""


def describe(setting: dict[str, str]) -> str:
    """Format a setting as `model sam2_tiny, prompt mask, ...`, without unknown, inapplicable and default values."""
    parts = []
    for name, value in setting.items():
        if value in (UNKNOWN, "none", "all") or (name, value) in _USUAL:
            continue
        value = f"{value} px" if name == "imgsz" else value[:8] if name == "weights" else value
        parts.append(value if name == "imgsz" else f"{SHOWN_NAMES.get(name, name)} {value}")
    return ", ".join(parts) or "all rows"


def _arms_section(block: BlockComparison) -> Section:
    has_scores = any(arm.means for arm in block.arms)
    figures = [name for name in _ARM_FIGURES if any(name in arm.figures for arm in block.arms)]
    kinds = {arm.peak_kind for arm in block.arms} - {""}
    peak_header = f"{next(iter(kinds))} MiB" if len(kinds) == 1 else "peak MiB"
    pools_frames = any(arm.pools_frames for arm in block.arms)
    labels = {name: figure_label(name, pools_frames) for name in figures}
    header = ["arm", "objects", *(["J", "F", "J&F"] if has_scores else []), *labels.values(), *([peak_header] if kinds else [])]
    rows = []
    for arm in block.arms:
        mark = " (baseline)" if arm.is_baseline else " (reference)" if arm.is_reference else ""
        row = [arm.arm + mark, _objects(arm)]
        if has_scores:
            mark = _UNTRAINED if arm.random else ""
            row += [f"{v:.4f}{mark}" for v in (arm.means.J, arm.means.F, arm.means.JandF)] if arm.means else ["", "", ""]
        row += [_figure(arm, name) for name in figures]
        if kinds:
            row.append("" if arm.peak_MiB is None else f"{arm.peak_MiB:.0f}" + (f" {arm.peak_kind}" if len(kinds) > 1 else ""))
        rows.append(row)
    after = [f"{arm.arm}: {line}" for arm in block.arms for line in (arm.reference, *arm.speeds) if line]
    for arm in block.arms:
        tails = [arm.percentiles[name].described(number) for name in TAILS if name in arm.percentiles]
        after += [f"{arm.arm}: {'; '.join(tails)}"] if tails else []
    after += [f"{arm.arm}: {mixed}" for arm in block.arms if (mixed := kinds_of_frames(arm.figures))]
    after += [f"{note}." for note in block.notes]
    if any(arm.random for arm in block.arms):
        after.append(f"{_UNTRAINED} untrained weights: times and memory are real, J, F and J&F are meaningless.")
    return Section(describe(block.setting), grid=Grid(header, rows, drop=tuple(labels.get(name, name) for name in _DROPPED)), after=after)


def figure_label(column: str, pools_frames: bool) -> str:
    """Return the label of an arm's figure; a percentile that is not over all timed frames gets the suffix `OF_OBJECTS`."""
    measure = BY_COLUMN[column]
    return measure.label if pools_frames or measure.percentile is None else f"{measure.label}{OF_OBJECTS}"


def _figure(arm: ArmSummary, name: str) -> str:
    percentile, value = arm.percentiles.get(name), arm.figures.get(name)
    shown = percentile.shown(number) if percentile is not None else _score(value) if BY_COLUMN[name].is_score else number(value)
    return shown + _UNTRAINED if shown and arm.random and BY_COLUMN[name].is_score else shown


def _rates_section(table: RateTable) -> Section:
    """Show offline and streaming J&F of every arm, and the leading arm at each camera rate."""
    rows = [[curve.arm, *map(_score, (curve.offline, *curve.streaming))] for curve in table.curves]
    rows.append(["highest", *(_some(list(names)) or "?" for names in table.highest)])
    on = f", at the pace of {table.device}" if table.device else ""
    section = Section(f"streaming J&F by camera rate{on}: {describe(table.setting)}")
    rates = [f"{rate} FPS" for rate in table.rates]
    section.grid = Grid(["arm", "offline", *rates], rows, drop=tuple(rates[1:-1]))
    if any("?" in row for row in rows):
        section.after.append("?: the arms are untrained, or have not the same objects there, so that none can be said to be ahead.")
    return section


def _pair_section(pair: PairComparison, center: str) -> Section:
    baseline, arm = pair.baseline, pair.arm
    section = Section(f"{arm} against baseline {baseline}: {counted(pair.pairs, 'object')} of {counted(pair.videos, 'video')}", level=3)
    if pair.differs:
        section.before.append(
            "differ too: " + "; ".join(f"{name} {' -> '.join(shortened(sides, 40))}" for name, sides in pair.differs.items())
        )
    for what, found in (("not compared", pair.unpaired), ("times not compared", pair.untimed)):
        section.before += [f"{what}: {counted(len(names), 'object')} {cause}: {_some(names)}" for cause, names in by_cause(found)]
    too_few = sorted({change.videos for change in pair.changes if change.low is None})
    if too_few:
        section.before.append(f"no interval: need at least {MIN_VIDEOS} videos, have {' and '.join(map(str, too_few))}")
    if not pair.changes:
        section.before.append("no object has figures on both sides")
        return section
    per_measure = len({(change.pairs, change.videos) for change in pair.changes}) > 1
    left = f"baseline {baseline}" if len(baseline) <= _SIDE_WIDTH - 9 else "baseline"
    right = arm if len(arm) <= _SIDE_WIDTH else "this arm"
    header = ["measure", left, right, "change", f"{LEVEL:.0%} interval", *(["pairs"] if per_measure else []), "won/lost/tied"]
    scores = [change for change in pair.changes if change.measure.kind == "difference"]
    others = [change for change in pair.changes if change.measure.kind == "ratio"]
    rows = [_change_cells(change, per_measure) for change in scores]
    if others:
        rows.append(["medians:" if center == "median" else "geometric means:", *[""] * len(header)])
        rows += [_change_cells(change, per_measure) for change in others]
    section.grid = Grid([*header, "verdict"], rows, left=1, drop=("won/lost/tied", "pairs", left, right))
    if pair.moved and pair.moved_measure:
        measure = pair.moved_measure
        listed = [
            f"{moved.object} {_signed(measure, moved.change)} ({_value(measure, moved.baseline)} -> {_value(measure, moved.arm)})"
            for moved in pair.moved
        ]
        section.after.append(f"moved most, {measure.label}:")
        section.after += [f"  {line}" for line in listed]
    return section


def _change_cells(change: Change, per_measure: bool) -> list[str]:
    cells = [change.measure.label, _value(change.measure, change.baseline), _value(change.measure, change.arm)]
    cells += [_signed(change.measure, change.change), _interval(change), *([str(change.pairs)] if per_measure else [])]
    return [*cells, f"{change.better}/{change.worse}/{change.same}", change.verdict]


def _legend(comparison: Comparison, shown: Sequence[BlockComparison]) -> list[str]:
    arms = [arm for block in comparison.blocks for arm in block.arms]
    lines = [
        "arms: figures are over the objects that all arms of a table have.",
        "J, F, J&F: 0 to 1, mean over objects; times 100 it is the official SA-V evaluator's number.",
        "FPS: timed frames over timed seconds. J/frame, FPS/W: over all timed frames. MiB: largest of any object.",
        f"p50, p90, p99: of all timed frames. In brackets: {LEVEL:.0%} interval from order statistics, which takes frames as independent; "
        "early stopping: MLPerf's estimate."
        if any(arm.pools_frames for arm in arms)
        else f"p50 ms{OF_OBJECTS}: mean over objects of their own percentiles; that of all frames needs frames.csv beside every file.",
    ]
    if any("invalid" in arm.counts for arm in arms):
        lines.append("invalid: of these objects only J, F and J&F count, not times, power and memory (column validity says why).")
    if any(arm.is_reference for arm in arms):
        lines.append(
            f"reference: has no use for {', '.join(comparison.compared)}; not compared, its figures are to be read beside the arms'."
        )
    if any("streaming_JandF" in arm.figures for block in comparison.blocks for arm in block.arms):
        lines.append("streaming J&F: at each annotated frame's time the newest finished mask counts; offline J&F waits for every frame.")
    if shown:
        draws = comparison.options.resamples or f"{FEWEST_RESAMPLES} to {MOST_RESAMPLES}"
        changes = [change for block in shown for pair in block.comparisons for change in pair.changes]
        intervals = sum(change.low is not None for change in changes)
        how = "median of the objects' ratios" if comparison.options.center == "median" else "ratio of the geometric means over objects"
        lines += [
            f"change: arm minus baseline for J, F, J&F; arm over baseline for the others ({how}): x1.10 is 10% more. Objects count "
            "alike in it, long clips or short ones, so that it may differ from the ratio of two arms' FPS.",
            f"interval: bootstrap over videos, {draws} draws, seed {comparison.options.seed}. It covers the choice of videos, "
            "not drift between two runs (load, heat, clocks): run the same twice to see that.",
            "won/lost/tied: objects on which the arm is better than, worse than or equal to the baseline.",
            "verdict: better or worse; ~ the interval spans no difference; = all pairs equal; ? no interval.",
        ]
        explained = [pair.explanation for block in shown for pair in block.comparisons if pair.explanation is not None]
        lines += legend(explained[0]) if explained else []
        if intervals > 10:
            lines.append(f"{intervals} intervals are shown: about {round(intervals * (1 - LEVEL))} of them miss the truth by chance alone.")
    return lines


def _alone(block: BlockComparison) -> str:
    return f"{', '.join(f'{arm.arm} ({_objects(arm)})' for arm in block.arms)}: {describe(block.setting)}"


def _objects(arm: ArmSummary) -> str:
    """Format object counts as `12`, or `10 + 1 error + 1 oom`."""
    others = [f"{count} {status}" for status, count in sorted(arm.counts.items()) if status != "ok"]
    return " + ".join([str(arm.counts.get("ok", 0)), *others])


def _interval(change: Change) -> str:
    if change.low is None or change.high is None:
        return "none"
    return f"[{_signed(change.measure, change.low)}, {_signed(change.measure, change.high)}]"


def _signed(measure: Measure, value: float) -> str:
    return difference(value) if measure.kind == "difference" else ratio(value)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _value(measure: Measure, value: float) -> str:
    return f"{value:.4f}" if measure.kind == "difference" else number(value)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more (all of them with --format json)" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _text_section(section: Section, width: int | None) -> str:
    room = min(width or TEXT_WIDTH, TEXT_WIDTH)
    lines = wrapped(section.title, room)
    if section.level > 1:
        lines.append("=-"[section.level - 2] * max(map(len, lines)))
    lines += [part for line in section.before for part in wrapped(line, room)]
    if section.grid:
        lines.append(text_table(section.grid, width))
    return "\n".join([*lines, *(part for line in section.after for part in wrapped(line, room))])


def _markdown_section(section: Section) -> str:
    parts = [f"{'#' * (section.level + 1)} {for_markdown(section.title)}", "\n".join(f"- {for_markdown(line)}" for line in section.before)]
    if section.grid:
        parts.append(markdown_table(section.grid))
    parts.append("\n".join(f"{line[: len(line) - len(line.lstrip())]}- {for_markdown(line)}" for line in section.after))
    return "\n\n".join(part for part in parts if part)
