"""Runs a model on key frames only, and gives the frames between by optical flow or by the last masks.

A key frame is a frame with a prompt, and every frame that lies K frames behind the last key frame, counted over the frames fed. The model
sees key frames as a clip of their own, numbered without gaps: its memory holds key frames only, so that what it takes for neighbours in
time lies K frames apart, and seven memories reach K times as far back. As in a stream, the clip's number of frames is an upper bound to the
model, since later prompts may add key frames.

Between key frames the baselines of `runners.baselines` start from the model's masks: `flow` moves them along dense optical flow on the CPU
at video resolution, `hold` copies them. The model's next masks replace what they drifted to; nothing of a frame between reaches the model.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

from runners.base import STAGES, BuildOptions, FrameReport, Prompt, RunnerError
from runners.baselines import FlowRunner, StaticRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runners.base import Between, Clip, Frame, Masks, VideoRunner

_CARRIERS = {"flow": FlowRunner, "hold": StaticRunner}


def parse_keyframe(text: str) -> tuple[int, Between]:
    """K and what lies between, of `K:flow` or `K:hold`."""
    every, _, between = text.partition(":")
    return int(every), cast("Between", between)


class KeyframeRunner:
    """A `VideoRunner` around another one, which it feeds with key frames."""

    def __init__(self, model: VideoRunner, keyframe: str, *, stages: bool = False) -> None:
        """
        Args:
            keyframe: `K:flow` or `K:hold`; 1 makes every frame a key frame.
            stages: whether the model reports its stages, so that frames between do so too.
        """
        self._every, between = parse_keyframe(keyframe)
        self._model = model
        self._carrier = _CARRIERS[between](BuildOptions(stages=stages))
        note = (
            f"the model runs on one of {self._every} frames fed and on prompted ones, so its memory holds frames that far apart; "
            f"between: {'the last masks' if between == 'hold' else self._carrier.applied.implementation}"
        )
        self.applied = dataclasses.replace(model.applied, notes=(*model.applied.notes, note))
        self._clip: Clip | None = None
        self._key: int | None = None
        """The last key frame, as fed."""
        self._position = 0
        """The same frame in the numbering of the model."""
        self._is_key = True
        """Whether the last frame was a key frame."""
        self._model_report: FrameReport | None = None
        """Of the last key frame, once it was asked for: the model may have to read its tensors."""

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        """Prepare for a clip.

        Raises:
            RunnerError: the model or the optical flow cannot run on it.
        """
        self.close()
        self._carrier.open(clip, first_frame_hwc)  # it refuses frames that are too small
        # a file per frame fed would not be a file per frame that the model sees
        self._model.open(clip if self._every == 1 else dataclasses.replace(clip, frame_files=None), first_frame_hwc)
        self._clip = clip

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Add prompts on this frame, which becomes a key frame."""
        if frame_index != self._key:
            self._position = frame_index if self._key is None else self._position + 1
        return self._keep(frame_index, frame_hwc, self._model.prompt(self._position, frame_hwc, prompts))

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        """Track in this frame: by the model on a key frame, else from the last masks.

        Raises:
            RunnerError: no object is prompted yet, or as the model raises.
        """
        if self._key is None:
            raise RunnerError("--keyframe: prompt an object before tracking")
        if frame_index - self._key < self._every:
            self._is_key = False
            return self._carrier.track(frame_index, frame_hwc)
        self._position += 1
        return self._keep(frame_index, frame_hwc, self._model.track(self._position, frame_hwc))

    def inspect(self) -> FrameReport:
        """Report on the last call. A frame between has the model's stages, at 0 ms, and no scores of objects."""
        if self._model_report is None:
            self._model_report = self._model.inspect()
        of_model = self._model_report
        if self._is_key:
            return dataclasses.replace(of_model, kind="key")
        carried = self._carrier.inspect()
        stages_ms = {**dict.fromkeys(of_model.stages_ms, 0.0), **carried.stages_ms}
        return dataclasses.replace(
            carried,
            stages_ms={stage: stages_ms[stage] for stage in STAGES if stage in stages_ms},
            compiled=of_model.compiled,
            resize=of_model.resize,
            kind="between",
        )

    def close(self) -> None:
        """Free everything that belongs to the clip."""
        self._model.close()
        self._carrier.close()
        self._clip, self._key, self._position = None, None, 0
        self._is_key, self._model_report = True, None

    def _keep(self, frame_index: int, frame_hwc: Frame, masks_nhw: Masks) -> Masks:
        """Make the model's masks those that the frames between start from."""
        self._key, self._is_key, self._model_report = frame_index, True, None
        if self._every > 1 and self._clip is not None:
            self._carrier.open(self._clip, frame_hwc)
            self._carrier.prompt(frame_index, frame_hwc, [Prompt(n, "mask", mask_hw=mask_hw) for n, mask_hw in enumerate(masks_nhw)])
        return masks_nhw
