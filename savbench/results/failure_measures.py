"""Measures of failure that a mean of J hides: was the object lost, when, did the mask move to another one, does it fire when there is none.

All are computed from the judged frames of one object: the scored frames (`savbench.finish.metrics`) after the prompted one. docs/methods.md
defines each measure with its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LOST_BELOW = 0.2
"""J under which a frame counts as lost; one of the two bounds that NT2F was published with."""
LOST_FRAMES = 3
"""Successive frames that begin a failure, or end one: half a second of SA-V's annotations, which come at 6 per second."""
SAME_OBJECT = 0.5
"""J from which a mask lies on an object; two objects without common pixels cannot both reach it."""

FAILURE_MEANINGS = {
    "judged_frames": "Frames that these measures cover: the scored frames after the prompted one.",
    "absent_frames": "Judged frames on which the object is absent.",
    "false_positive_rate": "Share of the absent frames on which the mask is not empty. Missing without absent frames.",
    "false_positive_area": "Mean area of the mask on the absent frames, as a share of the image; an empty mask counts as 0.",
    "visible_precision": "Of the frames on which the mask is not empty, the share on which the object is visible.",
    "visible_recall": "Of the frames on which the object is visible, the share on which the mask is not empty.",
    "volumetric_J": "Intersection over union of all judged frames taken as one volume; missing if object and mask are on none of them.",
    "nt2f": f"Time from the prompt to the first failure, as a share of the clip after the prompt; 1 without a failure. A failure is "
    f"{LOST_FRAMES} successive frames of the visible object with J under {LOST_BELOW:g}.",
    "failure_frame": "Frame of the clip at which the first failure begins.",
    "failures": "Number of failures.",
    "recoveries": f"Failures after which {LOST_FRAMES} successive frames of the visible object have J of {LOST_BELOW:g} or more again.",
    "identity_switches": f"Times that the mask moves from one annotated object of the clip to another; it lies on an object from J "
    f"{SAME_OBJECT:g} on.",
    "frames_on_others": "Judged frames on which the mask lies on another annotated object of the clip.",
}
"""Measures by name, in the order in which they are written. Counts are whole numbers."""


@dataclass(frozen=True)
class JudgedFrame:
    """One frame of one object. Areas are in pixels of the video."""

    frame: int
    """Frame of the clip."""
    J: float
    truth_px: int
    mask_px: int
    on_object: str
    """The annotated object of the clip on which the mask lies; empty if on none."""

    @property
    def intersection_px(self) -> float:
        """Common pixels of mask and truth: J is i / (t + m - i), so i is J (t + m) / (1 + J)."""
        return self.J * (self.truth_px + self.mask_px) / (1 + self.J)


def failure_measures(judged: Sequence[JudgedFrame], target: str, *, prompt_frame: int, clip_frames: int, image_px: int) -> dict[str, float]:
    """The measures of one object, by name; a measure without a value is left out. Empty without judged frames.

    Args:
        judged: frames after `prompt_frame`, in order.
        target: the prompted object.
        clip_frames: number of frames of the clip.
        image_px: pixels of a frame.
    """
    if not judged:
        return {}
    absent = [frame for frame in judged if not frame.truth_px]
    false = sum(frame.mask_px > 0 for frame in absent)
    shown = sum(frame.mask_px > 0 for frame in judged)
    there = len(judged) - len(absent)
    found: dict[str, float] = {"judged_frames": len(judged), "absent_frames": len(absent)}
    if absent:
        found["false_positive_rate"] = false / len(absent)
        found["false_positive_area"] = sum(frame.mask_px for frame in absent) / len(absent) / image_px
    if shown:
        found["visible_precision"] = (shown - false) / shown
    if there:
        found["visible_recall"] = (shown - false) / there
    common = sum(frame.intersection_px for frame in judged)
    covered = sum(frame.truth_px + frame.mask_px for frame in judged) - common
    if covered:
        found["volumetric_J"] = common / covered
    begins, recoveries = _failures(judged)
    found["nt2f"] = (begins[0] - prompt_frame) / (clip_frames - prompt_frame) if begins else 1.0
    if begins:
        found["failure_frame"] = begins[0]
    found |= {"failures": len(begins), "recoveries": recoveries}
    switches, last = 0, target
    for frame in judged:
        if frame.on_object and frame.on_object != last:
            switches, last = switches + 1, frame.on_object
    found |= {"identity_switches": switches, "frames_on_others": sum(frame.on_object not in ("", target) for frame in judged)}
    return found


def _failures(judged: Sequence[JudgedFrame]) -> tuple[list[int], int]:
    """The frames at which failures begin, and the number of recoveries. Frames without the object are passed over."""
    begins: list[int] = []
    recoveries = 0
    is_lost = False
    run: list[int] = []
    """Successive frames that speak against the present state."""
    for frame in judged:
        if not frame.truth_px:
            continue
        run = [*run, frame.frame] if (frame.J < LOST_BELOW) != is_lost else []
        if len(run) < LOST_FRAMES:
            continue
        is_lost = not is_lost
        if is_lost:
            begins.append(run[0])
        else:
            recoveries += 1
        run = []
    return begins, recoveries
