"""What the supervisor and a worker process say to each other.

The supervisor writes one job as a line of JSON to the worker's standard input and keeps that pipe open: its end tells the worker that the
supervisor is gone. The worker answers with lines of JSON, its events, on a pipe of their own, since libraries print to standard output.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from runners import RUNNERS
from savbench.config import Arm, RunConfig
from savbench.results import FrameRow, SummaryRow

if TYPE_CHECKING:
    from collections.abc import Sequence

EventName = Literal["built", "begun", "progress", "phase", "row", "failed"]


@dataclass(frozen=True)
class Job:
    """One arm's objects for one worker process."""

    config: RunConfig
    arm: Arm
    targets: tuple[tuple[str, str], ...]
    """(video, object) in the order to run them."""
    split_name: str
    run_id: str
    benchmark_version: str
    weights: Path | None = None
    source_dir: Path | None = None

    def to_line(self) -> str:
        data = {**asdict(self), "config": self.config.to_json()}
        for name in ("weights", "source_dir"):
            data[name] = None if data[name] is None else str(data[name])
        return json.dumps(data) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        data = json.loads(line)
        return cls(
            config=RunConfig.from_json(data["config"]),
            arm=Arm(**data["arm"]),
            targets=tuple((video, name) for video, name in data["targets"]),
            split_name=data["split_name"],
            run_id=data["run_id"],
            benchmark_version=data["benchmark_version"],
            weights=None if data["weights"] is None else Path(data["weights"]),
            source_dir=None if data["source_dir"] is None else Path(data["source_dir"]),
        )

    def blank_row(self, video: str, object_name: str) -> SummaryRow:
        """A row with everything that is known before the object has run."""
        return SummaryRow(
            video=video,
            object=object_name,
            model=self.arm.model,
            prompt=self.arm.prompt,
            imgsz=self.arm.imgsz,
            autocast_dtype=self.arm.autocast_dtype,
            attention=self.arm.attention,
            max_frames=self.config.max_frames,
            frame_stride=self.config.frame_stride,
            num_maskmem=self.config.num_maskmem if RUNNERS[self.arm.model].is_learned else None,
            seed=self.config.seed,
            split=self.split_name,
            benchmark_version=self.benchmark_version,
            started_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            arm_id=self.arm.arm_id,
            run_id=self.run_id,
        )


class EventWriter:
    """The worker's end of the event pipe."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def send(self, event: EventName, **data: Any) -> None:
        self._file.write(json.dumps({"event": event, **data}) + "\n")
        self._file.flush()

    def send_row(self, row: SummaryRow, frames: Sequence[FrameRow] = (), spans: Sequence[tuple[float, float]] = ()) -> None:
        """
        Args:
            spans: beginning and end of every timed frame, on the clock of `time.perf_counter`, which is one for all processes.
        """
        self.send("row", row=asdict(row), frames=[asdict(frame) for frame in frames], spans=list(spans))


def rows_of(event: dict[str, Any]) -> tuple[SummaryRow, list[FrameRow], list[tuple[float, float]]]:
    """Row, frames and their spans of a `row` event."""
    spans = [(begin, end) for begin, end in event["spans"]]
    return SummaryRow(**event["row"]), [FrameRow(**frame) for frame in event["frames"]], spans
