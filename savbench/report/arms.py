"""Arms of a report: groups rows into arms, names them and computes their figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from savbench.compare.pairing import refuse_twice
from savbench.compare.statistics import Floats, estimate, ratio_interval
from savbench.compare.summaries import RANDOM, RowData, Same
from savbench.results.circumstances import ARM, MUST_AGREE, TELLS_APART
from savbench.results.figures import frame_ms, timed_frames
from savbench.results.foreign import NOT_APPLICABLE, UNKNOWN, Results
from savbench.results.foreign import SHARED as TRACKED
from savbench.results.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from savbench.compare.blocks import Positions
    from savbench.compare.findings import ArmSummary
    from savbench.results.beside import FrameLatencies

FILE = "file"
UNTRAINED, DOUBTFUL, SHARED = "*", "†", "‡"
"""Marks appended to the name of an arm whose figures need a warning."""

_SPLIT_BY = tuple(dict.fromkeys((*ARM, *MUST_AGREE, *TELLS_APART)))
"""Columns that split rows into arms. Objects tracked alone and in shared sessions stay in one arm: scores cover both, times are marked."""
_UNNAMED = {"model", "prompt", "device", "jetson_clocks", "seed", "warmup_frames", "implementation", "torch_version"}
_NAMED_FIRST, _NAMED_LAST = ("autocast_dtype", "attention", "imgsz"), "device_name"
_NAMED_BY = (*_NAMED_FIRST, *(name for name in _SPLIT_BY if name not in {*_UNNAMED, *_NAMED_FIRST, _NAMED_LAST}), _NAMED_LAST)
_SHOWN = {
    "num_maskmem": "maskmem", "num_points": "points", "max_frames": "frames", "frame_stride": "stride", "nvpmodel": "mode",
    "camera_fps": "camera", "streaming_clock": "clock", "streaming_device": "as on", "compile": "compile", "memory": "memory",
    "prefetch": "prefetch", "protocol_version": "protocol version", "runtime": "runtime", "keyframe": "keyframe",
}  # fmt: skip
_NAMED_ALONE = (
    *_NAMED_FIRST, "compile", "runtime", "keyframe", "num_maskmem", "num_points", "memory", "memory_selection", "postprocessing",
)  # fmt: skip
_WEIGHTS_SHOWN = 8
_RESAMPLES = 2000
_UNTOLD = {UNKNOWN, NOT_APPLICABLE, ""}
_USUAL = {
    ("attention", "auto"), ("compile", "off"), ("runtime", "torch"), ("memory", "bounded"), ("num_maskmem", "own"), ("max_frames", "all"),
    ("frame_stride", "1"), ("keyframe", "1"), ("memory_selection", "latest"), ("num_points", "1"), ("postprocessing", "on"),
}  # fmt: skip
"""Settings omitted from names: upstream's defaults."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """Rows of one file that measure the same thing.

    Attributes:
        number: index in the order of the report, from 0; sets colour and symbol.
        label: unique within the report; names the settings that distinguish the arms.
        run: label of the file.
        settings: settings of the rows, by column; differing values are joined by `and`.
        rows: positions of all rows in `Results.rows`.
        scored: positions of the rows with figures; their scores count even if their times are invalid.
        valid: positions of the rows whose times, power and memory count too. Includes rows marked invalid if forced, or if all rows are.
        timed: positions of the rows whose objects have times in all arms; means of times are over these.
        same: objects that all arms of the report share.
        is_doubtful: all rows with figures are marked invalid.
        shared: what the shared sessions tracked together; empty if every object was tracked alone.
        intervals: 95% intervals of the mean JandF and fps, if there are enough videos.
    """

    number: int
    label: str
    run: str
    arm_id: str
    settings: Mapping[str, str]
    rows: Positions
    scored: Positions
    valid: Positions
    timed: Positions
    same: Same
    is_doubtful: bool
    shared: tuple[str, ...]
    summary: ArmSummary
    intervals: Mapping[str, Interval]

    @property
    def is_random(self) -> bool:
        return self.summary.random

    @property
    def is_floor(self) -> bool:
        """Whether this is a baseline without weights, which a learned model must beat."""
        return self.settings["weights"] == NOT_APPLICABLE

    @property
    def shown(self) -> str:
        """The label with its marks."""
        marks = ((self.is_random, UNTRAINED), (self.is_doubtful, DOUBTFUL), (bool(self.shared), SHARED))
        return self.label + "".join(mark for holds, mark in marks if holds)

    @property
    def JandF(self) -> float | None:  # noqa: N802 - the field's notation
        return None if self.summary.means is None else self.summary.means.JandF

    def figure(self, column: str) -> float | None:
        """The arm's value for a column of `MEASURES` other than scores, as `savbench.results.figures` defines it; None if it has none."""
        return self.summary.figures.get(column)

    def told(self, column: str) -> str:
        """The same for people; of a percentile that the frames cannot carry, how many it needs."""
        percentile = self.summary.percentiles.get(column)
        return number(self.figure(column)) if percentile is None else percentile.shown(number)


