"""Scores predicted masks against one object's ground truth, which is decoded once for all arms."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from savbench.data.frames import ClipError
from savbench.data.masks import CompressedMask
from savbench.finish.identity import IdentityMatcher
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.plan.protocols import SAV, Protocol
from savbench.results.failure_measures import JudgedFrame, failure_measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.data.annotation import Annotation
    from savbench.data.png import BoolMask
    from savbench.data.video import SplitVideo
    from savbench.results.scores import ObjectScore

TRUTH_BYTES = 256 << 20
"""Limit of the compressed ground truth that is cached. The whole SA-V validation split takes about 80 MB."""


class TruthMasks:
    """Reads ground-truth masks and caches them, compressed: decoding PNGs is most of the cost of scoring."""

    def __init__(self, max_bytes: int = TRUTH_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._masks: OrderedDict[Annotation, CompressedMask] = OrderedDict()

    def read(self, annotation: Annotation, size_hw: tuple[int, int]) -> BoolMask:
        """The mask, (height, width), bool. Raises as `Annotation.read`."""
        known = self._masks.get(annotation)
        if known is not None:
            self._masks.move_to_end(annotation)
            return known.unpack()
        mask_hw = annotation.read(size_hw)
        compressed = self._masks[annotation] = CompressedMask.of(mask_hw)
        self._bytes += compressed.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._masks.popitem(last=False)[1].nbytes
        return mask_hw


@dataclass(frozen=True)
class Scored:
    """What the masks of one object are worth."""

    score: ObjectScore | None
    """None if no frame counts."""
    frames: dict[int, FrameFacts]
    """The scored frames, by frame of the clip."""
    failure: dict[str, float]
    """Measures of failure, by name; see `savbench.results.failure_measures`."""


@dataclass(frozen=True)
class FrameFacts:
    """Scores of one frame, 0 to 1, and what the measures of failure are computed from."""

    J: float
    F: float
    truth_px: int
    mask_px: int
    on_object: str
    """The annotated object of the clip on which the mask lies; empty if on none."""


def score_object(
    video: SplitVideo,
    name: str,
    masks: Mapping[int, CompressedMask],
    size_hw: tuple[int, int],
    truths: TruthMasks,
    prompt_frame: int = 0,
    protocol: Protocol = SAV,
) -> Scored:
    """Score the annotated frames as the protocol's tool does; a frame without a prediction, before the prompt, counts as empty.

    Args:
        video: the clip, cut to its tracked frames.
        name: the object.
        masks: predictions by frame of the clip; with a protocol of one picture after `savbench.data.masks.in_one_picture`.
        size_hw: (height, width) of the video.
        prompt_frame: measures of failure cover the frames after it.

    Raises:
        ClipError: a ground-truth mask cannot be read.
    """
    obj = video.object(name)
    annotated = {other.object: dict(other.annotations) for other in video.objects if other.object != name}
    scorer, identity = ObjectScorer(protocol), IdentityMatcher(name, list(annotated))
    frames: dict[int, FrameFacts] = {}
    for frame, annotation in frames_to_score(obj.annotations) if obj.has_truth else ():
        prediction_hw = masks[frame].unpack() if frame in masks else np.zeros(size_hw, np.bool_)
        truth_hw = truths.read(annotation, size_hw)
        score = scorer.feed_frame(prediction_hw, truth_hw)
        if score is None:
            continue

        def truth_of(other: str, frame: int = frame) -> BoolMask | None:
            there = annotated[other].get(frame)
            try:
                return None if there is None else truths.read(there, size_hw)
            except ClipError:
                return None  # the row of that object says so; this object's scores do not need it

        frames[frame] = FrameFacts(
            J=score.J,
            F=score.F,
            truth_px=int(np.count_nonzero(truth_hw)),
            mask_px=int(np.count_nonzero(prediction_hw)),
            on_object=identity.match(prediction_hw, score.J, truth_of),
        )
    judged = [
        JudgedFrame(frame, facts.J, facts.truth_px, facts.mask_px, facts.on_object)
        for frame, facts in frames.items()
        if frame > prompt_frame
    ]
    image_px = size_hw[0] * size_hw[1]
    measures = failure_measures(judged, name, prompt_frame=prompt_frame, clip_frames=len(video.frames), image_px=image_px)
    return Scored(scorer.conclude(), frames, measures)
