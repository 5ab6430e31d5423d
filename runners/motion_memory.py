"""Motion-aware memory for SAM 2: which of three masks is taken, and which frames are remembered.

After SAMURAI (Yang et al. 2024, "Adapting Segment Anything Model for Zero-Shot Visual Tracking with Motion-Aware Memory", arXiv 2411.11922,
section 4), written from the paper. Nothing is trained, and the predictor runs as installed, with three of its functions wrapped.

1. A Kalman filter of constant velocity follows the object's box. Its state is (x, y, w, h) of centre and size, and their velocities.
2. Of the decoder's three masks M_i that one is taken whose a * s_kf(M_i) + (1 - a) * s_mask(M_i) is largest: s_kf is the IoU of its box
   with the predicted one, s_mask the decoder's own estimate of its quality. Motion counts only if the object was tracked without a break
   for `STABLE_FRAMES` frames.
3. A frame is remembered if s_mask, s_kf and the object's score exceed their thresholds. Memory attention reads the last such frames, and
   the frame before the current one in any case. Object pointers are read as ever.

The paper names the thresholds without all values; a, tau_mask and `STABLE_FRAMES` are those that users of its code report. It leaves the
filter's noise open; here it is a share of the box's longer side, the usual choice since DeepSORT (Wojke et al. 2017).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from runners.base import RunnerError

if TYPE_CHECKING:
    import numpy.typing as npt

    Box = npt.NDArray[np.float64]
    """(4,): x and y of the centre, width and height, in pixels of the decoder's masks."""

MOTION_WEIGHT = 0.15
"""a of the formula above."""
STABLE_FRAMES = 15
STABLE_QUALITY = 0.3
"""s_mask above which a frame counts as tracked."""
LEAST_QUALITY, LEAST_PRESENCE, LEAST_MOTION = 0.5, 0.0, 0.0
"""Thresholds of s_mask, of the object's score (a logit) and of s_kf: a remembered frame exceeds all."""
PLACE_NOISE, SPEED_NOISE = 1 / 20, 1 / 160
"""Standard deviations of a frame's change of place and of speed, as shares of the box's longer side."""

_MOVE = np.eye(8) + np.eye(8, k=4)
"""x(t + 1) = F x(t): velocities are added to places."""


class BoxFilter:
    """A Kalman filter of a box that moves and grows with constant velocity."""

    def __init__(self, box: Box) -> None:
        self._state_8 = np.concatenate([box, np.zeros(4)])
        self._covariance_88 = np.diag(np.repeat([2 * PLACE_NOISE, 10 * SPEED_NOISE], 4) * self._scale) ** 2

    @property
    def box(self) -> Box:
        return self._state_8[:4].copy()

    @property
    def speed(self) -> Box:
        """Of the box, per frame."""
        return self._state_8[4:].copy()

    @property
    def _scale(self) -> float:
        return float(max(self._state_8[2], self._state_8[3], 1.0))

    def predict(self) -> None:
        """Go on by one frame: x = F x, P = F P F' + Q."""
        noise_88 = np.diag(np.repeat([PLACE_NOISE, SPEED_NOISE], 4) * self._scale) ** 2
        self._state_8 = _MOVE @ self._state_8
        self._covariance_88 = _MOVE @ self._covariance_88 @ _MOVE.T + noise_88

    def correct(self, box: Box) -> None:
        """Take a measured box into account: K = P H' (H P H' + R)^-1, x = x + K (z - H x), P = P - K H P."""
        measured_44 = self._covariance_88[:4, :4] + np.eye(4) * (PLACE_NOISE * self._scale) ** 2
        gain_84 = self._covariance_88[:, :4] @ np.linalg.inv(measured_44)
        self._state_8 = self._state_8 + gain_84 @ (box - self._state_8[:4])
        self._covariance_88 = self._covariance_88 - gain_84 @ self._covariance_88[:4]


