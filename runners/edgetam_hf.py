"""EdgeTAM as transformers' `EdgeTamVideoModel`, streamed frame by frame, corrected to match the official model.

With the same weights, the two implementations differ in four points, which this module corrects. After that the mask logits of 20 frames
agree to 1e-6 in float32 for clicks, boxes and masks, and to the rounding of the lower precision under autocast.

1. Memory features. The official predictor keeps them in bfloat16 whatever the dtype of the run; transformers keeps the dtype of the run.
2. Mask prompt, object pointer. The official predictor computes the pointer of a mask prompt from the decoder's single-mask token;
   transformers requests three masks and uses the token of the best.
3. Mask prompt, memory. The official memory encoder sees the mask resized to the low resolution of the decoder's output (imgsz / 4) and
   back; transformers passes it the prompt itself.
4. Holes. With its postprocessing on, the official predictor fills holes of up to 8 pixels in the decoder's output. On a prompted frame the
   memory encoder sees the filled mask, on a tracked frame the unfilled mask. transformers fills none.

A fifth correction fixes an error: transformers returns the object score of a mask prompt with one dimension less than the score of a
tracked object, and fails to concatenate the two on one frame.

With the postprocessing off, the official predictor fills no holes, keeps the single mask even if it is unstable, and encodes the mask
of a prompted frame as probabilities; transformers always binarises it.

Two apparent differences have no effect. The official predictor uses fewer object pointers for clips under 16 frames: EdgeTAM's pointers
carry no temporal encoding, so the limit never drops one that exists. And transformers tracks the objects of a session one by one,
the official predictor as a batch: only the time differs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import timm
import torch
import transformers
from torch.nn import functional
from transformers import EdgeTamVideoConfig, EdgeTamVideoInferenceSession, EdgeTamVideoModel, EdgeTamVisionConfig, TimmWrapperConfig

from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from runners.checkpoints import read_checkpoint
from runners.compiling import Compiler
from runners.components import fill_holes
from runners.edgetam_weights import convert
from runners.preprocessing import FramePreprocessor
from runners.sizes import EDGETAM_STRIDE, check_size
from runners.stages import ObjectHook, StageHook, Stages
from runners.torch_common import (
    MaskDownload,
    PartClock,
    building_on,
    count_parameters,
    float16_autocast,
    resolve_device,
)

POSITIVE_CLICK = 1
BOX_CORNERS = (2, 3)
"""Labels of the prompt encoder: a click on the object; top left and bottom right of a box, which is given as two points."""


class _Model(EdgeTamVideoModel):  # type: ignore[misc]
    """transformers' model with corrections 2 to 5 of the module's docstring."""

    postprocesses = True
    """Upstream's `apply_postprocessing`."""

    def _single_frame_forward(self, *args: Any, **kwargs: Any) -> Any:
        # Only the call for a mask prompt's pointer omits multimask_output; all others pass it.
        if "multimask_output" not in kwargs:
            return super()._single_frame_forward(*args, **kwargs, multimask_output=False)
        output = super()._single_frame_forward(*args, **kwargs)
        self._fill_holes(output)
        return output if kwargs.get("input_points") is None else _with_memory_of_output(output)

    def _use_mask_as_output(self, *args: Any, **kwargs: Any) -> Any:
        output = super()._use_mask_as_output(*args, **kwargs)
        self._fill_holes(output)
        output.object_score_logits = output.object_score_logits[:, None]
        return _with_memory_of_output(output)

    def _encode_new_memory(self, *, is_mask_from_pts: bool, **kwargs: Any) -> Any:
        return super()._encode_new_memory(is_mask_from_pts=is_mask_from_pts and self.postprocesses, **kwargs)

    def _fill_holes(self, output: Any) -> None:
        if self.postprocesses:
            output.pred_masks = fill_holes(output.pred_masks.float())


