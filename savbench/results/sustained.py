"""--sustained: an arm's objects are repeated until the board's temperature and speed are steady.

A board is faster in its first minutes of work than later: it warms up, the fan speeds up, and if that is not enough the board throttles.
The speed that it keeps for hours is the figure to plan with. summary.csv holds the first round, as in any other run; sustained.csv has a
row for every run of an object, with the time since the start of the arm's repeated runs, its course.

A course is steady if, over the last `STEADY_MIN` minutes and at least the last two runs of every object, straight lines fitted to the
speeds and to the temperatures change by less than `STEADY_SPEED` and `STEADY_C`. Objects differ in FPS, so the speed of each is relative
to its own mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from savbench.results.grid import Grid, text_table
from savbench.results.schema import column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from savbench.results.rows import SummaryRow

SUSTAINED = "sustained.csv"
STEADY_MIN = 5.0
"""Boards and heat sinks settle within minutes; over a shorter time, drift that continues would look flat."""
STEADY_SPEED = 0.02
STEADY_C = 1.0
LINE_MIN = 0.5
"""Minutes between printed lines about rounds."""
TIMES_SHOWN = 10
"""Maximum number of lines in the table of a course."""

STEADY, TIME_IS_UP = "steady", "time is up"


@dataclass
class SustainedRow:
    """One run of an object in a course."""

    arm_id: str = column("As in summary.csv.", default="")
    video: str = column("As in summary.csv.", default="")
    object: str = column("As in summary.csv.", default="")
    round: int | None = column("Number of this object's run in the course, counted from 1. The first is the run in summary.csv.")
    minutes: float | None = column("Minutes from the first timed frame of the course to the last of this run.")
    t_s: float | None = column("Start of this run's first timed frame, on the clock t_s of telemetry.csv.")
    frames: int | None = column("Timed frames.")
    fps: float | None = column("As in summary.csv, for this run.")
    latency_p50_ms: float | None = column("As in summary.csv, for this run.")
    latency_p99_ms: float | None = column("As in summary.csv, for this run.")
    power_mean_w: float | None = column("As in summary.csv, for this run.")
    temperature_peak_c: float | None = column("As in summary.csv, for this run.")
    gpu_clock_min_mhz: float | None = column("As in summary.csv, for this run.")
    gpu_clock_max_mhz: float | None = column("As in summary.csv, for this run.")
    throttle_events: int | None = column("As in summary.csv, for this run.")
    validity: str = column("As in summary.csv, for this run.", default="")
    end: str = column(
        "In an arm's last row: why its course ended, `steady`, `time is up` or what went wrong. An arm without it was interrupted; "
        "the same command starts it again.",
        default="",
    )


@dataclass(frozen=True)
class Steadiness:
    """Figures of the end of a course."""

    since_min: float
    """Start of the evaluated stretch, in minutes of the course."""
    until_min: float
    fps: float
    """Frames of the stretch over their total time."""
    speed: float
    """Relative to the first round: mean over objects of the ratio to the object's first run."""
    speed_drift: float
    """Change of speed over the stretch, relative to its mean."""
    temperature_c: float | None
    """Mean over the runs of the stretch, in C."""
    drift_c: float | None
    power_w: float | None
    throttle_events: int
    is_whole: bool
    """Whether the stretch is long enough: `STEADY_MIN`, and two runs of every object."""

    @property
    def is_steady(self) -> bool:
        return self.is_whole and abs(self.speed_drift) < STEADY_SPEED and (self.drift_c is None or abs(self.drift_c) < STEADY_C)


