"""How long a run will take and how much it will write, before it begins: from measured rows of its arms, else from reference figures.

What an arm costs is known from rows with its id, of this run or of runs in the folders beside it, on the same board in the same power mode:
the time to build the model, to open a clip and warm up, and per tracked frame. Without such rows, a reference figure of the model on this
board gives the time per frame alone. Without either, the arm is unknown until its first clip. Not counted: waiting for a board to cool
down, objects that run again, and scoring, which another process does meanwhile.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners import RUNNERS
from savbench.arguments.compound import AllOrWorst
from savbench.data.csv_file import InputError
from savbench.results import environment
from savbench.results.csv_rows import ResultsError, read_rows
from savbench.results.grid import Grid, text_table
from savbench.results.numbers import counted
from savbench.results.reference import speeds_of
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import SUMMARY
from savbench.results.systems import system_of, whole_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from savbench.plan.arms import Arm
    from savbench.plan.settings import RunConfig

NEWEST_RUNS = 20
"""Runs beside this one whose rows are searched."""

# Bytes written, of a short run of a baseline, rounded up generously; masks and overlays depend on the footage.
_ROW_BYTES, _FRAME_BYTES, _READING_BYTES = 4_000, 400, 700
_MASK_BYTES_PER_FRAME, _OVERLAY_BYTES_PER_FRAME = 1_000, 40_000

_MEASURED = "measured"
"""First word of the source of a cost that rows tell."""

Key = tuple[str, str]
"""Video and object."""


@dataclass(frozen=True)
class Cost:
    """What an arm takes, in seconds."""

    build_s: float
    """Once per worker process."""
    object_s: float
    """To open a clip, prompt and warm up."""
    frame_s: float
    """Per tracked frame, waiting for its decoding included."""
    source: str


@dataclass(frozen=True)
class Line:
    """An arm of the plan: what is left to do."""

    arm: Arm
    objects: int
    done: int
    frames: int
    cost: Cost | None
    seconds: float | None
    """None: unknown."""


class Estimate:
    """The plan of a run, and what it is expected to take."""

    def __init__(self, config: RunConfig, arms: Sequence[Arm], work: Mapping[Key, int], rows: Iterable[SummaryRow]) -> None:
        """
        Args:
            config: with `out_dir`.
            work: frames to track of every object, as `savbench.plan.shards.object_work` counts them.
            rows: of this run.
        """
        self._config, self._arms, self._work = config, arms, work
        self._here = environment.device_names()
        mode = environment.power_mode()
        self._mode = "" if mode is None else str(mode["name"])
        own = list(rows)
        self._done = {(whole_id(row.arm_id), row.video, row.object) for row in own}
        self._costs = {arm.arm_id: self._cost(arm, own) for arm in arms}

    @property
    def lines(self) -> list[Line]:
        return [self._line(arm) for arm in self._arms]

    def learn(self, row: SummaryRow) -> str:
        """Take a row of the run. Returns a line to show if it is the first that tells what its arm costs, else nothing."""
        arm_id = whole_id(row.arm_id)
        self._done.add((arm_id, row.video, row.object))
        known = self._costs.get(arm_id)
        cost = _cost_of([row], "") if row.status == "ok" else None
        if arm_id not in self._costs or cost is None or (known is not None and known.source.startswith(_MEASURED)):
            return ""
        self._costs[arm_id] = _cost_of([row], f"{_MEASURED} here")
        return f"after the first clip of {row.model}_{row.prompt}: {self.summary()}"

    def summary(self) -> str:
        """What is left, in one line: `about 7.3 h; 586 objects, 120000 frames left in 2 arms`."""
        return "; ".join(self._said())

    def _said(self) -> list[str]:
        """The time, and what is left."""
        lines = self.lines
        unknown = [line for line in lines if line.seconds is None]
        objects, frames = sum(line.objects for line in lines), sum(line.frames for line in lines)
        if not objects:
            return [f"nothing is left to run in {counted(len(lines), 'arm')}"]
        left = f"{counted(objects, 'object')}, {counted(frames, 'frame')} left in {counted(len(lines), 'arm')}"
        if len(unknown) == len(lines):
            return ["time unknown until the first clip", left]
        said = f"{'about' if self._config.sustained_minutes is None else 'at most'} {_duration(sum(line.seconds or 0.0 for line in lines))}"
        if self._config.executor == "ray":
            said += " of one worker, shared by the cluster"
        if unknown:
            said += f" and more: {counted(len(unknown), 'arm')} unknown until the first clip"
        return [said, left]

    def table(self, width: int | None = None) -> str:
        """The plan as text, a line per arm.

        Args:
            width: columns of the terminal; None: as wide as the table is.
        """
        lines = self.lines
        rows = [
            [
                line.arm.label,
                str(line.objects),
                str(line.frames),
                "unknown" if line.seconds is None else _duration(line.seconds),
                "until its first clip" if line.cost is None else line.cost.source,
            ]
            for line in lines
        ]
        shown = [text_table(Grid(["arm", "objects", "frames", "time", "from"], rows, left=1, drop=("from",)), width)]
        done = sum(line.done for line in lines)
        shown.append("\n      ".join([f"plan: {self._said()[0]}", *self._said()[1:]]) + (f" ({done} done)" if done else ""))
        if any(line.seconds is None for line in lines) and self._config.sustained_minutes is None:
            shown.append("to know it beforehand: --plan measure, which tracks one object per arm")
        return "\n".join([*shown, self._disk(lines)])

    def _line(self, arm: Arm) -> Line:
        left = {key: frames for key, frames in self._work.items() if (arm.arm_id, *key) not in self._done}
        cost = self._costs[arm.arm_id]
        seconds = 0.0 if not left else None if cost is None else self._seconds(arm, cost, left)
        return Line(arm, len(left), len(self._work) - len(left), sum(left.values()), cost, seconds)

    def _seconds(self, arm: Arm, cost: Cost, left: Mapping[Key, int]) -> float:
        config, frames = self._config, sum(left.values())
        builds = len({video for video, _ in left}) if config.order == "interleaved" and len(self._arms) > 1 else 1
        once = builds * cost.build_s + len(left) * cost.object_s
        if config.sustained_minutes is not None:
            return once + max(60 * config.sustained_minutes, frames * cost.frame_s)
        share = len(left) / len(self._work)
        timed = max(frames * cost.frame_s, share * config.min_time_s, share * config.min_frames * cost.frame_s)
        if config.realtime_fps is not None:
            # live, a clip lasts as long as at the camera; simulated, it is tracked again
            timed += frames * (config.frame_stride / config.realtime_fps if config.realtime_from is None else cost.frame_s)
        return once + timed

    def _cost(self, arm: Arm, own: Sequence[SummaryRow]) -> Cost | None:
        rows = [row for row in own if whole_id(row.arm_id) == arm.arm_id]
        cost = _cost_of(rows, f"{_MEASURED} here") or self._cost_elsewhere(arm)
        return cost or self._cost_of_reference(arm)

    def _cost_elsewhere(self, arm: Arm) -> Cost | None:
        """From the newest run beside this one that has the arm on this board in this power mode."""
        assert self._config.out_dir is not None
        for path in _newest(self._config.out_dir.absolute().parent):
            if path.parent != self._config.out_dir.absolute() and _mentions(path, arm.arm_id):
                try:
                    rows = [row for row in read_rows(SummaryRow, path, cut_off=True) if whole_id(row.arm_id) == arm.arm_id]
                except ResultsError:
                    continue
                if cost := _cost_of([row for row in rows if self._is_here(row)], f"{_MEASURED} in {path.parent.name}"):
                    return cost
        return None

    def _is_here(self, row: SummaryRow) -> bool:
        """Whether a row of another run may have been measured on this machine as it is now, as far as the row says."""
        mode = system_of(row).get("nvpmodel", "")
        return mode in ("", self._mode.removeprefix("MODE_")) and (not self._here or any(name in row.device_name for name in self._here))

    def _cost_of_reference(self, arm: Arm) -> Cost | None:
        if not RUNNERS[arm.model].is_learned or self._config.device == "cpu" or arm.keyframe:
            return None
        size = arm.imgsz or RUNNERS[arm.model].imgsz
        try:
            lines = [line for name in self._here for line in speeds_of(name)]
        except InputError:
            return None  # doctor names the file
        alike = [line for line in lines if (line.model, line.imgsz, line.autocast_dtype) == (arm.model, str(size), arm.autocast_dtype)]
        alike.sort(key=lambda line: line.nvpmodel != self._mode)
        if not alike:
            return None
        frame_s = alike[0].latency_ms / 1000
        where = f"{alike[0].origin} reference, {alike[0].board}{' ' + alike[0].nvpmodel if alike[0].nvpmodel else ''}"
        return Cost(0.0, self._config.warmup_frames * frame_s, frame_s, where)

    def _disk(self, lines: Sequence[Line]) -> str:
        config, frames, objects = self._config, sum(line.frames for line in lines), sum(line.objects for line in lines)
        parts = {"tables": objects * _ROW_BYTES + frames * _FRAME_BYTES}
        if config.power != "none":
            parts["telemetry"] = int(sum(line.seconds or 0.0 for line in lines) / config.power_interval_s * _READING_BYTES)
        if config.save_masks:
            parts["masks"] = frames * config.frame_stride * _MASK_BYTES_PER_FRAME
        if config.save_overlays is not None:
            count = AllOrWorst.count(config.save_overlays)
            shares = [1.0 if count is None else min(1.0, count / max(1, line.objects)) for line in lines]
            drawn = sum(line.frames * share for line, share in zip(lines, shares, strict=True))
            parts["overlays"] = int(drawn * config.frame_stride) * _OVERLAY_BYTES_PER_FRAME
        assert config.out_dir is not None
        folder = config.out_dir.absolute()
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        need = sum(parts.values())
        about = "about " if need >= 2**20 else ""
        listed = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
        text = f"disk: {about}{_size(need)} ({listed}), {_size(free)} free"
        return f"{text}: NOT ENOUGH, give --out_dir on a larger disk" if need > free else text


def _cost_of(rows: Sequence[SummaryRow], source: str) -> Cost | None:
    """The mean cost of ok rows; in a shared session, a row's share of it."""
    timed = [row for row in rows if row.status == "ok" and row.latency_ms is not None and row.frames]
    frames = sum(row.frames or 0 for row in timed)
    if not frames:
        return None

    def of_frame_ms(row: SummaryRow) -> float:
        tracks = row.session_tracks or 1
        return ((row.session_latency_ms or row.latency_ms or 0.0) + (row.stage_wait_ms or 0.0)) / tracks

    def mean_s(values: Iterable[float | None]) -> float:
        return sum(value or 0.0 for value in values) / len(timed) / 1000

    return Cost(
        build_s=mean_s(row.build_ms for row in timed),
        object_s=mean_s(((row.setup_ms or 0.0) + (row.warmup_ms or 0.0)) / (row.session_tracks or 1) for row in timed),
        frame_s=sum((row.frames or 0) * of_frame_ms(row) for row in timed) / frames / 1000,
        source=source,
    )


def _newest(folder: Path) -> list[Path]:
    """Summaries of the newest runs in a folder."""
    try:
        return sorted(folder.glob(f"*/{SUMMARY}"), key=lambda path: -path.stat().st_mtime)[:NEWEST_RUNS]
    except OSError:
        return []


def _mentions(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    if count < 2**20:
        return "under 1 MiB"
    return f"{count / 2**20:.0f} MiB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GiB"
