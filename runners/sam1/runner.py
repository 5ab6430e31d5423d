"""A tracker built on an image model: SAM v1 on every frame, prompted with the object's position on the previous frame.

A frame's mask gives the prompt of the next frame: its tight box, its innermost pixel and its low-resolution logits. There is no memory:
only the last mask describes the object. Comparing with this baseline shows the value of SAM 2's memory.

On the prompted frame one click selects the best of the model's three masks by estimated IoU; several clicks or a box use its single mask. A
prompt mask is reported unchanged, without running the model. `TrackedObject` handles lost objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from runners.checkpoints import load_strictly, read_checkpoint
from runners.compiling import Compiler
from runners.preprocessing import FramePreprocessor, tables_of_sam1
from runners.sam1.model import ENCODERS, Sam1
from runners.sam1.motion import Motion
from runners.sam1.preprocessing import InputFrame
from runners.sam1.prompt_encoder import POSITIVE
from runners.sam1.tracked_object import BoolMask, ModelPrompt, TrackedObject
from runners.sizes import check_size
from runners.stages import StageHook, Stages
from runners.torch_common import (
    MaskDownload,
    PartClock,
    count_parameters,
    resolve_device,
    synchronize,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Sam1Runner:
    """A `VideoRunner`; `options.config` names the encoder: `vit_b`, `vit_l` or `vit_h`. Sizes: multiples of 16.

    All objects of a clip share the encoding of each frame. Objects may be added, and prompted again, on later frames.
    """

    name = "sam1"

    def __init__(self, options: BuildOptions) -> None:
        """Build the model on the device, with the weights of `options.weights` or random ones drawn from `options.seed`.

        `options.move_with_flow` moves each mask along optical flow before it becomes the next prompt. It is off by default: between two
        frames an object moves by a small part of its size, which a box and a click tolerate, and with flow the baseline is no longer only
        the image model.

        Raises:
            RunnerError: the size, device or weights are unusable.
        """
        config = ENCODERS.get(options.config or "")
        if config is None:
            raise RunnerError(f"sam1: there is no encoder {options.config}; use {', '.join(ENCODERS)}")
        native = config.grid * config.patch
        imgsz = native if options.imgsz is None else options.imgsz
        check_size("sam1", imgsz)
        self._device = resolve_device(options.device)
        torch.manual_seed(options.seed)
        self._model = Sam1(config, imgsz)
        self.use_attention(options.relative_attention)
        checkpoint = None if options.weights is None else read_checkpoint(options.weights)
        if checkpoint is not None:
            load_strictly(self._model, checkpoint)
        self._model.to(self._device).eval()
        self._compiler = Compiler(options, self._device)
        if options.compile != "off":
            self._compiler.compile_forward(self._model.image_encoder)
        if options.compile == "full":
            self._compiler.compile_forward(self._model.prompt_encoder, self._model.mask_decoder)
        self._imgsz = imgsz
        self._moves = options.move_with_flow
        self._preprocess = FramePreprocessor(imgsz, self._device, "bilinear", tables_of_sam1())
        self._download = MaskDownload(self._device)
        self._clock = PartClock(self._device)
        notes = ["each frame prompted with the previous mask's box, innermost point and low-resolution logits"]
        if imgsz != native:
            notes.append(f"position embeddings resampled from {native} to {imgsz} pixels")
        if self._moves:
            notes.append("previous mask moved along DIS optical flow")
        if checkpoint is not None:
            notes += checkpoint.notes
        self.applied = Applied(
            implementation=f"runners.sam1 {options.config}",
            device=str(self._device),
            imgsz=imgsz,
            weights="random" if checkpoint is None else checkpoint.sha256,
            parameters=count_parameters(self._model),
            notes=tuple(notes),
        )
        self._stages = Stages(
            self,
            self._device,
            [
                StageHook(self, "_to_input", "resize_copy"),
                StageHook(self._model.image_encoder, "forward", "image_encoder"),
                StageHook(self, "_ask", "mask_decoder"),
                StageHook(self, "_at_video_resolution", "resize_copy"),
                StageHook(self._download, "begin", "resize_copy"),
            ],
            timed=options.stages,
        )
        self._clip: Clip | None = None
        self._motion: Motion | None = None
        self._next_index: int | None = None
        self._objects: dict[int, TrackedObject] = {}
        """By object id, in the order of prompting."""
        self._outputs: list[torch.Tensor] = []

    def use_attention(self, method: str) -> None:
        """Select the method of `attention.relative_position` for the image encoder; `auto` is the default.

        Raises:
            ValueError: there is no such method.
        """
        self._model.image_encoder.use_attention(method)

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.close()
        self._clip = clip
        self._where = InputFrame(clip.height, clip.width, self._imgsz)
        self._preprocess.prepare((clip.height, clip.width), self._where.resized_hw)
        self._motion = Motion() if self._moves else None

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Prompt objects as the protocol says; other known objects are tracked in this frame.

        Raises:
            RunnerError: no clip is open, no object is known or prompted, a mask's size is not the clip's, or the frame is out of order.
        """
        clip = self._opened()
        if not prompts and not self._objects:
            raise RunnerError("sam1: no object to track; give at least one prompt")
        for prompt in prompts:
            if prompt.mask_hw is not None and prompt.mask_hw.shape != (clip.height, clip.width):
                raise RunnerError(
                    f"sam1: a mask of {prompt.mask_hw.shape} pixels for a clip of {(clip.height, clip.width)}; resize the mask"
                )
            if prompt.mask_hw is not None and not prompt.mask_hw.any():
                raise RunnerError(f"sam1: the mask of object {prompt.object_id} is empty; prompt it on a frame that shows it")
        with torch.inference_mode():
            return self._advance(frame_index, frame_hwc, {prompt.object_id: prompt for prompt in prompts})

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._opened()
        if not self._objects:
            raise RunnerError("sam1: prompt an object before tracking")
        with torch.inference_mode():
            return self._advance(frame_index, frame_hwc, {})

    def inspect(self) -> FrameReport:
        return FrameReport(
            parts_ms=self._clock.parts_ms(),
            finite=all(bool(tensor.isfinite().all()) for tensor in self._outputs),
            stages_ms=self._stages.stages_ms(),
            compiled=self._compiler.report(),
            resize=self._preprocess.resize,
        )

    def close(self) -> None:
        self._clip = None
        self._motion = None
        self._next_index = None
        self._objects = {}
        self._outputs = []

    def _opened(self) -> Clip:
        if self._clip is None:
            raise RunnerError("sam1: open a clip before prompting")
        return self._clip

    def _advance(self, frame_index: int, frame_hwc: Frame, prompts: Mapping[int, Prompt]) -> Masks:
        self._check_order(frame_index, frame_hwc)
        self._clock.start()
        image_13hw = self._to_input(frame_hwc)
        self._clock.mark("preprocess_ms")
        self._objects.update((object_id, TrackedObject(_asked(prompt))) for object_id, prompt in prompts.items())
        given = {object_id: prompt.mask_hw for object_id, prompt in prompts.items() if prompt.mask_hw is not None}
        asked = [object_id for object_id in self._objects if object_id not in given]
        self._outputs = []
        embedding_1chw = self._model.image_encoder(image_13hw) if asked else None
        # On a GPU the encoder still runs while the host moves masks and finds their boxes and points.
        self._move([object_id for object_id in asked if object_id not in prompts], frame_hwc)
        if embedding_1chw is not None:
            logits_n1hw, iou_n = self._ask(embedding_1chw, [self._objects[object_id].next_prompt() for object_id in asked])
            enlarged_n1hw = self._at_video_resolution(logits_n1hw)
            self._outputs = [embedding_1chw, logits_n1hw, iou_n]
        self._clock.mark("model_ms")
        reported: dict[int, BoolMask] = {}
        if embedding_1chw is not None:
            self._download.begin(enlarged_n1hw)
            for object_id, mask_hw, logits_1hw, iou in zip(asked, self._download.wait(), logits_n1hw, iou_n.tolist(), strict=True):
                reported[object_id] = self._objects[object_id].see(mask_hw, logits_1hw, iou)
        for object_id, mask_hw in given.items():
            logits_1hw = self._where.logits_of_mask(torch.from_numpy(mask_hw).to(self._device))
            reported[object_id] = self._objects[object_id].see(mask_hw.copy(), logits_1hw, iou=1.0)
        self._clock.mark("output_ms")
        synchronize(self._device)
        self._next_index = frame_index + 1
        return np.stack([reported[object_id] for object_id in self._objects])

    def _to_input(self, frame_hwc: Frame) -> torch.Tensor:
        return self._preprocess(frame_hwc, self._where.resized_hw)[None]

    def _at_video_resolution(self, logits_n1hw: torch.Tensor) -> torch.Tensor:
        return self._where.enlarge(logits_n1hw)

    def _check_order(self, frame_index: int, frame_hwc: Frame) -> None:
        clip = self._opened()
        if self._next_index is not None and frame_index != self._next_index:
            raise RunnerError(f"sam1: frame {self._next_index} was due and frame {frame_index} was fed; frames must be fed without a gap")
        if frame_index >= clip.num_frames:
            raise RunnerError(f"sam1: frame {frame_index} lies behind the end of the clip that was opened")
        if frame_hwc.shape != (clip.height, clip.width, 3):
            raise RunnerError(f"sam1: frame {frame_index} has shape {frame_hwc.shape}, the clip {(clip.height, clip.width, 3)}")

    def _ask(self, embedding_1chw: torch.Tensor, prompts: Sequence[ModelPrompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Low-resolution logits (n, 1, imgsz / 4, imgsz / 4) and estimated IoU (n,) for n prompts, batched by form."""
        by_form: dict[tuple[int, bool, bool], list[int]] = {}
        for index, prompt in enumerate(prompts):
            by_form.setdefault(prompt.form, []).append(index)
        answers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for indices in by_form.values():
            logits_bmhw, iou_bm = self._decode(embedding_1chw, [prompts[index] for index in indices])
            iou_b, best_b = iou_bm.max(dim=1)
            logits_bhw = logits_bmhw[torch.arange(len(indices), device=self._device), best_b]
            answers.update((index, (logits_bhw[b][None], iou_b[b])) for b, index in enumerate(indices))
        logits_1hw, iou = zip(*(answers[index] for index in range(len(prompts))), strict=True)
        return torch.stack(logits_1hw), torch.stack(iou)

    def _decode(self, embedding_1chw: torch.Tensor, group: Sequence[ModelPrompt]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, 1 or 3, imgsz / 4, imgsz / 4) and estimated IoU (B, 1 or 3) for prompts of one form."""
        encoder = self._model.prompt_encoder
        points_bn2 = self._coordinates([prompt.points_n2 for prompt in group if prompt.points_n2 is not None])
        logits = [prompt.logits_1hw for prompt in group if prompt.logits_1hw is not None]
        sparse_bnc, dense_bchw = encoder(
            points_bn2=points_bn2,
            labels_bn=None if points_bn2 is None else torch.full(points_bn2.shape[:2], POSITIVE, device=self._device),
            boxes_b4=self._coordinates([prompt.box_4.reshape(2, 2) for prompt in group if prompt.box_4 is not None], corners=True),
            masks_b1hw=torch.stack(logits).float() if logits else None,
        )
        decoded: tuple[torch.Tensor, torch.Tensor] = self._model.mask_decoder(
            embedding_1chw, encoder.dense_positions(), sparse_bnc, dense_bchw, multimask=group[0].is_ambiguous
        )
        return decoded

    def _coordinates(self, places_bn2: Sequence[NDArray[np.float32]], corners: bool = False) -> torch.Tensor | None:
        """(B, n, 2), or (B, 4) for corners, in pixels of the input, on the device; None if there are none."""
        if not places_bn2:
            return None
        places = torch.from_numpy(self._where.points(np.stack(places_bn2))).to(self._device)
        return places.flatten(1) if corners else places

    def _move(self, object_ids: Sequence[int], frame_hwc: Frame) -> None:
        """With `move_with_flow`: move the masks of objects that are not lost from the previous frame to this one."""
        if self._motion is None:
            return
        self._motion.feed(frame_hwc, self._where)
        for object_id in object_ids:
            obj = self._objects[object_id]
            if obj.seen is not None and not obj.is_lost:
                moved_1hw = self._motion.move(obj.seen[1])
                obj.move((self._where.enlarge(moved_1hw[None])[0, 0] > 0).cpu().numpy(), moved_1hw)


def _asked(prompt: Prompt) -> ModelPrompt:
    """The user's clicks or box unchanged; a mask prompt does not reach the model."""
    return ModelPrompt(points_n2=prompt.points_n2, box_4=prompt.box_4)