class Course:
    """The runs of one arm in order of time.

    Args:
        limit_min: maximum length of the course in minutes.
    """

    def __init__(self, limit_min: float) -> None:
        self.limit_min = limit_min
        self.rows: list[SustainedRow] = []
        self._begun_s: float | None = None
        self._reported_min = -LINE_MIN

    def add(self, row: SummaryRow, spans: Sequence[tuple[float, float]]) -> SustainedRow:
        """Add a run with status ok. `end` of the returned row is set if it was the last run.

        Args:
            spans: start and end in seconds of its timed frames, on the clock of `time.perf_counter`.
        """
        begin, end = spans[0][0], spans[-1][1]
        if self._begun_s is None:
            self._begun_s = begin
        taken = SustainedRow(
            arm_id=row.arm_id,
            video=row.video,
            object=row.object,
            round=1 + sum(_key(other) == row.key for other in self.rows),
            minutes=(end - self._begun_s) / 60,
            t_s=begin,
            **{name: getattr(row, name) for name in _AS_IN_SUMMARY},
        )
        self.rows.append(taken)
        if (found := steadiness(self.rows)) is not None and found.is_steady:
            taken.end = STEADY
        elif (end - self._begun_s) / 60 >= self.limit_min:
            taken.end = TIME_IS_UP
        return taken

    def line_of_round(self) -> str:
        """A line about the previous round, if the last run started a new one and no line was printed for `LINE_MIN`; else empty."""
        runs = _runs(self.rows)
        if len(runs) < 2 or runs[-1].round == runs[-2].round or (runs[-2].minutes or 0) - self._reported_min < LINE_MIN:
            return ""
        self._reported_min = runs[-2].minutes or 0
        number = runs[-2].round
        of_round = [run for run in runs if run.round == number]
        first_fps = {_key(run): run.fps or 1.0 for run in runs if run.round == 1}
        speed = np.mean([(run.fps or 0) / first_fps[_key(run)] for run in of_round])
        figures = [f"{_fps(of_round):.2f} FPS ({speed:.0%} of round 1)"]
        figures += [f"{celsius:.1f} C" for celsius in [of_round[-1].temperature_peak_c] if celsius is not None]
        figures += [f"{watts:.1f} W" for watts in [_mean(run.power_mean_w for run in of_round)] if watts is not None]
        return f"round {number}, {self._reported_min:.1f} min: {', '.join(figures)}"

    def abort(self, arm_id: str, reason: str) -> SustainedRow:
        """End the course with the reason for a failure."""
        self.rows.append(SustainedRow(arm_id=arm_id, end=reason))
        return self.rows[-1]

    @property
    def end(self) -> str:
        """Why the course ended; empty while it continues."""
        return self.rows[-1].end if self.rows else ""


_AS_IN_SUMMARY = (
    "frames", "fps", "latency_p50_ms", "latency_p99_ms", "power_mean_w", "temperature_peak_c", "gpu_clock_min_mhz", "gpu_clock_max_mhz",
    "throttle_events", "validity",
)  # fmt: skip


def steadiness(rows: Sequence[SustainedRow]) -> Steadiness | None:
    """Figures of the stretch at the end of a course that decides steadiness, or of the whole course if it is shorter.

    None if nothing ran.
    """
    runs = _runs(rows)
    if not runs:
        return None
    begins, ends = _begins_min(runs), [run.minutes or 0.0 for run in runs]
    of_object: dict[tuple[str, str, str], list[int]] = {}
    for index, run in enumerate(runs):
        of_object.setdefault(_key(run), []).append(index)
    twice = all(len(indices) > 1 for indices in of_object.values())
    since = ends[-1] - STEADY_MIN
    if twice:
        since = min(since, *(begins[indices[-2]] for indices in of_object.values()))
    stretch = [index for index, begin in enumerate(begins) if begin >= since]
    means = {key: _mean(runs[index].fps for index in indices if index in stretch) for key, indices in of_object.items()}
    speeds = [(runs[index].fps or 0) / (means[_key(runs[index])] or 1) for index in stretch]
    heat = [(ends[index], celsius) for index in stretch if (celsius := runs[index].temperature_peak_c) is not None]
    length = ends[-1] - begins[stretch[0]]
    return Steadiness(
        since_min=begins[stretch[0]],
        until_min=ends[-1],
        fps=_fps([runs[index] for index in stretch]),
        speed=float(np.mean([mean / (runs[of_object[key][0]].fps or 1) for key, mean in means.items() if mean is not None])),
        speed_drift=length * _slope([ends[index] for index in stretch], speeds),
        temperature_c=_mean(celsius for _, celsius in heat),
        drift_c=length * _slope([at for at, _ in heat], [celsius for _, celsius in heat]) if heat else None,
        power_w=_mean(runs[index].power_mean_w for index in stretch),
        throttle_events=sum(runs[index].throttle_events or 0 for index in stretch),
        is_whole=twice and since >= 0,
    )


