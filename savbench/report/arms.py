"""Arms of a report: which rows belong together, what they are called, and their figures."""

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.compare.blocks import Positions
    from savbench.compare.findings import ArmSummary
    from savbench.results.beside import FrameLatencies

FILE = "file"
UNTRAINED, DOUBTFUL, SHARED = "*", "†", "‡"
"""Marks behind the name of an arm whose figures need a word of warning."""

_SPLIT_BY = tuple(dict.fromkeys((*ARM, *MUST_AGREE, *TELLS_APART)))
"""Objects tracked alone and in shared sessions stay in one arm: its scores are over all of them, and its times are marked."""
_UNNAMED = {"model", "prompt", "device", "jetson_clocks", "seed", "warmup_frames", "implementation", "torch_version"}
_NAMED_FIRST, _NAMED_LAST = ("autocast_dtype", "attention", "imgsz"), "device_name"
_NAMED_BY = (*_NAMED_FIRST, *(name for name in _SPLIT_BY if name not in {*_UNNAMED, *_NAMED_FIRST, _NAMED_LAST}), _NAMED_LAST)
_SHOWN = {
    "num_maskmem": "maskmem", "num_points": "points", "max_frames": "frames", "frame_stride": "stride", "nvpmodel": "mode",
    "camera_fps": "camera", "streaming_clock": "clock", "streaming_device": "as on", "compile": "compile", "memory": "memory",
    "prefetch": "prefetch",
}  # fmt: skip
_WEIGHTS_SHOWN = 8
_RESAMPLES = 2000
_UNTOLD = {UNKNOWN, NOT_APPLICABLE, ""}
_USUAL = {
    ("attention", "auto"), ("compile", "off"), ("memory", "bounded"), ("num_maskmem", "own"), ("max_frames", "all"), ("frame_stride", "1"),
}  # fmt: skip
"""Settings that go without saying in a name: upstream's own choice."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """Rows of one file that measure the same thing.

    Attributes:
        number: from 0 in the order of the report; decides colour and symbol.
        label: unique within the report; names the settings that distinguish the arms.
        run: label of the file.
        settings: what all rows have in common, by column.
        rows: positions of all rows in `Results.rows`.
        scored: of those with figures, whose scores count whatever was wrong with their times.
        valid: of those whose times, power and memory count too. Rows marked invalid are among them if it was forced, or if all rows are.
        timed: of those whose objects all arms have times of, which the means of times are over.
        same: the objects that all arms of the report have.
        is_doubtful: all rows with figures are marked invalid.
        shared: what the sessions tracked together, where not all rows are those of one object alone.
        intervals: 95% intervals of the mean of JandF and of fps, where there are videos enough.
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
        """A baseline without weights, which a learned model must beat."""
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
        """A column of `MEASURES` that is no score, as `savbench.results.figures` defines it."""
        return self.summary.figures.get(column)


def find_arms(results: Results, *, force: bool = False, frame_latencies: FrameLatencies | None = None) -> list[Arm]:
    """The arms of all files, in the order of their first rows. Their means are over the objects that all of them have.

    Args:
        force: count the times of rows marked invalid.
        frame_latencies: of the rows, for percentiles over all timed frames; without them an arm's are means over objects.

    Raises:
        InputError: an object is in one arm twice.
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
    for number, (label, group, is_doubtful) in enumerate(zip(labels, groups, doubtful, strict=True)):
        summary = data.summarize(label, group, is_valid=is_valid, same=same, pools_frames=pools_frames)
        scored, valid = group[data.has_figures[group]], group[is_valid[group]]
        timed = np.array([row for row in valid if has_time[row] and data.names[row] in same.timed], np.int64)
        means_over = np.array([row for row in scored if data.is_scored()[row] and data.names[row] in same.scored], np.int64)
        part = rows.iloc[group]
        found.append(
            Arm(
                number=number,
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
    """The rows of an arm without those that are there again, as in shards that overlap.

    Raises:
        InputError: two rows are about one object and differ.
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
    """A column as float64; NaN if it is missing, empty or not a number."""
    if column not in rows:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)


def texts(rows: pd.DataFrame, column: str) -> list[str]:
    """A column as text, `24` for 24.0; empty where it is missing."""
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
        # rows that failed before the model was built lack settings of it
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
    """Model and prompt, then every setting that varies among the arms of one model and prompt, then the file where that is not enough."""
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
    """Rows for `compare` to take as one arm, whether their objects were tracked alone or together."""
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
