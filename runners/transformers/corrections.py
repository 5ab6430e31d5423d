"""transformers' streaming models, corrected to match the official predictors.

With the same weights the implementations differ in six points, which this module and `runners.transformers.runner` correct. After that
the mask logits of a clip agree to the rounding of float32 for clicks, boxes and masks, and to the rounding of the lower precision under
autocast.

1. Memory features. The official predictors keep them in bfloat16 whatever the dtype of the run; transformers does so for SAM 2 and SAM 3
   and keeps EdgeTAM's in the dtype of the run.
2. Mask prompt, object pointer. The official predictor computes the pointer of a mask prompt from the decoder's single-mask token;
   transformers requests three masks and uses the token of the best.
3. Mask prompt, memory. The official memory encoder sees the mask resized to the low resolution of the decoder's output (imgsz / 4) and
   back; transformers passes it the prompt itself.
4. Holes. With its postprocessing on, the official predictor fills holes of up to 8 pixels in the decoder's output. On a prompted frame the
   memory encoder sees the filled mask, on a tracked frame the unfilled mask. transformers fills none. SAM 3's official tracker fills none
   either.
5. Short clips. The official predictor reads as many object pointers as the clip has frames, 16 at most, and encodes their distance relative
   to that number; transformers, when frames are streamed, always assumes 16. EdgeTAM's pointers carry no such encoding.
6. Late objects. On a frame that prompts one object while others are tracked, transformers encodes the memories of all of them as if they
   had been prompted.

A seventh correction fixes an error: transformers returned the object score of EdgeTAM's mask prompt with one dimension less than the score
of a tracked object, and failed to concatenate the two on one frame.

With the postprocessing off, the official predictor fills no holes, keeps the single mask even if it is unstable, and encodes the mask
of a prompted frame as probabilities; transformers always binarises it.

Two differences have no effect beyond rounding: transformers tracks the objects of a session one by one up to the memory encoder, the
official EdgeTAM as a batch; and under autocast transformers computes position encodings in the lower precision, where the official code
rounds them (on a clip of sam2_nano the masks came no closer with the official way).
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.nn import functional

from runners.base import RunnerError
from runners.components import fill_holes


class Corrections:
    """Corrections 2 to 7 of the module's docstring, for a class that also extends one of transformers' video models."""

    postprocesses = True
    """Upstream's `apply_postprocessing`."""
    fills_holes = True
    """Whether the official predictor's postprocessing fills holes."""
    num_frames = 0
    """Number of frames of the clip."""

    def _single_frame_forward(self, *args: Any, **kwargs: Any) -> Any:
        upstream: Any = super()
        # Only the call for a mask prompt's pointer omits multimask_output; all others pass it.
        if "multimask_output" not in kwargs:
            return upstream._single_frame_forward(*args, **kwargs, multimask_output=False)
        output = upstream._single_frame_forward(*args, **kwargs)
        self._fill_holes(output)
        return output if kwargs.get("input_points") is None else _with_memory_of_output(output)

    def _use_mask_as_output(self, *args: Any, **kwargs: Any) -> Any:
        upstream: Any = super()
        output = upstream._use_mask_as_output(*args, **kwargs)
        self._fill_holes(output)
        output.object_score_logits = output.object_score_logits.reshape(-1, 1, 1)
        return _with_memory_of_output(output)

    def _get_object_pointers(
        self,
        inference_session: Any,
        obj_idx: int,
        frame_idx: int,
        num_total_frames: int,
        device: torch.device,
        track_in_reverse_time: bool = False,
        streaming: bool = False,
    ) -> Any:
        upstream: Any = super()
        return upstream._get_object_pointers(inference_session, obj_idx, frame_idx, self.num_frames, device, track_in_reverse_time, False)

    def _encode_new_memory(self, *, is_mask_from_pts: bool, **kwargs: Any) -> Any:
        upstream: Any = super()
        return upstream._encode_new_memory(is_mask_from_pts=is_mask_from_pts and self.postprocesses, **kwargs)

    def _batch_encode_memories(self, *, is_mask_from_pts_per_obj: list[bool], **kwargs: Any) -> None:
        upstream: Any = super()
        per_object = ("objects_needing_memory_encoding", "high_res_masks_for_memory", "object_score_logits_for_memory")
        for prompted in (True, False):
            those = [place for place, is_prompted in enumerate(is_mask_from_pts_per_obj) if is_prompted is prompted]
            batch = {name: [kwargs[name][place] for place in those] for name in per_object}
            upstream._batch_encode_memories(**{**kwargs, **batch}, is_mask_from_pts_per_obj=[prompted] * len(those))

    def _fill_holes(self, output: Any) -> None:
        if self.postprocesses and self.fills_holes:
            output.pred_masks = fill_holes(output.pred_masks.float())


def check_hooks(model: type) -> None:
    """Check that the overridden methods exist: if the library renames one, the override silently does nothing.

    Raises:
        RunnerError: one does not.
    """
    upstream = model.__mro__[2]
    for name in ("_single_frame_forward", "_use_mask_as_output", "_encode_new_memory", "_get_object_pointers"):
        if not hasattr(upstream, name):
            raise RunnerError(
                f"transformers {transformers.__version__} has changed inside (no {upstream.__name__}.{name}); install a version that "
                "requirements-transformers.txt allows"
            )


def _with_memory_of_output(output: Any) -> Any:
    """Pass the output mask, (n, 1, imgsz / 4, imgsz / 4), enlarged to the memory encoder's resolution, to the memory encoder."""
    high_n1hw = output.high_res_masks
    enlarged_n1hw = functional.interpolate(output.pred_masks.float(), size=high_n1hw.shape[-2:], mode="bilinear", align_corners=False)
    output.high_res_masks = enlarged_n1hw.to(high_n1hw.dtype)
    return output
