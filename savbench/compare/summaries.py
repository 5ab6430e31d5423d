"""Select the rows that count for each figure, and compute the figures of each arm."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from savbench.arguments.keyframe import EVERY_FRAME
from savbench.compare.findings import ArmSummary
from savbench.compare.references import ReferenceLine, SpeedLine, reference_line, speed_lines
from savbench.results.circumstances import SETTINGS
from savbench.results.figures import SameObjects, arm_figures, frame_ms, timed_frames
from savbench.results.foreign import UNKNOWN
from savbench.results.measures import MEASURES
from savbench.results.scores import ObjectScore, dataset_means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.compare.blocks import Flags, Positions
    from savbench.results.beside import FrameLatencies
    from savbench.results.figures import Floats, Key
    from savbench.results.scores import ObjectMeans

RANDOM = "random"
POWER = "power_mean_w"
_TEXT = (*SETTINGS, "failure", "invalid", "video", "object")
_JANDF = next(index for index, measure in enumerate(MEASURES) if measure.column == "JandF")
_TIMES = [index for index, measure in enumerate(MEASURES) if measure.column in ("fps", "latency_ms")]


class RowData:
    """Columns of the rows as arrays.

    Attributes:
        text: settings, video, object, failure and invalid, by column.
        numbers: (rows, `MEASURES`), NaN if missing.
        has_figures: (rows,), rows with status ok and figures.
        is_invalid: (rows,), rows with figures whose times are invalid.
        video, key: (rows,), number of the row's video and object.
        names: (video, object) of each row.
    """

    def __init__(self, rows: pd.DataFrame, frame_latencies: FrameLatencies | None = None) -> None:
        """Take the columns from the rows.

        Args:
            rows: as in `Results.rows`.
            frame_latencies: frame latencies of these rows; None if not available.
        """
        self.text = {name: rows[name].to_numpy(dtype=object) for name in _TEXT}
        self.numbers = np.column_stack([rows[measure.column].to_numpy(np.float64) for measure in MEASURES])
        self.has_figures: Flags = self.text["failure"] == ""
        self.is_invalid: Flags = self.has_figures & (self.text["invalid"] != "")
        self.video = pd.factorize(self.text["video"])[0].astype(np.int64)
        self.names: list[Key] = list(zip(self.text["video"], self.text["object"], strict=True))
        self.key = pd.factorize(pd.Series(self.names, dtype=object))[0].astype(np.int64)
        self._frames = rows["frames"].to_numpy(np.float64) if "frames" in rows else np.full(len(rows), np.nan)
        self._power_w = pd.to_numeric(rows[POWER], errors="coerce").to_numpy(np.float64) if POWER in rows else np.full(len(rows), np.nan)
        self._frame_latencies = frame_latencies
        # the official evaluator sums objects in the order of their names, which affects the last bit of its means
        self._rank = np.empty(len(rows), np.int64)
        self._rank[sorted(range(len(rows)), key=self.names.__getitem__)] = np.arange(len(rows))

    def objects(self, positions: Positions, counts: Flags) -> set[Key]:
        """Return the objects of those rows that `counts` flags."""
        return {self.names[row] for row in positions[counts[positions]]}

    def is_scored(self) -> Flags:
        """Flag rows with scores, even if their times are invalid."""
        scored: Flags = self.has_figures & ~np.isnan(self.numbers[:, _JANDF])
        return scored

    def is_timed(self) -> Flags:
        """Flag rows with times, even if these are invalid."""
        timed: Flags = self.has_figures & ~np.isnan(self.numbers[:, _TIMES]).all(axis=1)
        return timed

    def is_random(self, positions: Positions) -> bool:
        return bool((self.text["weights"][positions] == RANDOM).any())

    def label(self, row: int | np.int64) -> str:
        return "/".join(self.names[int(row)])

    def frames_are_there(self, positions: Positions) -> bool:
        """Whether the latencies of all timed frames of these rows are available."""
        return self._frame_latencies is not None and self._frame_latencies.of(positions) is not None

    def summarize(
        self,
        arm: str,
        positions: Positions,
        *,
        is_valid: Flags,
        same: Same,
        pools_frames: bool,
        is_baseline: bool = False,
        is_reference: bool = False,
    ) -> ArmSummary:
        """Compute the figures of one arm.

        Args:
            positions: positions of the arm's rows.
            is_valid: (rows,), rows whose times and memory count.
            same: the objects that all arms have.
            pools_frames: take percentiles over all timed frames, whose latencies must be available.
        """
        ours = positions[np.argsort(self._rank[positions])]
        ours = ours[self.has_figures[ours]]
        numbers = {measure.column: self.numbers[ours, index] for index, measure in enumerate(MEASURES)} | {"frames": self._frames[ours]}
        is_timed = is_valid[ours] & np.array([self.names[row] in same.timed for row in ours], np.bool_)
        samples = self._frame_latencies.of(ours[is_timed]) if pools_frames and self._frame_latencies is not None else None
        figures = arm_figures(
            lambda name: numbers[name],
            scored=np.array([self.names[row] in same.scored for row in ours], np.bool_),
            valid=is_valid[ours],
            timed=is_timed,
            samples_ms=samples,
        )
        said = np.where(self.is_invalid, "invalid", np.where(self.has_figures, "ok", self.text["failure"]))
        counts = Counter(said[positions].tolist())
        if is_valid[ours].all() and counts["invalid"]:
            counts["ok"] += counts.pop("invalid")
        devices = set(self.text["streaming_device"][ours]) - {UNKNOWN}
        return ArmSummary(
            arm=arm,
            is_baseline=is_baseline,
            is_reference=is_reference,
            counts=dict(counts),
            videos=len(set(self.video[ours])),
            figures=dict(figures.values),
            peak_MiB=None if figures.peak is None else figures.peak.MiB,
            peak_kind="" if figures.peak is None else figures.peak.kind,
            means=figures.means,
            scored=figures.scored,
            timed=figures.timed,
            percentiles=dict(figures.percentiles),
            pools_frames=figures.has_frames,
            random=self.is_random(ours),
            reference=self._published(ours),
            settings=self._shared(ours if len(ours) else positions),
            power_w=_mean_power(self._power_w[ours], frame_ms(numbers.__getitem__) * timed_frames(numbers.__getitem__), is_timed),
            streaming_device=next(iter(devices)) if len(devices) == 1 else "",
            speeds=self._reference_speeds(ours, dict(figures.values).get("fps")),
        )

    def _reference_speeds(self, ours: Positions, fps: float | None) -> tuple[SpeedLine, ...]:
        """Return reference speeds of the arm's model on its board; none if its rows differ in what a reference names."""
        names = ("model", "imgsz", "autocast_dtype", "compile", "runtime", "nvpmodel", "device_name")
        settings = {name: {str(value) for value in self.text[name][ours]} for name in names}
        if fps is None or any(len(values) > 1 for values in settings.values()) or self._skips_frames(ours):
            return ()
        return tuple(speed_lines(**{name: values.pop() for name, values in settings.items()}, fps=fps))

    def _shared(self, positions: Positions) -> dict[str, str]:
        values = {name: set(self.text[name][positions]) for name in SETTINGS}
        return {name: str(of_rows.pop()) for name, of_rows in values.items() if len(of_rows) == 1}

    def _published(self, ours: Positions) -> ReferenceLine | None:
        """Return the published score beside the arm's score over all its objects, since published scores cover all objects."""
        scored = ours[self.is_scored()[ours]]
        names = ("model", "prompt", "weights", "split", "imgsz", "max_frames", "frame_stride", "postprocessing")
        settings = {name: set(self.text[name][scored]) for name in names}
        if not len(scored) or any(len(values) > 1 for values in settings.values()) or self._skips_frames(scored):
            return None
        means = self._means(scored)
        of = {name: str(values.pop()) for name, values in settings.items()}
        return reference_line(**of, JandF_percent=means.JandF_percent, videos=len(set(self.video[scored])), objects=means.objects)

    def _skips_frames(self, positions: Positions) -> bool:
        """Whether the model did not see every frame, which no reference covers."""
        return not set(self.text["keyframe"][positions]) <= {EVERY_FRAME, UNKNOWN}

    def _means(self, scored: Positions) -> ObjectMeans:
        J, F, JandF = (self.numbers[scored, index] for index in range(3))
        return dataset_means([ObjectScore(J=j, F=f, JandF=jf, frames_scored=0) for j, f, jf in zip(J, F, JandF, strict=True)])