def statement(label: str, rows: Sequence[SustainedRow]) -> str:
    """One sentence that summarizes a course."""
    found = steadiness(rows)
    end = rows[-1].end if rows else ""
    if found is None:
        return f"{label}: no sustained figures ({end or 'interrupted'})"
    figures = [f"{found.fps:.2f} FPS ({found.speed - 1:+.1%} from the first round)"]
    if found.temperature_c is not None:
        figures.append(f"{found.temperature_c:.0f} C")
    if found.power_w is not None:
        figures.append(f"{found.power_w:.1f} W")
    if found.throttle_events:
        figures.append("throttled")
    listed = ", ".join(figures)
    if found.is_steady:
        return f"{label}: steady from {found.since_min:.1f} min on at {listed}"
    if not found.is_whole:
        why = f"too short, needs {STEADY_MIN:g} min and two runs of every object"
    else:
        drift = f"{found.speed_drift:+.1%}" + ("" if found.drift_c is None else f" and {found.drift_c:+.1f} C")
        why = f"{drift} over the last {found.until_min - found.since_min:.1f} min"
    broken = "" if end in (TIME_IS_UP, STEADY) else f"; {end or 'interrupted'}"
    return f"{label}: not steady after {found.until_min:.1f} min: {why}; {listed}{broken}"


def course_table(rows: Sequence[SustainedRow], width: int | None = None) -> str:
    """Table of FPS, power, temperature and clock over the course, in at most `TIMES_SHOWN` lines.

    Args:
        width: columns of the terminal; None: all columns of the table.
    """
    runs = _runs(rows)
    begins = _begins_min(runs)
    first_fps = {_key(run): run.fps or 1.0 for run in reversed(runs)}
    lines = []
    for part in np.array_split(np.arange(len(runs)), min(TIMES_SHOWN, len(runs))) if runs else []:
        some = [runs[index] for index in part]
        lines.append(
            [
                f"{begins[part[0]]:.1f} - {some[-1].minutes:.1f}",
                f"{_fps(some):.2f}",
                f"{np.mean([(run.fps or 0) / first_fps[_key(run)] for run in some]):.0%}",
                _cell(_mean(run.latency_p50_ms for run in some), ".1f"),
                _cell(_mean(run.power_mean_w for run in some), ".1f"),
                _cell(max((run.temperature_peak_c for run in some if run.temperature_peak_c is not None), default=None), ".1f"),
                _cell(min((run.gpu_clock_min_mhz for run in some if run.gpu_clock_min_mhz is not None), default=None), ".0f"),
                _cell(_sum(run.throttle_events for run in some), ".0f"),
            ]
        )
    header = ["minutes", "FPS", "of round 1", "p50 ms", "W", "max C", "min MHz", "throttled"]
    return text_table(Grid(header, lines, drop=("p50 ms", "min MHz")), width)


def _key(row: SustainedRow) -> tuple[str, str, str]:
    return row.arm_id, row.video, row.object


def _runs(rows: Sequence[SustainedRow]) -> list[SustainedRow]:
    """Rows of runs, without a row that only says why the course was aborted."""
    return [row for row in rows if row.fps and row.frames and row.minutes is not None and row.t_s is not None]


def _begins_min(runs: Sequence[SustainedRow]) -> list[float]:
    """Start of each run in minutes since the first of them."""
    return [((run.t_s or 0) - (runs[0].t_s or 0)) / 60 for run in runs]


def _fps(runs: Sequence[SustainedRow]) -> float:
    """Frames of all runs over their total time."""
    return sum(run.frames or 0 for run in runs) / sum((run.frames or 0) / (run.fps or 1) for run in runs)


def _slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line; 0 if all times are equal."""
    at = np.asarray(times) - np.mean(times)
    spread = float(at @ at)
    return float(at @ np.asarray(values)) / spread if spread else 0.0


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sum(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cell(value: float | None, spec: str) -> str:
    return "" if value is None else f"{value:{spec}}"
