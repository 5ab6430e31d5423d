"""Latencies of an earlier run, perhaps on another board, for a simulated clock.

They come from a run's frames.csv, or from the streaming.csv of a live run, and from the summary.csv beside it, which says what each was
measured on and how long the prompted frame took. They are drawn in order, the Nth call taking the Nth latency, because a tracker is
faster while its memory fills. An object that is in the earlier run gets its own latencies; any other object gets those of the whole arm,
from its first object on. When they run out they start again, without the prompted frame.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from savbench.arguments.keyframe import every_of
from savbench.data.csv_file import InputError, read_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from savbench.data.csv_file import CsvFile

KEY = ("arm_id", "video", "object")
SUMMARY = "summary.csv"
_KEYFRAME = "keyframe"
_NAMED = ("model", "prompt", "imgsz", "autocast_dtype")
MUST_AGREE = (*_NAMED, _KEYFRAME)
"""Columns in which an arm and its recorded latencies must agree; otherwise they would be another arm's."""
PREFERRED = ("runtime", "attention", "num_maskmem", "frame_stride")
"""Columns that decide, in this order, if several arms agree in MUST_AGREE."""


class RecordedLatenciesError(ValueError):
    """A file has no latencies for an arm; the message says what to do."""


@dataclass
class _ObjectLatencies:
    prompt_ms: float
    tracked_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ArmLatencies:
    """Latencies of one arm of an earlier run."""

    arm_id: str
    device_name: str
    """Device that they were measured on."""
    objects: Mapping[tuple[str, str], _ObjectLatencies]
    """By (video, object), in the order of the file; together they have at least one tracked frame."""
    every: int = 1
    """With keyframes, K: of an object's tracked frames, every Kth is a key frame."""

    def draw(self, video: str, object_name: str) -> Iterator[float]:
        """Endless latencies in ms for an object: of the prompted frame, then of tracked frames."""
        whole = list(self.objects.values())
        own = self.objects.get((video, object_name), whole[0])
        yield own.prompt_ms
        is_own = (video, object_name) in self.objects
        yield from self._tracked([own] if is_own and len(own.tracked_ms) >= self.every else whole)

    def _tracked(self, measured: Sequence[_ObjectLatencies]) -> Iterator[float]:
        """Endless latencies of tracked frames; with keyframes, each kind of frame in turn has its own."""
        of_kind: list[list[float]] = [[], []]
        for latencies in measured:
            for number, latency_ms in enumerate(latencies.tracked_ms, 1):
                of_kind[number % self.every == 0].append(latency_ms)
        between, key = (itertools.cycle(listed or of_kind[0] or of_kind[1]) for listed in of_kind)
        for number in itertools.count(1):
            yield next(between if number % self.every else key)

    @property
    def digest(self) -> str:
        """12 hexadecimal digits; equal for equal latencies."""
        listed = [[*key, latencies.prompt_ms, latencies.tracked_ms] for key, latencies in self.objects.items()]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]


