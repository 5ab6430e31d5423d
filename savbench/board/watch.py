"""Recording the board during a run: one recorder of power, temperature and clocks for all arms, and figures for each object.

It runs in the supervisor. On Linux all processes share one `time.perf_counter`, so frames timed in a worker can be matched with readings
taken here. The timed process is not disturbed by the sampling, and the telemetry survives a killed worker.
"""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from savbench.board.cooling import cool_down
from savbench.board.power.base import PowerError
from savbench.board.power.choose import open_source
from savbench.board.power.energy import max_gap_s, mean_w, summarise
from savbench.board.power.recorder import Recorder
from savbench.board.power.scaled import ScaledSampler
from savbench.board.power.telemetry import Mark, TelemetryLog
from savbench.board.spikes import add_causes
from savbench.board.validity import CLOCKS_NOT_LOCKED, CLOCKS_UNKNOWN, judge
from savbench.results.power import PowerSummary
from savbench.results.telemetry import TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from savbench.plan.settings import RunConfig
    from savbench.results.frame_rows import FrameRow
    from savbench.results.rows import SummaryRow
    from savbench.results.telemetry import Phase

SETTLE_S = 1.5
"""Seconds between the end of a worker and the measurement of idle power: the GPU needs a moment to clock down."""
FIRST_READING_S = 5.0
IDLE_S = 3.0
"""Seconds for which idle power is measured before an arm."""


class BoardWatch:
    """Use as a context manager around a run; without a source it does nothing.

    Attributes:
        why: one line to show: which source is read, and why not others.
    """

    def __init__(self, config: RunConfig) -> None:
        """
        Raises:
            PowerError: the source named with --power cannot be read, or --strict has no source.
        """
        choice = open_source(config.power, config.power_interval_s, config.device)
        if config.strict and choice.sampler is None:
            raise PowerError(f"--strict needs readings of the board ({choice.why}); name a source with --power to see what it needs")
        self.why = choice.why
        self._reason = choice.reason
        self._sampler = choice.sampler
        self._scale = config.power_scale
        if self._sampler is not None and self._scale is not None:
            self._sampler = ScaledSampler(self._sampler, self._scale[0])
            self.why += f"; total times {self._scale[0]:g}, --power_scale"
        self._recorder: Recorder | None = None
        self._log: TelemetryLog | None = None
        self._idle_w: dict[str, float | None] = {}
        """Idle power by arm id."""

    def __enter__(self) -> BoardWatch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            self._recorder.stop()
        elif self._sampler is not None:
            self._sampler.close()
        if self._log is not None:
            self._log.close()

    def record_into(self, folder: Path) -> None:
        """Start recording, with telemetry.csv in a run's folder.

        Raises:
            ResultsError: an existing telemetry.csv is of another version.
        """
        if self._sampler is not None:
            self._log = TelemetryLog(folder / TELEMETRY, self._sampler.name)
            self._recorder = Recorder(self._sampler, self._log.add)
            self._recorder.start()

    def measure_idle(self, arm_id: str, stop_requested: Callable[[], bool]) -> None:
        """Measure idle power with no model loaded, once per arm, before its first worker starts."""
        if self._recorder is None or arm_id in self._idle_w:
            return
        _wait(SETTLE_S, stop_requested)
        begin = time.perf_counter()
        self.mark("idle", begin, arm_id)
        _wait(IDLE_S, stop_requested)
        end = time.perf_counter()
        self.mark("", end, arm_id)
        gap_s = max_gap_s(self._recorder.sampler.interval_s)
        self._idle_w[arm_id] = mean_w(self._recorder.around(begin, end), (begin, end), max_gap_s=gap_s)

    def cool_down(
        self, arm_id: str, target_c: float, tell: Callable[[str], None], stop_requested: Callable[[], bool], at_least_s: float
    ) -> str:
        """As `savbench.board.cooling.cool_down`; without a temperature, returns an empty string at once."""
        if self._temperature_c() is None:
            return ""
        self.mark("cooling", time.perf_counter(), arm_id)
        try:
            return cool_down(self._temperature_c, target_c, tell, stop_requested, at_least_s=at_least_s)
        finally:
            self.mark("", time.perf_counter(), arm_id)

    def why_no_valid_row(self) -> str:
        """Why no row can be valid now, however long the run waits; empty if no such reason is known."""
        if self._recorder is None:
            return "the board is not read"
        self._recorder.wait_past(float("-inf"), FIRST_READING_S)
        if self._recorder.died:
            return self._recorder.died
        newest = self._recorder.newest()
        if newest is None:
            return f"{self._recorder.sampler.name}: no reading within {FIRST_READING_S:g} s; name another source with --power"
        if newest.jetson_clocks is None and self._recorder.sampler.scope == "module":
            return CLOCKS_UNKNOWN
        return CLOCKS_NOT_LOCKED if newest.jetson_clocks is False else ""

    def died(self) -> str:
        """Why readings have stopped; empty while they continue."""
        return "" if self._recorder is None else self._recorder.died

    def _temperature_c(self) -> float | None:
        if self._recorder is None or self._recorder.died:
            return None
        newest = self._recorder.newest()
        return None if newest is None else newest.hottest_c

    def mark(self, phase: Phase, t_s: float, arm_id: str, video: str = "", object_name: str = "") -> None:
        """Assign readings from `t_s` on to this phase; `t_s` in seconds on the clock of `time.perf_counter`."""
        if self._log is not None:
            self._log.mark(Mark(t_s, phase, arm_id, video, object_name))

    def add_to(self, row: SummaryRow, spans: Sequence[tuple[float, float]], frames: Sequence[FrameRow] = (), idle_of: str = "") -> None:
        """Set the columns of power, conditions and validity in an object's row, and add to the causes of spikes in its frames.

        Args:
            idle_of: id of the arm before which idle power was measured, if it is not the row's own.
            frames: the timed frames' rows; none if their causes are not wanted.
            spans: start and end in seconds of every timed frame, on the clock of `time.perf_counter`.
        """
        recorder = self._recorder
        row.power_reason = self._reason
        if recorder is None or not spans:
            row.validity = judge(PowerSummary(), row.background_cpus)
            return
        sampler = recorder.sampler
        begin, end = spans[0][0], spans[-1][1]
        recorder.wait_past(end, 2 * sampler.interval_s + 0.5)
        summary = summarise(
            recorder.around(begin, end),
            spans,
            source=sampler.name,
            scope=sampler.scope,
            interval_s=sampler.interval_s,
            idle_w=self._idle_w.get(row.arm_id, self._idle_w.get(idle_of)),
            device=row.device,
            died=recorder.died,
        )
        if frames:
            add_causes(frames, spans, recorder.around(begin, end), row.device)
        # a session of several objects has one row per object, over the same frames
        recorder.forget(begin)
        summary.power_reason = self._reason
        if not summary.power_of and (newest := recorder.newest()) is not None:
            # a row without readings is of the same source as the others of its arm
            summary.power_of = newest.total_of
        summary.power_scale, summary.power_scale_error = self._scale or (1.0, None)
        for column in fields(PowerSummary):
            value: Any = getattr(summary, column.name)
            setattr(row, column.name, value)
        row.validity = judge(summary, row.background_cpus)


def _wait(seconds: float, stop_requested: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stop_requested() and (left := until - time.monotonic()) > 0:
        time.sleep(min(0.2, left))
