"""Scores predicted masks against one object's ground truth, which is decoded once for all arms."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from savbench.data.masks import CompressedMask
from savbench.finish.metrics import ObjectScorer, frames_to_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.data.annotation import Annotation
    from savbench.data.png import BoolMask
    from savbench.data.video import SplitObject
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


def score_object(
    obj: SplitObject, masks: Mapping[int, CompressedMask], size_hw: tuple[int, int], truths: TruthMasks
) -> tuple[ObjectScore | None, dict[int, tuple[float, float]]]:
    """Score the annotated frames as the official evaluator does; a frame without a prediction, before the prompt, counts as empty.

    Args:
        masks: predictions by frame of the clip.
        size_hw: (height, width) of the video.

    Returns:
        The object's score, None if no frame counts; and (J, F) by frame of the clip.

    Raises:
        ClipError: a ground-truth mask cannot be read.
    """
    scorer = ObjectScorer()
    of_frame = {}
    for frame, annotation in frames_to_score(obj.annotations) if obj.has_truth else ():
        prediction_hw = masks[frame].unpack() if frame in masks else np.zeros(size_hw, np.bool_)
        score = scorer.feed_frame(prediction_hw, truths.read(annotation, size_hw))
        if score is not None:
            of_frame[frame] = (score.J, score.F)
    return scorer.conclude(), of_frame
