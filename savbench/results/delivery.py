"""Messages from a worker to the supervisor, and a measured row before scoring.

A worker answers its job with events, lines of JSON on a separate pipe because libraries print to standard output.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Literal

from savbench.arguments.declared import cells
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import SummaryRow
from savbench.results.spool import write_masks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.data.masks import PackedMask
    from savbench.plan.arms import Arm
    from savbench.plan.job import Job


EventName = Literal["said", "built", "begun", "progress", "phase", "row", "done", "refused", "unwritten", "failed"]


class EventWriter:
    """The worker's end of the event pipe."""

    def __init__(self, file: IO[str], spool: Path) -> None:
        """`spool` is the folder that masks are written to."""
        self._file = file
        self._spool = spool

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
            spans: start and end in seconds of every timed frame, on the clock of `time.perf_counter`, which all processes share.
            masks: by frame of the clip.
            streaming, known: frames of the streaming pass, and the masks known at its annotated frames.

        Raises:
            SpoolError: the masks cannot be written; no event was sent.
        """
        masks_file = str(write_masks(self._spool, {"masks": masks, "known": known})) if masks else ""
        self.send(
            "row",
            row=asdict(row),
            frames=[asdict(frame) for frame in frames],
            spans=list(spans),
            streaming=[asdict(frame) for frame in streaming],
            masks_file=masks_file,
        )


@dataclass(frozen=True)
class ModelFacts:
    """Columns that the built model determines, the same in every row of a worker."""

    imgsz: int | None
    device: str
    device_name: str
    prefetch: int
    implementation: str
    hole_filling: str
    notes: str
    parameters: int | None
    licence: str
    weights: str
    weights_file: str
    torch_version: str
    build_ms: float
    runtime_version: str = ""
    runtime_placement: str = ""
    runtime_difference: str = ""
    runtime_export_s: float | None = None
    runtime_load_s: float | None = None
    runtime_MiB: float | None = None
    sdpa_kernels: str = ""
    """This and `attention_calls` come from the first object's frames and are unknown before."""
    attention_calls: int | None = None


@dataclass
class Delivery:
    """A `row` event: measurements of one object under one arm, not yet scored."""

    row: SummaryRow
    frames: list[FrameRow]
    spans: list[tuple[float, float]]
    streaming: list[StreamingRow]
    """Frames of the streaming pass; empty without one."""
    masks_file: Path | None
    """File with the masks, see `savbench.results.spool`: `masks`, the predictions, and `known`, the mask known in the streaming pass at
        each annotated frame. None for a row without masks."""

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Delivery:
        return cls(
            row=SummaryRow(**event["row"]),
            frames=[FrameRow(**frame) for frame in event["frames"]],
            spans=[(begin, end) for begin, end in event["spans"]],
            streaming=[StreamingRow(**frame) for frame in event["streaming"]],
            masks_file=Path(event["masks_file"]) if event["masks_file"] else None,
        )

    def discard(self) -> None:
        """Remove the masks."""
        if self.masks_file is not None:
            self.masks_file.unlink(missing_ok=True)


def blank_row(job: Job, arm: Arm, video: str, object_name: str) -> SummaryRow:
    """A row with the values known before the object runs; `arm` is one of the job's."""
    return SummaryRow(
        video=video,
        object=object_name,
        **cells(job.config, arm),
        split=job.split_name,
        protocol_version=PROTOCOL_VERSION,
        benchmark_version=job.benchmark_version,
        accepted_changes=job.accepted_changes,
        started_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        arm_id=arm.arm_id,
        run_id=job.run_id,
    )
