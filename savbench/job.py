"""What the supervisor and a worker process say to each other.

The supervisor writes one job as a line of JSON to the worker's standard input and keeps that pipe open: its end tells the worker that the
supervisor is gone. The worker answers with lines of JSON, its events, on a pipe of their own, since libraries print to standard output.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Literal

from runners import RUNNERS
from savbench.arms import Arm
from savbench.config import NOT_APPLICABLE, RunConfig
from savbench.masks import CompressedMask
from savbench.memory_budget import Extent
from savbench.results import FrameRow, StreamingRow, SummaryRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.masks import PackedMask

EventName = Literal["built", "begun", "progress", "phase", "row", "done", "refused", "failed"]


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
    companions: tuple[Arm, ...] = ()
    """With --share_prompts: arms that differ from `arm` in the prompt alone, and run in the same sessions."""
    repeats: bool = False
    """Run the targets again and again, those that went well, until the supervisor ends the worker."""
    extent: Extent | None = None
    """With --memory_budget: what is to fit, over all that the arm has to run."""
    objects_in_arm: int = 1
    """Objects that the arm has in all, done ones included: its --min_seconds and --min_frames are shared out among them."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (self.arm, *self.companions)

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
            companions=tuple(Arm(**arm) for arm in data["companions"]),
            repeats=data["repeats"],
            extent=None if data["extent"] is None else Extent(**data["extent"]),
            objects_in_arm=data["objects_in_arm"],
        )

    def blank_row(self, arm: Arm, video: str, object_name: str) -> SummaryRow:
        """A row with everything that is known before the object has run; `arm` is one of the job's."""
        return SummaryRow(
            video=video,
            object=object_name,
            model=arm.model,
            prompt=arm.prompt,
            imgsz=arm.imgsz,
            autocast_dtype=arm.autocast_dtype,
            attention=arm.attention,
            max_frames=self.config.max_frames,
            frame_stride=self.config.frame_stride,
            camera_fps=self.config.realtime_fps,
            num_maskmem=self.config.num_maskmem if RUNNERS[arm.model].is_learned else None,
            compile=self.config.compile if RUNNERS[arm.model].is_learned else NOT_APPLICABLE,
            memory=self.config.memory if RUNNERS[arm.model].family in ("sam2", "edgetam") else "",
            seed=self.config.seed,
            split=self.split_name,
            benchmark_version=self.benchmark_version,
            started_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            arm_id=arm.arm_id,
            run_id=self.run_id,
        )


class EventWriter:
    """The worker's end of the event pipe."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def send(self, event: EventName, **data: Any) -> None:
        self._file.write(json.dumps({"event": event, **data}) + "\n")
        self._file.flush()

    def send_row(
        self,
        row: SummaryRow,
        frames: Sequence[FrameRow] = (),
        spans: Sequence[tuple[float, float]] = (),
        masks: Mapping[int, PackedMask] = MappingProxyType({}),
        streaming: Sequence[StreamingRow] = (),
        known: Mapping[int, PackedMask] = MappingProxyType({}),
    ) -> None:
        """
        Args:
            spans: beginning and end of every timed frame, on the clock of `time.perf_counter`, which is one for all processes.
            masks: by frame of the clip.
            streaming, known: of the streaming pass, the masks that were known at annotated frames.
        """
        self.send(
            "row",
            row=asdict(row),
            frames=[asdict(frame) for frame in frames],
            spans=list(spans),
            masks=_to_texts(masks),
            streaming=[asdict(frame) for frame in streaming],
            known=_to_texts(known),
        )


def _to_texts(masks: Mapping[int, PackedMask]) -> dict[int, str]:
    return {frame: CompressedMask.of(mask).to_text() for frame, mask in masks.items()}


def _from_texts(texts: Mapping[str, str], size_hw: tuple[int, int]) -> dict[int, CompressedMask]:
    return {int(frame): CompressedMask.from_text(text, size_hw) for frame, text in texts.items()}


@dataclass
class Delivery:
    """A `row` event: what a worker measured of one object under one arm, not yet scored."""

    row: SummaryRow
    frames: list[FrameRow]
    spans: list[tuple[float, float]]
    masks: dict[int, CompressedMask]
    """Predictions by frame of the clip."""
    streaming: list[StreamingRow]
    """Of the streaming pass; empty where there was none."""
    known: dict[int, CompressedMask]
    """What was known in the streaming pass at each annotated frame, by frame of the clip."""

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Delivery:
        row = SummaryRow(**event["row"])
        size_hw = (row.video_height or 0, row.video_width or 0)
        return cls(
            row=row,
            frames=[FrameRow(**frame) for frame in event["frames"]],
            spans=[(begin, end) for begin, end in event["spans"]],
            masks=_from_texts(event["masks"], size_hw),
            streaming=[StreamingRow(**frame) for frame in event["streaming"]],
            known=_from_texts(event["known"], size_hw),
        )
