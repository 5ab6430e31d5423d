"""The schema of frames.csv and streaming.csv, defined as `savbench.results.rows` defines that of summary.csv."""

from __future__ import annotations

from dataclasses import dataclass

from runners.base import PART_MEANINGS, STAGE_MEANINGS
from savbench.results.rows import STAGE_COLUMN, with_prefix
from savbench.results.schema import column, figures


@dataclass
class FrameRow:
    """One timed frame."""

    arm_id: str = column("As in summary.csv.", default="")
    video: str = column("As in summary.csv.", default="")
    object: str = column("As in summary.csv.", default="")
    frame: int | None = column("Frame of the clip, counted from 0.")
    repeat: int | None = column("Pass over the clip, counted from 0; above 0 with --min_time or --min_frames.")
    latency_ms: float | None = column("Latency of this frame, with the same boundaries as in summary.csv.")
    session_latency_ms: float | None = column("In a shared session: time of the call for all its tracks.")
    frame_kind: str = column(
        "With --keyframe: `key`, a frame that the model saw, or `between`. Empty: the model saw every frame.", default=""
    )
    parts_ms: dict[str, float] = figures(with_prefix("Part of the latency", PART_MEANINGS))
    stages_ms: dict[str, float] = figures(with_prefix("With --stages, part of the latency", STAGE_MEANINGS), STAGE_COLUMN)
    decode_ms: float | None = column("Time to read and decode the frame; not part of the latency.")
    stage_wait_ms: float | None = column("Time that the tracker waited for the frame to be decoded; not part of the latency.")
    spike_cause: str = column(
        "If the frame is beyond the 99th percentile of its object's frames: why, as far as it can be known, separated by `; `; `unknown` "
        "if nothing that is watched tells. docs/methods.md lists the causes. Empty: no such frame.",
        default="",
    )
    object_score: float | None = column(
        "The model's own estimate that the object is visible, a logit: above 0 means visible. Empty for models without one."
    )
    J: float | None = column("Region similarity, if the frame is scored.")
    F: float | None = column("Boundary accuracy, if the frame is scored.")
    truth_px: int | None = column("Pixels of the object in the ground truth, if the frame is scored; 0 if it is absent.")
    mask_px: int | None = column("Pixels of the predicted mask, if the frame is scored.")
    on_object: str = column(
        "If the frame is scored: annotated object of the clip on which the mask lies, the prompted one or another. Empty: on none.",
        default="",
    )

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.arm_id, self.video, self.object)


@dataclass
class StreamingRow:
    """One frame of the camera in a streaming pass, the prompted one included. Times in ms since the prompt."""

    arm_id: str = column("As in summary.csv.", default="")
    video: str = column("As in summary.csv.", default="")
    object: str = column("As in summary.csv.", default="")
    frame: int | None = column("Frame of the clip, counted from 0. An object's first row is the prompted frame.")
    arrived_ms: float | None = column("Time at which the camera delivered the frame, in ms since the prompt.")
    taken_ms: float | None = column("Time at which the tracker took the frame. Empty, like the next two columns, if it was never tracked.")
    latency_ms: float | None = column("Latency of the frame, with the same boundaries as in summary.csv.")
    finished_ms: float | None = column("Time at which its mask was finished, taken_ms + latency_ms.")
    known_frame: int | None = column("Frame of the newest mask finished when this frame arrived. Empty: none was finished.")
    mask_age_ms: float | None = column("Age of that mask: time since known_frame arrived, or since the prompt if none was finished.")
    J: float | None = column("Region similarity of the mask known when this frame arrived, if the frame is scored.")
    F: float | None = column("Boundary accuracy of the same mask, if the frame is scored.")
    truth_px: int | None = column("Pixels of the object in the ground truth of this frame, if it is scored.")
    mask_px: int | None = column("Pixels of the mask known when this frame arrived, if it is scored.")
    on_object: str = column("As in frames.csv, of the mask known when this frame arrived.", default="")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.arm_id, self.video, self.object)
