"""Streams transformers' SAM 2.1, EdgeTAM and SAM 3 tracker frame by frame, with bounded memory, corrected to match the official predictors.

This is the only module that uses transformers' streaming session. Its models run on PyTorch's `scaled_dot_product_attention`, which
`attention.choice` redirects, so that `--attention` chooses the kernels as for the official predictors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.nn import functional

from runners.base import Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError
from runners.checkpoints import read_checkpoint
from runners.compiling import Compiler
from runners.preprocessing import FramePreprocessor
from runners.sizes import check_size
from runners.stages import ObjectHook, StageHook, Stages
from runners.torch_common import (
    MaskDownload,
    PartClock,
    building_on,
    count_parameters,
    float16_autocast,
    resolve_device,
)
from runners.transformers import corrections
from runners.transformers.names import is_tracked_with, loadable

if TYPE_CHECKING:
    from collections.abc import Iterator

POSITIVE_CLICK = 1
BOX_CORNERS = (2, 3)
"""Labels of the prompt encoder: a click on the object; top left and bottom right of a box, which is given as two points."""
ATTENTION = "sdpa"
"""transformers' name for PyTorch's attention."""
OUTPUT_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")


class TransformersRunner:
    """A `VideoRunner` over transformers' streaming session.

    Subclasses define the classes of the model and of its session, and the model's configuration.
    """

    name = "transformers"
    model_class: type
    """A class that extends `Corrections` and one of transformers' models."""
    session_class: Callable[..., Any]
    default_imgsz = 1024

    def __init__(self, options: BuildOptions) -> None:
        """Build the model on the device, with the weights of `options.weights` or random ones drawn from `options.seed`.

        Raises:
            RunnerError: the size, device, transformers version or weights are unusable.
        """
        imgsz = self.default_imgsz if options.imgsz is None else options.imgsz
        check_size(self.name, imgsz)
        self._device = resolve_device(options.device)
        corrections.check_hooks(self.model_class)
        torch.manual_seed(options.seed)
        with building_on(self._device):
            self._model = self._build(options, imgsz)
        self._model.postprocesses = options.postprocessing == "on"
        self._fills_holes = self._model.postprocesses and self._model.fills_holes
        with torch.no_grad():
            # One matrix in the official model; transformers holds two copies and draws each at random.
            positional = self._model.prompt_encoder.shared_embedding.positional_embedding
            self._model.shared_image_embedding.positional_embedding.copy_(positional)
        checkpoint = None if options.weights is None else read_checkpoint(options.weights, is_tracked_with)
        if checkpoint is not None:
            self._model.load_state_dict(loadable(checkpoint, self._model.state_dict()))
        if options.num_maskmem is not None:
            # The temporal encodings need no change: transformers reads the prompted frame's row from the end of the table.
            self._model.num_maskmem = _fitting(options.num_maskmem, self._model.num_maskmem)
        self._model.to(self._device).eval()
        self._compiler = Compiler(options, self._device)
        self._compile(options)
        self._imgsz = imgsz
        self._preprocess = self._preprocessor(imgsz)
        self._download = MaskDownload(self._device)
        self._clock = PartClock(self._device)
        self.applied = Applied(
            implementation=self._implementation(),
            device=str(self._device),
            imgsz=int(self._model.image_size),
            weights="random" if checkpoint is None else checkpoint.sha256,
            parameters=count_parameters(self._model),
            hole_filling="opencv" if self._fills_holes else "off",
            memory_frames=int(self._model.config.max_object_pointers_in_encoder),
            notes=(*self._notes(), *(() if checkpoint is None else checkpoint.notes)),
        )
        by_object = ObjectHook(self._model, "_run_single_frame_inference", lambda *_, obj_idx, **__: int(obj_idx))
        self._stages = Stages(self, self._device, self._stage_hooks(), by_object, timed=options.stages)
        self._clip: Clip | None = None
        self._session: Any = None
        self._next_index: int | None = None
        self._outputs: list[torch.Tensor] = []
        self._positions: torch.Tensor | None = None
        self._scores_n: torch.Tensor | None = None

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        raise NotImplementedError

    def _preprocessor(self, imgsz: int) -> FramePreprocessor:
        return FramePreprocessor(imgsz, self._device)

    def _implementation(self) -> str:
        return f"transformers {transformers.__version__} {self.model_class.__mro__[2].__name__}"

    def _notes(self) -> tuple[str, ...]:
        """Adjustments to transformers, for the row."""
        notes = [
            "object pointers of clips under 16 frames, pointer and memory of a mask prompt and memories beside a late object computed as "
            "officially",
        ]
        if self._fills_holes:
            notes.append("small holes in masks filled as officially")
        return (*notes, *self._compiler.notes)

    def _compile(self, options: BuildOptions) -> None:
        model = self._model
        if options.compile != "off":
            self._compiler.compile_forward(model.vision_encoder)
        if options.compile == "full":
            self._compiler.compile_forward(model.memory_encoder, model.prompt_encoder, model.mask_decoder)
            self._compiler.compile_forward(model.memory_attention, dynamic=True)

    def _stage_hooks(self) -> list[StageHook]:
        hooks = [
            StageHook(self, "_preprocess", "resize_copy"),
            StageHook(self._model, "get_image_features", "image_encoder"),
            StageHook(self._model, "_prepare_memory_conditioned_features", "memory_attention"),
            StageHook(self._model, "_single_frame_forward", "mask_decoder"),
            StageHook(self._model, "_encode_new_memory", "memory_encoder"),
            StageHook(self, "_at_video_resolution", "resize_copy"),
            StageHook(self._download, "begin", "resize_copy"),
        ]
        if self._fills_holes:
            hooks.append(StageHook(corrections, "fill_holes", "hole_filling"))
        return hooks

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.close()
        self._clip = clip
        self._preprocess.prepare((clip.height, clip.width))
        self._model.num_frames = clip.num_frames
        self._session = self.session_class(
            video_height=clip.height,
            video_width=clip.width,
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=torch.float32,
        )

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        if self._session is None:
            raise RunnerError(f"{self.name}: open a clip before prompting")
        self._clock.start()
        image_chw = self._preprocess(frame_hwc)
        self._clock.mark("preprocess_ms")
        for prompt in prompts:
            self._add(frame_index, prompt)
        self._stages.watch_objects(self._session.get_obj_num())
        return self._advance(frame_index, image_chw)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        if self._next_index is None:
            raise RunnerError(f"{self.name}: prompt an object before tracking")
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
        self._positions = None
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
                f"{self.name}: frame {self._next_index} was due and frame {frame_index} was fed; frames must be fed without a gap"
            )
        if frame_index >= clip.num_frames:
            raise RunnerError(f"{self.name}: frame {frame_index} lies behind the end of the clip that was opened")
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
        """Round the memory features of this frame (point 1 of `corrections`). Returns the outputs stored for later frames.

        Under float16 autocast they are stored as float32, see `runners.official`. Their position encoding is the same on every frame; as in
        the official predictor it is kept once.

        The mask logits alone do not reveal NaN: if the object score is NaN, the model treats the object as absent and overwrites its mask
        with a finite number.
        """
        left: list[torch.Tensor] = []
        stored_dtype = torch.float32 if float16_autocast(self._device) else torch.bfloat16
        for outputs in self._output_stores():
            output = outputs.get(frame_index)
            if output is not None:
                output["maskmem_features"] = output["maskmem_features"].to(torch.bfloat16).to(stored_dtype)
                if self._positions is None:
                    self._positions = output["maskmem_pos_enc"].clone()
                output["maskmem_pos_enc"] = self._positions
                left += [output[name] for name in ("object_score_logits", "object_pointer", "maskmem_features")]
        return left

    def _output_stores(self) -> Iterator[dict[int, dict[str, Any]]]:
        """The session's outputs by frame, of every object and kind."""
        for outputs in self._session.output_dict_per_obj.values():
            yield from (outputs[kind] for kind in OUTPUT_KINDS)

    def _forget(self, frame_index: int) -> None:
        """Drop what no later frame reads, so that memory does not grow with the clip.

        Frame t + 1 reads the memory features of t - 5 to t, the object pointers of t - 14 to t and both for all prompted frames. No frame
        reads masks: neither those that the session keeps as results nor a prompt.
        """
        session = self._session
        session.processed_frames.clear()
        for inputs in (*session.mask_inputs_per_obj.values(), *session.point_inputs_per_obj.values()):
            inputs.clear()
        for stored in self._output_stores():
            output = stored.get(frame_index, {})
            for name in ("pred_masks", "high_res_masks"):
                output.pop(name, None)
        oldest_memory = frame_index - (self._model.num_maskmem - 2)
        oldest_pointer = frame_index - (self._model.config.max_object_pointers_in_encoder - 2)
        for outputs in session.output_dict_per_obj.values():
            tracked = outputs["non_cond_frame_outputs"]
            for index in list(tracked):
                if index < oldest_pointer:
                    del tracked[index]
                elif index < oldest_memory:
                    for name in ("maskmem_features", "maskmem_pos_enc"):
                        tracked[index].pop(name, None)
        for frames in session.frames_tracked_per_obj.values():
            for index in [index for index in frames if index != frame_index]:
                del frames[index]


def _fitting(num_maskmem: int, most: int) -> int:
    """
    Raises:
        RunnerError: the model has fewer than `num_maskmem` memories.
    """
    if not 1 <= num_maskmem <= most:
        raise RunnerError(f"--num_maskmem {num_maskmem}: this model has {most} memories; use 1 to {most}")
    return num_maskmem