def find_arms(results: Results, *, force: bool = False, frame_latencies: FrameLatencies | None = None) -> list[Arm]:
    """Find the arms of all files, in the order of their first rows. Means are over the objects that all arms share.

    Args:
        force: count the times of rows marked invalid.
        frame_latencies: of the rows, for percentiles over all timed frames; without them, percentiles are means over objects.

    Raises:
        InputError: an object is in an arm twice.
    """
    rows = results.rows
    groups = [_once(rows, group) for group in _groups(rows)]
    labels = _labels(rows, groups)
    data = RowData(rows, frame_latencies)
    is_valid = data.has_figures & (~data.is_invalid | force)
    doubtful = [bool(data.has_figures[group].any() and not is_valid[group].any()) for group in groups]
    for group, is_doubtful in zip(groups, doubtful, strict=True):
        is_valid[group] |= is_doubtful & data.has_figures[group]
    same = Same.of(data, dict(zip(labels, groups, strict=True)), is_valid)
    has_time = data.is_timed() & is_valid
    pools_frames = all(data.frames_are_there(timed) for group in groups if (timed := group[has_time[group]]).size)
    found = []
    for place, (label, group, is_doubtful) in enumerate(zip(labels, groups, doubtful, strict=True)):
        summary = data.summarize(label, group, is_valid=is_valid, same=same, pools_frames=pools_frames)
        scored, valid = group[data.has_figures[group]], group[is_valid[group]]
        timed = np.array([row for row in valid if has_time[row] and data.names[row] in same.timed], np.int64)
        means_over = np.array([row for row in scored if data.is_scored()[row] and data.names[row] in same.scored], np.int64)
        part = rows.iloc[group]
        found.append(
            Arm(
                number=place,
                label=label,
                run=str(part[FILE].iloc[0]),
                arm_id=str(part["arm_id"].iloc[0]) if "arm_id" in part else "",
                settings=_settings(part),
                rows=group,
                scored=scored,
                valid=valid,
                timed=timed,
                same=same,
                is_doubtful=is_doubtful,
                shared=tuple(dict.fromkeys(str(text) for text in part["shared"] if text)) if "shared" in part else (),
                summary=summary,
                intervals=_intervals(rows.iloc[means_over], rows.iloc[timed]),
            )
        )
    return found


def _once(rows: pd.DataFrame, group: Positions) -> Positions:
    """Drop duplicate rows of an arm, such as those of overlapping shards.

    Raises:
        InputError: two rows of the same object differ.
    """
    part = rows.iloc[group]
    again = part.duplicated(subset=[name for name in part.columns if name not in ("path", "line")]).to_numpy()
    part = part[~again]
    kept: Positions = group[~again]
    twice = part.duplicated(["video", "object"], keep=False)
    if twice.any():
        first = part[twice].iloc[0]
        refuse_twice(part[(part["video"] == first["video"]) & (part["object"] == first["object"])])
    return kept


def numbers(rows: pd.DataFrame, column: str) -> Floats:
    """Return a column as float64; NaN if it is missing, empty or not a number."""
    if column not in rows:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)


def texts(rows: pd.DataFrame, column: str) -> list[str]:
    """Return a column as text, `24` for 24.0; empty if the column or value is missing."""
    if column not in rows:
        return [""] * len(rows)
    values = rows[column]
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else f"{value:g}" for value in values]
    return [str(value) for value in values]