def _mean_power(power_w: Floats, timed_ms: Floats, timed: Flags) -> float | None:
    """Mean power over the timed frames of all rows, each weighted by its time; None if no row has both.

    Args:
        power_w, timed_ms: (rows,), power and time of the timed frames, NaN if missing.
        timed: (rows,), rows that count.
    """
    there = timed & ~np.isnan(power_w) & (timed_ms > 0)
    return float(np.average(power_w[there], weights=timed_ms[there])) if there.any() else None


@dataclass(frozen=True)
class Same:
    """The objects for which all arms of a comparison have scores, and those for which all have times."""

    scored: SameObjects
    timed: SameObjects

    @classmethod
    def of(cls, data: RowData, arms: Mapping[str, Positions], is_valid: Flags) -> Same:
        """Find the common objects.

        Args:
            arms: positions of each arm's rows.
            is_valid: (rows,), rows whose times count.
        """
        has_time = is_valid & data.is_timed()
        return cls(
            *(SameObjects.of({arm: data.objects(rows, counts) for arm, rows in arms.items()}) for counts in (data.is_scored(), has_time))
        )

    def notes(self) -> tuple[str, ...]:
        """Return one line for each kind of figure for which the arms have different objects."""
        if self.scored == self.timed:
            return tuple(filter(None, (self.scored.describe("all means"),)))
        return tuple(filter(None, (self.scored.describe("J, F and J&F"), self.timed.describe("times and energy"))))