def box_of(mask_hw: npt.NDArray[np.bool_]) -> Box | None:
    """The tight box of a mask; None if it is empty."""
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    if not len(rows):
        return None
    width, height = columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    return np.array([columns[0] + width / 2, rows[0] + height / 2, width, height], np.float64)


def iou(one: Box | None, other: Box | None) -> float:
    """Intersection over union of two boxes; 0 if one is missing."""
    if one is None or other is None:
        return 0.0
    starts, ends = (tuple(box[:2] + sign * box[2:] / 2 for box in (one, other)) for sign in (-1, 1))
    sides = np.minimum(*ends) - np.maximum(*starts)
    shared = float(np.prod(np.maximum(sides, 0.0)))
    return shared / (float(np.prod(one[2:]) + np.prod(other[2:])) - shared)


class ObjectMemory:
    """What is known of one object: where it moves, and the frames worth remembering."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: number of frames that memory attention reads besides the prompted ones.
        """
        self.filter: BoxFilter | None = None
        self.unbroken = 0
        """Frames in a row, up to the last one, on which the object was tracked."""
        self.is_worth_it = False
        """Whether the last frame passes the thresholds."""
        self._kept: deque[Any] = deque(maxlen=capacity)
        self._capacity = capacity

    def begin(self, box: Box | None) -> None:
        """Start from a prompted frame."""
        self.filter = None if box is None else BoxFilter(box)
        self.unbroken, self.is_worth_it = 0, False

    def weigh(self, qualities: npt.NDArray[np.float64], boxes: list[Box | None]) -> tuple[npt.NDArray[np.float64], list[float] | None]:
        """Scores by which to choose among masks, and their s_kf; None while motion does not count.

        Args:
            qualities: s_mask of each mask.
            boxes: of each mask.
        """
        if self.filter is None or self.unbroken < STABLE_FRAMES:
            return qualities, None
        motion = [iou(self.filter.box, box) for box in boxes]
        return MOTION_WEIGHT * np.array(motion) + (1 - MOTION_WEIGHT) * qualities, motion

    def see(self, quality: float, presence: float, motion: float | None, box: Box | None) -> None:
        """Take the mask of a tracked frame into account.

        Args:
            quality, presence, motion: s_mask, the object's score and s_kf of the frame.
            box: of the mask; None if it is empty.
        """
        tracked = box is not None and quality > STABLE_QUALITY
        self.unbroken = self.unbroken + 1 if tracked else 0
        if box is not None:
            if self.filter is None:
                self.filter = BoxFilter(box)
            elif tracked:
                self.filter.correct(box)
        self.is_worth_it = quality > LEAST_QUALITY and presence > LEAST_PRESENCE and (motion is None or motion > LEAST_MOTION)

    def remembered(self, last: Any) -> list[Any]:
        """The outputs whose memories are read on the next frame, the latest first, at most `capacity`.

        Args:
            last: output of the last frame, which is read in any case; kept from now on if it passed the thresholds. None: it was prompted.
        """
        if last is not None and self.is_worth_it:
            self._kept.append(last)
        latest = [] if last is None or self.is_worth_it else [last]
        return [*latest, *reversed(self._kept)][: self._capacity]