def _groups(rows: pd.DataFrame) -> list[Positions]:
    arm_id = rows["arm_id"] if "arm_id" in rows else pd.Series("", index=rows.index, dtype=object)
    key = pd.DataFrame({FILE: rows[FILE], "arm_id": arm_id, **{name: texts(rows, name) for name in _SPLIT_BY}})
    number, _ = pd.factorize(pd.Series(list(key.itertuples(index=False, name=None)), dtype=object))
    groups = [np.flatnonzero(number == code) for code in range(int(number.max()) + 1)]
    failed = (rows["failure"] != "").to_numpy()
    whole = [group for group in groups if not failed[group].all()]
    for group in groups:
        if not failed[group].all():
            continue
        # rows that failed before the model was built lack its settings
        names = (FILE, "arm_id", *ARM)
        home = next((i for i, other in enumerate(whole) if _agree(key, int(group[0]), int(other[0]), names)), None)
        if home is None:
            whole.append(group)
        else:
            whole[home] = np.sort(np.concatenate([whole[home], group]))
    return sorted(whole, key=lambda group: int(group[0]))


def _agree(key: pd.DataFrame, one: int, other: int, names: Sequence[str]) -> bool:
    pairs = ((str(key[name].iloc[one]), str(key[name].iloc[other])) for name in names)
    return all(a == b or a in _UNTOLD for a, b in pairs)


def _labels(rows: pd.DataFrame, groups: Sequence[Positions]) -> list[str]:
    """Label arms by model and prompt, then by each setting that varies for a model and prompt, then by file if labels still clash."""
    firsts = [{name: texts(rows.iloc[group[:1]], name)[0] for name in _NAMED_BY} for group in groups]
    tags = []
    for group in groups:
        model, prompt = (str(rows[name].iloc[group[0]]) for name in ("model", "prompt"))
        tags.append(model if prompt == UNKNOWN else f"{model}_{prompt}")
    named = [name for name in _NAMED_BY if any(len(_told(firsts, tags, tag, name)) > 1 for tag in set(tags))]
    labels = []
    for tag, first in zip(tags, firsts, strict=True):
        values = {name: first[name] for name in named if first[name] not in _UNTOLD and (name, first[name]) not in _USUAL}
        labels.append(" ".join([tag, *(_shown(name, value) for name, value in values.items())]))
    files = [str(rows[FILE].iloc[group[0]]) for group in groups]
    labels = [f"{label} ({file})" if labels.count(label) > 1 else label for label, file in zip(labels, files, strict=True)]
    return [f"{label} #{labels[:i].count(label) + 1}" if labels.count(label) > 1 else label for i, label in enumerate(labels)]


def unusual_settings(arm: Arm) -> Iterator[str]:
    """What names an arm beside arms of other runs: its settings where they are not upstream's defaults."""
    for name in _NAMED_ALONE:
        value = arm.settings.get(name, UNKNOWN)
        if value not in _UNTOLD and (name, value) not in _USUAL:
            yield _shown(name, value)


def _told(firsts: Sequence[Mapping[str, str]], tags: Sequence[str], tag: str, name: str) -> set[str]:
    return {first[name] for first, other in zip(firsts, tags, strict=True) if other == tag} - _UNTOLD


def _shown(name: str, value: str) -> str:
    if name == "imgsz":
        return f"{value}px"
    if name == "weights":
        return value if value == RANDOM else value[:_WEIGHTS_SHOWN]
    return f"{_SHOWN[name]} {value}" if name in _SHOWN else value


def _settings(rows: pd.DataFrame) -> dict[str, str]:
    settings = {}
    for name in (*_SPLIT_BY, "hole_filling", "benchmark_version", "split"):
        values = dict.fromkeys(text for text in texts(rows, name) if text not in (UNKNOWN, ""))
        settings[name] = " and ".join(values) or UNKNOWN
    return settings


def whole_arm(rows: pd.DataFrame) -> pd.DataFrame:
    """Prepare rows so that `compare` treats objects tracked alone and together as one arm."""
    return rows.assign(**{TRACKED: UNKNOWN}).reset_index(drop=True)


def _intervals(scored: pd.DataFrame, timed: pd.DataFrame) -> dict[str, Interval]:
    intervals = {}
    if len(scored):
        found = estimate(numbers(scored, "JandF")[:, None], _videos(scored), resamples=_RESAMPLES)
        if not np.isnan(found.low[0]):
            intervals["JandF"] = (float(found.low[0]), float(found.high[0]))
    if len(timed):

        def column(name: str) -> Floats:
            return numbers(timed, name)

        frames = timed_frames(column)
        interval = ratio_interval(1000 * frames, frames * frame_ms(column), _videos(timed), resamples=_RESAMPLES)
        if interval is not None:
            intervals["fps"] = interval
    return intervals


def _videos(rows: pd.DataFrame) -> Positions:
    videos: Positions = pd.factorize(rows["video"])[0].astype(np.int64)
    return videos
