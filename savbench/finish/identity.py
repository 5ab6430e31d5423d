"""On which annotated object of a clip a predicted mask lies.

As CLEAR MOT does (Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance", EURASIP JIVP 2008): a mask stays on its
last object while the two overlap enough; only then is another object looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.results.failure_measures import SAME_OBJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from savbench.data.png import BoolMask


class IdentityMatcher:
    """Follows one mask through a clip, frame by frame."""

    def __init__(self, target: str, others: Sequence[str]) -> None:
        """
        Args:
            target: the prompted object, on which the mask lies at first.
            others: the other annotated objects of the clip, in order of their names.
        """
        self._names = [target, *others]
        self._last = target

    def match(self, mask_hw: BoolMask, J: float, truth_of: Callable[[str], BoolMask | None]) -> str:
        """The object on which the mask of the next frame lies; empty if on none.

        Reads the other objects only if the mask has left its object, since decoding their masks is most of the cost.

        Args:
            mask_hw: (height, width), bool.
            J: overlap with the target.
            truth_of: mask of another object on this frame; None if it is not annotated there.
        """
        if not mask_hw.any():
            return ""

        def overlap(name: str) -> float:
            if name == self._names[0]:
                return J
            truth_hw = truth_of(name)
            return 0.0 if truth_hw is None else _overlap(mask_hw, truth_hw)

        if overlap(self._last) >= SAME_OBJECT:
            return self._last
        # the first of equal ones: the target, then by name
        best = max(self._names, key=overlap)
        if overlap(best) < SAME_OBJECT:
            return ""
        self._last = best
        return best


def _overlap(one_hw: BoolMask, other_hw: BoolMask) -> float:
    union = int(np.count_nonzero(one_hw | other_hw))
    return int(np.count_nonzero(one_hw & other_hw)) / union if union else 0.0