class MotionMemory:
    """Wraps three functions of an official SAM 2 predictor, which tracks objects one after the other."""

    def __init__(self, predictor: Any) -> None:
        """
        Raises:
            RunnerError: the predictor reads memories with a stride, or gives one mask on tracked frames.
        """
        if predictor.memory_temporal_stride_for_eval != 1 or not predictor.multimask_output_for_tracking:
            raise RunnerError("--memory_selection samurai: chooses among three masks and single frames; use a model of SAM 2.1")
        self._predictor = predictor
        self._memories: dict[int, ObjectMemory] = {}
        """By the identity of the object's store of outputs."""
        self._tracked: ObjectMemory | None = None
        """The object whose frame is being tracked; None on a prompted frame."""
        self._seen: tuple[float, float | None] = (0.0, None)
        """s_mask and s_kf of the mask chosen last."""
        self._track_step = predictor.track_step
        self._prepare = predictor._prepare_memory_conditioned_features
        self._decode = predictor.sam_mask_decoder.forward
        predictor.track_step = self.track_step
        predictor._prepare_memory_conditioned_features = self.prepare
        predictor.sam_mask_decoder.forward = self.decode

    def forget(self) -> None:
        """Drop everything of a clip."""
        self._memories, self._tracked = {}, None

    def track_step(self, *, output_dict: Any, point_inputs: Any, mask_inputs: Any, **others: Any) -> Any:
        memory = self._memories.setdefault(id(output_dict), ObjectMemory(self._predictor.num_maskmem - 1))
        is_prompted = point_inputs is not None or mask_inputs is not None
        self._tracked = None if is_prompted else memory
        if not is_prompted and memory.filter is not None:
            memory.filter.predict()
        out = self._track_step(output_dict=output_dict, point_inputs=point_inputs, mask_inputs=mask_inputs, **others)
        box = box_of((out["pred_masks"][0, 0] > 0).cpu().numpy())
        if is_prompted:
            memory.begin(box)
        else:
            quality, motion = self._seen
            memory.see(quality, float(out["object_score_logits"]), motion, box)
        return out

    def decode(self, *args: Any, multimask_output: bool, **kwargs: Any) -> Any:
        """The decoder's masks, with the scores to choose by in place of their estimated qualities."""
        masks_1mhw, qualities_1m, *others = self._decode(*args, multimask_output=multimask_output, **kwargs)
        if self._tracked is None:
            return masks_1mhw, qualities_1m, *others
        qualities_m = qualities_1m[0].double().cpu().numpy()
        boxes = [box_of(mask_hw) for mask_hw in (masks_1mhw[0] > 0).cpu().numpy()]
        scores_m, motion = self._tracked.weigh(qualities_m, boxes)
        best = int(np.argmax(scores_m))
        self._seen = float(qualities_m[best]), None if motion is None else motion[best]
        if motion is None:
            return masks_1mhw, qualities_1m, *others
        return masks_1mhw, torch.from_numpy(scores_m).to(qualities_1m.device)[None], *others

    def prepare(self, *, frame_idx: int, output_dict: Any, **others: Any) -> Any:
        """Memory attention over the remembered frames, which stand where the latest frames are looked for."""
        if self._tracked is not None:
            output_dict = self._view(frame_idx, output_dict, self._tracked)
        return self._prepare(frame_idx=frame_idx, output_dict=output_dict, **others)

    def _view(self, frame_idx: int, output_dict: Any, memory: ObjectMemory) -> dict[str, Any]:
        stored = output_dict["non_cond_frame_outputs"]
        remembered = memory.remembered(_memory_in(stored.get(frame_idx - 1)))
        nothing = _nothing_like(next(iter(output_dict["cond_frame_outputs"].values())))
        view = {}
        for back in range(1, self._predictor.max_obj_ptrs_in_encoder):
            out = stored.get(frame_idx - back)
            if out is None:
                continue
            kept = remembered[back - 1] if back <= len(remembered) else nothing
            view[frame_idx - back] = {"obj_ptr": out["obj_ptr"], **kept}
        return {**output_dict, "non_cond_frame_outputs": view}


def _memory_in(output: Any) -> Any:
    """The memory in a frame's output; None without one."""
    return None if output is None else {name: output[name] for name in ("maskmem_features", "maskmem_pos_enc")}


def _nothing_like(output: Any) -> Any:
    """A memory of no rows, which adds nothing to what is attended to."""
    return {"maskmem_features": output["maskmem_features"][:, :, :0], "maskmem_pos_enc": [output["maskmem_pos_enc"][-1][:, :, :0]]}