def _with_memory_of_output(output: Any) -> Any:
    """Pass the output mask, (n, 1, imgsz / 4, imgsz / 4), enlarged to the memory encoder's resolution, to the memory encoder."""
    high_n1hw = output.high_res_masks
    enlarged_n1hw = functional.interpolate(output.pred_masks.float(), size=high_n1hw.shape[-2:], mode="bilinear", align_corners=False)
    output.high_res_masks = enlarged_n1hw.to(high_n1hw.dtype)
    return output


class EdgeTamHfRunner:
    """A `VideoRunner` over transformers' streaming session. Loads the official `edgetam.pt` or random weights.

    Unlike the official predictor it accepts new objects while tracking.
    """

    name = "edgetam"

    def __init__(self, options: BuildOptions) -> None:
        """Build the model on the device, with the weights of `options.weights` or random ones drawn from `options.seed`.

        Raises:
            RunnerError: the size, device, transformers version or weights are unusable.
        """
        imgsz = 1024 if options.imgsz is None else options.imgsz
        check_size("edgetam", imgsz)
        self._device = resolve_device(options.device)
        _check_hooks()
        torch.manual_seed(options.seed)
        postprocesses = options.postprocessing == "on"
        with building_on(self._device):
            self._model = _Model(_configuration(imgsz, postprocesses=postprocesses))
        self._model.postprocesses = postprocesses
        # One matrix in the official model; transformers holds two copies and draws each at random.
        self._model.shared_image_embedding.positional_embedding.copy_(self._model.prompt_encoder.shared_embedding.positional_embedding)
        checkpoint = None if options.weights is None else read_checkpoint(options.weights)
        if checkpoint is not None:
            self._model.load_state_dict(convert(checkpoint, self._model.state_dict()))
        if options.num_maskmem is not None:
            # The temporal encodings need no change: transformers reads the prompted frame's row from the end of the table.
            self._model.num_maskmem = options.num_maskmem
        self._model.to(self._device).eval()
        self._compiler = Compiler(options, self._device)
        if options.compile != "off":
            self._compiler.compile_forward(self._model.vision_encoder)
        if options.compile == "full":
            model = self._model
            self._compiler.compile_forward(model.memory_encoder, model.spatial_perceiver, model.prompt_encoder, model.mask_decoder)
            self._compiler.compile_forward(model.memory_attention, dynamic=True)
        self._imgsz = imgsz
        self._preprocess = FramePreprocessor(imgsz, self._device)
        self._download = MaskDownload(self._device)
        self._clock = PartClock(self._device)
        self.applied = Applied(
            implementation=f"transformers {transformers.__version__} EdgeTamVideoModel (timm {timm.__version__})",
            device=str(self._device),
            imgsz=int(self._model.image_size),
            weights="random" if checkpoint is None else checkpoint.sha256,
            parameters=count_parameters(self._model),
            hole_filling="opencv" if postprocesses else "off",
            memory_frames=int(self._model.config.max_object_pointers_in_encoder),
            notes=(
                "memory features rounded to bfloat16, as the official predictor keeps them",
                "object pointer and memory of a mask prompt computed as officially",
                "small holes in masks filled as officially",
                *(() if checkpoint is None else checkpoint.notes),
            ),
        )
        self._stages = Stages(
            self,
            self._device,
            [
                StageHook(self, "_preprocess", "resize_copy"),
                StageHook(self._model, "get_image_features", "image_encoder"),
                StageHook(self._model, "_prepare_memory_conditioned_features", "memory_attention"),
                StageHook(self._model, "_single_frame_forward", "mask_decoder"),
                StageHook(self._model, "_encode_new_memory", "memory_encoder"),
                StageHook(self, "_at_video_resolution", "resize_copy"),
                StageHook(self._download, "begin", "resize_copy"),
                StageHook(sys.modules[__name__], "fill_holes", "hole_filling"),
            ],
            ObjectHook(self._model, "_run_single_frame_inference", lambda *_, obj_idx, **__: int(obj_idx)),
            timed=options.stages,
        )
        self._clip: Clip | None = None
        self._session: Any = None
        self._next_index: int | None = None
        self._outputs: list[torch.Tensor] = []
        self._scores_n: torch.Tensor | None = None

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.close()
        self._clip = clip
        self._preprocess.prepare((clip.height, clip.width))
        self._session = EdgeTamVideoInferenceSession(
            video_height=clip.height,
            video_width=clip.width,
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
        )

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        if self._session is None:
            raise RunnerError("edgetam: open a clip before prompting")
        self._clock.start()
        image_chw = self._preprocess(frame_hwc)
        self._clock.mark("preprocess_ms")
        for prompt in prompts:
            self._add(frame_index, prompt)
        self._stages.watch_objects(self._session.get_obj_num())
        return self._advance(frame_index, image_chw)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        if self._next_index is None:
            raise RunnerError("edgetam: prompt an object before tracking")
        self._clock.start()
        image_chw = self._preprocess(frame_hwc)
        self._clock.mark("preprocess_ms")
        return self._advance(frame_index, image_chw)

    def inspect(self) -> FrameReport:
        return FrameReport(
            parts_ms=self._clock.parts_ms(),
            finite=all(bool(tensor.isfinite().all()) for tensor in self._outputs),
            stages_ms=self._stages.stages_ms(),
            objects_ms=self._stages.objects_ms(0 if self._session is None else self._session.get_obj_num()),
            object_scores=() if self._scores_n is None else tuple(float(score) for score in self._scores_n),
            compiled=self._compiler.report(),
            resize=self._preprocess.resize,
        )

    def close(self) -> None:
        self._stages.forget_objects()
        self._clip = None
        self._session = None
        self._next_index = None
        self._outputs = []
        self._scores_n = None

    def _add(self, frame_index: int, prompt: Prompt) -> None:
        session = self._session
        index = session.obj_id_to_idx(prompt.object_id)
        if prompt.mask_hw is not None:
            session.remove_point_inputs(index, frame_index)
            session.add_mask_inputs(index, frame_index, self._mask_input(torch.tensor(prompt.mask_hw)))
        else:
            points_n2 = prompt.points_n2 if prompt.box_4 is None else prompt.box_4.reshape(2, 2)
            assert points_n2 is not None  # Prompt holds exactly one of its forms
            labels = [POSITIVE_CLICK] * len(points_n2) if prompt.box_4 is None else list(BOX_CORNERS)
            # Same order of operations as upstream, so that the coordinates are bit-identical.
            points_11n2 = torch.tensor(points_n2, dtype=torch.float32)[None, None]
            points_11n2 = points_11n2 / torch.tensor([session.video_width, session.video_height]) * self._imgsz
            labels_11n = torch.tensor(labels, dtype=torch.int32)[None, None]
            session.remove_mask_inputs(index, frame_index)
            session.add_point_inputs(index, frame_index, {"point_coords": points_11n2, "point_labels": labels_11n})
        if prompt.object_id not in session.obj_with_new_inputs:
            session.obj_with_new_inputs.append(prompt.object_id)

    def _mask_input(self, mask_hw: torch.Tensor) -> torch.Tensor:
        """A mask prompt at the model's input size, (1, 1, imgsz, imgsz) of 0 and 1, resized as the official predictor does."""
        mask_11hw = mask_hw[None, None].to(self._device, torch.float32)
        if mask_hw.shape == (self._imgsz, self._imgsz):
            return mask_11hw
        size = (self._imgsz, self._imgsz)
        resized_11hw = functional.interpolate(mask_11hw, size=size, mode="bilinear", align_corners=False, antialias=True)
        return (resized_11hw >= 0.5).float()

    def _advance(self, frame_index: int, image_chw: torch.Tensor) -> Masks:
        session, clip = self._session, self._clip
        assert clip is not None
        if self._next_index is not None and frame_index != self._next_index:
            raise RunnerError(
                f"edgetam: frame {self._next_index} was due and frame {frame_index} was fed; frames must be fed without a gap"
            )
        if frame_index >= clip.num_frames:
            raise RunnerError(f"edgetam: frame {frame_index} lies behind the end of the clip that was opened")
        output = self._model(inference_session=session, frame=image_chw, frame_idx=frame_index)
        self._scores_n = output.object_score_logits
        logits_n1hw = self._at_video_resolution(output.pred_masks)
        self._outputs = [logits_n1hw, *self._round_memory(frame_index)]
        self._forget(frame_index)
        self._next_index = frame_index + 1
        self._clock.mark("model_ms")
        self._download.begin(logits_n1hw)
        self._clock.mark("output_ms")
        return self._download.wait()

    def _at_video_resolution(self, low_n1hw: torch.Tensor) -> torch.Tensor:
        session = self._session
        size_hw = (session.video_height, session.video_width)
        return functional.interpolate(low_n1hw.float(), size=size_hw, mode="bilinear", align_corners=False)

    def _round_memory(self, frame_index: int) -> list[torch.Tensor]:
        """Round the memory features of this frame (point 1 of the module's docstring). Returns the outputs stored for later frames.

        Under float16 autocast they are stored as float32, see `runners.official`.

        The mask logits alone do not reveal NaN: if the object score is NaN, the model treats the object as absent and overwrites its mask
        with a finite number.
        """
        left: list[torch.Tensor] = []
        stored_dtype = torch.float32 if float16_autocast(self._device) else torch.bfloat16
        for outputs in self._session.output_dict_per_obj.values():
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
                output = outputs[kind].get(frame_index)
                if output is not None:
                    output["maskmem_features"] = output["maskmem_features"].to(torch.bfloat16).to(stored_dtype)
                    left += [output[name] for name in ("object_score_logits", "object_pointer", "maskmem_features")]
        return left

    def _forget(self, frame_index: int) -> None:
        """Drop outputs that no later frame reads, so that memory does not grow with the clip.

        Frame t + 1 reads the memory features of t - 5 to t, the object pointers of t - 14 to t and both for all prompted frames.
        """
        self._session.processed_frames.clear()
        oldest_memory = frame_index - (self._model.num_maskmem - 2)
        oldest_pointer = frame_index - (self._model.config.max_object_pointers_in_encoder - 2)
        for outputs in self._session.output_dict_per_obj.values():
            tracked = outputs["non_cond_frame_outputs"]
            for index in list(tracked):
                if index < oldest_pointer:
                    del tracked[index]
                elif index < oldest_memory:
                    for name in ("maskmem_features", "maskmem_pos_enc"):
                        tracked[index].pop(name, None)
                if index in tracked and index != frame_index:
                    tracked[index].pop("pred_masks", None)
        for tracked in self._session.frames_tracked_per_obj.values():
            for index in [index for index in tracked if index != frame_index]:
                del tracked[index]