class RecordedLatencies:
    """Latencies of a file, by arm."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: frames.csv of a run, or streaming.csv of a live run, with the run's summary.csv beside it.

        Raises:
            RecordedLatenciesError: a file is missing or damaged; the message names it and the line.
        """
        self._path = path
        beside = path.parent / SUMMARY
        if not beside.is_file():
            raise RecordedLatenciesError(
                f"--realtime_from {path}: no {SUMMARY} beside it to say what was measured; give the frames.csv in the folder of a run"
            )
        try:
            frames = read_csv(path, (*KEY, "frame", "latency_ms"))
            summary = read_csv(beside, (*KEY, "status", "first_frame_ms", "prompt_frame", *_NAMED))
            self._settings: dict[str, dict[str, str]] = {}
            self._arms = self._read(frames, summary)
        except InputError as error:
            raise RecordedLatenciesError(f"--realtime_from: {error}") from error

    def select(self, wanted: Mapping[str, str | int | None]) -> ArmLatencies:
        """The latencies for an arm.

        Args:
            wanted: its values of `MUST_AGREE` and of some of `PREFERRED`; None means an empty cell.

        Raises:
            RecordedLatenciesError: no arm of the file matches, or several do.
        """
        asked = {_KEYFRAME: ""} | {name: "" if value is None else str(value) for name, value in wanted.items()}
        agreeing = [arm for arm, settings in self._settings.items() if all(settings[name] == asked[name] for name in MUST_AGREE)]
        label = _label(asked)
        if not agreeing:
            there = "; ".join(dict.fromkeys(_label(settings) for settings in self._settings.values()))
            raise RecordedLatenciesError(
                f"--realtime_from {self._path}: has no latencies of {label}, only of {there or 'nothing'}; measure it there first, or "
                "leave it out here"
            )
        for name in PREFERRED:
            if len(agreeing) > 1 and name in asked:
                alike = [arm for arm in agreeing if self._settings[arm][name] == asked[name]]
                agreeing = alike or agreeing
        if len(agreeing) > 1:
            raise RecordedLatenciesError(
                f"--realtime_from {self._path}: {len(agreeing)} of its arms are {label}: {', '.join(agreeing)}; copy it and its {SUMMARY} "
                "into a folder and keep the rows of one arm"
            )
        return replace(self._arms[agreeing[0]], every=every_of(asked[_KEYFRAME]))

    def _read(self, frames: CsvFile, summary: CsvFile) -> dict[str, ArmLatencies]:
        devices: dict[str, str] = {}
        prompt_frames: dict[tuple[str, str, str], str] = {}
        found: dict[tuple[str, str, str], _ObjectLatencies] = {}
        for index, key in enumerate(_keys(summary)):
            if _cell(summary, "status", index) != "ok":
                continue
            found[key] = _ObjectLatencies(_milliseconds(summary, "first_frame_ms", index))
            prompt_frames[key] = _cell(summary, "prompt_frame", index)
            known = {name: _cell(summary, name, index) for name in (*_NAMED, *PREFERRED)}
            self._settings.setdefault(key[0], {**known, _KEYFRAME: _keyframe(summary, index)})
            devices.setdefault(key[0], _cell(summary, "device_name", index))
        for index, key in enumerate(_keys(frames)):
            # a frame without a latency was not tracked; a later pass over a clip adds nothing new
            if key not in found or not _cell(frames, "latency_ms", index) or _cell(frames, "repeat", index) not in ("", "0"):
                continue
            latency_ms = _milliseconds(frames, "latency_ms", index)
            if _cell(frames, "frame", index) == prompt_frames[key]:
                found[key].prompt_ms = latency_ms
            else:
                found[key].tracked_ms.append(latency_ms)
        arms: dict[str, dict[tuple[str, str], _ObjectLatencies]] = {}
        for (arm, video, object_name), latencies in found.items():
            arms.setdefault(arm, {})[video, object_name] = latencies
        with_frames = {arm for (arm, _, _), latencies in found.items() if latencies.tracked_ms}
        self._settings = {arm: settings for arm, settings in self._settings.items() if arm in with_frames}
        return {arm: ArmLatencies(arm, devices[arm], arms[arm]) for arm in with_frames}


def _label(settings: Mapping[str, str]) -> str:
    return " ".join(settings[name] for name in MUST_AGREE if settings[name] not in ("", "none"))


def _keys(file: CsvFile) -> list[tuple[str, str, str]]:
    arms, videos, objects = ([cell or "" for cell in file.columns[name]] for name in KEY)
    return list(zip(arms, videos, objects, strict=True))


def _cell(file: CsvFile, name: str, index: int) -> str:
    """A cell as text; empty if an older file has no such column."""
    cells = file.columns.get(name)
    return (cells[index] or "") if cells is not None else ""


def _keyframe(summary: CsvFile, index: int) -> str:
    """The row's --keyframe; empty if the model saw every frame, as in every run of a version without keyframes."""
    text = _cell(summary, "clip", index)
    try:
        return str(json.loads(text).get(_KEYFRAME, "")) if text else ""
    except (ValueError, AttributeError):
        raise InputError(f"{summary.path}:{summary.lines[index]}: column clip: {text!r} is not a JSON object; correct that cell") from None


def _milliseconds(file: CsvFile, name: str, index: int) -> float:
    text = _cell(file, name, index)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(f"{file.path}:{file.lines[index]}: column {name}: {text!r} is not a time in milliseconds; correct that cell")
    return value