def _configuration(imgsz: int, *, postprocesses: bool) -> EdgeTamVideoConfig:
    """The official model's architecture at one input size; the library's defaults use another backbone and support only 1024 pixels."""
    grid = imgsz // EDGETAM_STRIDE
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]})
    return EdgeTamVideoConfig(
        image_size=imgsz,
        vision_config=EdgeTamVisionConfig(
            backbone_config=backbone,
            backbone_feature_sizes=[[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
        ),
        prompt_encoder_config={"image_size": imgsz},
        mask_decoder_config={"dynamic_multimask_via_stability": postprocesses},
        memory_attention_rope_feat_sizes=[grid, grid],
        # SAM 2.1 has both; EdgeTAM's checkpoint has neither.
        enable_occlusion_spatial_embedding=False,
        enable_temporal_pos_encoding_for_object_pointers=False,
    )


def _check_hooks() -> None:
    """Check that the overridden methods exist: if the library renames one, the override silently does nothing."""
    for name in ("_single_frame_forward", "_use_mask_as_output", "_encode_new_memory"):
        if not hasattr(EdgeTamVideoModel, name):
            raise RunnerError(
                f"edgetam: transformers {transformers.__version__} has changed inside (no EdgeTamVideoModel.{name}); install the version "
                "that requirements-transformers.txt names"
            )
