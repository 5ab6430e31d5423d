"""Runs the official video predictors, SAM 2's, EdgeTAM's and EfficientTAM's, frame by frame through their public calls.

The predictors run as installed, except for two functions. During `init_state` the frame loader is replaced, so that a frame is prepared
when it is tracked (see `runners.bounded`) instead of the whole clip before the first. If the compiled extension cannot be used, the
function that labels components is replaced for the rest of the process (see `runners.components`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal

import torch

from runners.base import MODEL_STAGES, Applied, BuildOptions, Clip, Frame, FrameReport, Masks, Prompt, RunnerError, RuntimeReport
from runners.bounded import FrameSlot, forget_outputs, whole_clip
from runners.checkpoints import load_strictly, read_checkpoint
from runners.compiling import Compiler
from runners.components import provide_components
from runners.exported import TORCH
from runners.preprocessing import FramePreprocessor
from runners.resize import PILLOW
from runners.sizes import check_size
from runners.stages import ObjectHook, StageHook, Stages
from runners.torch_common import (
    MaskDownload,
    PartClock,
    building_on,
    count_parameters,
    float16_autocast,
    replaced,
    resolve_device,
    synchronize,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from runners.exported.boundary import Boundary


OUTPUT_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")


class OfficialPredictorRunner:
    """A `VideoRunner` over a predictor with `init_state`, `add_new_points_or_box`, `add_new_mask` and `propagate_in_video`.

    Subclasses define how to build the predictor (`_build`) and which module holds its frame loader (`_loader_module`).
    """

    name = "official"
    package = "sam2"
    """Name of upstream's package."""

    def __init__(self, options: BuildOptions) -> None:
        """Build the model on the device, with the weights of `options.weights` or random ones drawn from `options.seed`.

        Raises:
            RunnerError: the size, device, package or weights are unusable.
        """
        imgsz = 1024 if options.imgsz is None else options.imgsz
        check_size(self.name, imgsz, options.config)
        self._device = resolve_device(options.device)
        self._memory, self._runtime = options.memory, options.runtime
        self._compiler = Compiler(options, self._device)
        torch.manual_seed(options.seed)
        with building_on(self._device):
            self._predictor = self._build(options, imgsz)
        checkpoint = None if options.weights is None else read_checkpoint(options.weights)
        if checkpoint is not None:
            load_strictly(self._predictor, checkpoint)
        if options.num_maskmem is not None:
            _limit_memory(self._predictor, options.num_maskmem)
        self._predictor.to(self._device).eval()
        self._hole_filling = self._provide_hole_filling()
        self._preprocess = FramePreprocessor(imgsz, self._device)
        runtime = self._replace_stages(options)
        self._download = MaskDownload(self._device)
        self._clock = PartClock(self._device)
        self.applied = Applied(
            implementation=self._implementation(),
            device=str(self._device),
            imgsz=int(self._predictor.image_size),
            weights="random" if checkpoint is None else checkpoint.sha256,
            parameters=count_parameters(self._predictor),
            hole_filling=self._hole_filling,
            memory_frames=int(self._predictor.max_obj_ptrs_in_encoder),
            notes=(*self._notes(), *(() if checkpoint is None else checkpoint.notes)),
            runtime=runtime,
        )
        self._stages = Stages(self, self._device, self._stage_hooks(), self._object_hook(), timed=options.stages)
        self._state: dict[str, Any] | None = None
        self._slot = FrameSlot(0)
        self._propagation: Iterator[tuple[int, list[int], torch.Tensor]] | None = None
        self._logits_n1hw: torch.Tensor | None = None
        self._index = 0

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        raise NotImplementedError

    def _replace_stages(self, options: BuildOptions) -> RuntimeReport | None:
        """Let another runtime run the predictor's stages, if the options name one."""
        if options.runtime == TORCH:
            return None
        from runners.exported.runtime import replace_stages

        return replace_stages(self._boundary(), options, self._device, self._preprocess)

    def _boundary(self) -> Boundary:
        """Where exported graphs replace the predictor's stages, of families that have them."""
        raise NotImplementedError

    def _loader_module(self) -> ModuleType:
        raise NotImplementedError

    def _implementation(self) -> str:
        raise NotImplementedError

    def _notes(self) -> tuple[str, ...]:
        """Adjustments to upstream, for the row; this class's notes come first."""
        notes = ["under float16 autocast, memory features stored in float32 instead of bfloat16", *self._compiler.notes]
        if self._hole_filling == "opencv":
            notes.append(f"components of masks labelled by OpenCV instead of {self.package}._C")
        if self._memory == "upstream":
            notes.append("frames prepared by upstream's loader when the clip is opened: in init_ms and not in latency_ms")
        return tuple(notes)

    def _stage_hooks(self) -> list[StageHook]:
        hooks = [
            StageHook(self, "_preprocess", "resize_copy"),
            StageHook(self._predictor, "forward_image", "image_encoder"),
            StageHook(self._predictor, "_prepare_memory_conditioned_features", "memory_attention"),
            StageHook(self._predictor, "_forward_sam_heads", "mask_decoder"),
            # includes EdgeTAM's spatial perceiver
            StageHook(self._predictor, "_encode_new_memory", "memory_encoder"),
            StageHook(self._predictor, "_get_orig_video_res_output", "resize_copy"),
            StageHook(self._download, "begin", "resize_copy"),
        ]
        if self._hole_filling != "off":
            hooks.append(StageHook(self._loader_module(), "fill_holes_in_mask_scores", "hole_filling"))
        return hooks

    def model_stages(self) -> list[StageHook]:
        """The functions that call the model, one for each of its stages; the others move and resize data."""
        return [hook for hook in self._stage_hooks() if hook.stage in MODEL_STAGES]

    def _object_hook(self) -> ObjectHook | None:
        """The function upstream calls per object; None if it tracks all objects as a batch."""
        return ObjectHook(self._predictor, "_run_single_frame_inference", self._object_of)

    def _object_of(self, *_: Any, output_dict: Any, **__: Any) -> int:
        """The object upstream is running inference for, identified by the output store it passes."""
        stores = self._opened()["output_dict_per_obj"]
        return next(int(index) for index, outputs in stores.items() if outputs is output_dict)

    def _provide_hole_filling(self) -> Literal["cuda", "opencv", "off"]:
        misc = importlib.import_module(f"{self.package}.utils.misc")
        return provide_components(misc, self._device) if self._predictor.fill_hole_area > 0 else "off"

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        self.close()
        if self._memory == "upstream":
            with whole_clip(clip) as folder:
                self._state = self._predictor.init_state(video_path=folder)
        else:
            self._slot = FrameSlot(clip.num_frames)
            self._slot.put(0, self._preprocess(first_frame_hwc))

            def load_video_frames(**_: Any) -> tuple[FrameSlot, int, int]:
                return self._slot, clip.height, clip.width

            with replaced(self._loader_module(), "load_video_frames", load_video_frames):
                self._state = self._predictor.init_state(video_path=clip.name)
        synchronize(self._device)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        state = self._opened()
        self._clock.start()
        self._prepare(frame_index, frame_hwc)
        self._clock.mark("preprocess_ms")
        for prompt in prompts:
            self._add(state, frame_index, prompt)
        # A running generator does not include the new objects; a new one starts at this frame and yields it first.
        self._propagation = iter(self._predictor.propagate_in_video(state, start_frame_idx=frame_index))
        self._stages.watch_objects(len(state["obj_ids"]))
        return self._advance(frame_index)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._clock.start()
        self._prepare(frame_index, frame_hwc)
        self._clock.mark("preprocess_ms")
        return self._advance(frame_index)

    def inspect(self) -> FrameReport:
        return FrameReport(
            parts_ms=self._clock.parts_ms(),
            finite=all(bool(t.isfinite().all()) for t in self._last_outputs()),
            stages_ms=self._stages.stages_ms(),
            objects_ms=self._stages.objects_ms(0 if self._state is None else len(self._state["obj_ids"])),
            object_scores=self._object_scores(),
            compiled=self._compiler.report(),
            resize=self._preprocess.resize if self._memory == "bounded" else PILLOW,
        )

    def close(self) -> None:
        self._stages.forget_objects()
        self._propagation = None
        self._logits_n1hw = None
        if self._state is not None:
            self._predictor.reset_state(self._state)
        self._state = None
        self._slot = FrameSlot(0)

    def _prepare(self, frame_index: int, frame_hwc: Frame) -> None:
        """Make the frame the model's input; upstream's loader does so for all frames at once."""
        if self._memory == "bounded":
            self._slot.put(frame_index, self._preprocess(frame_hwc))

    def _opened(self) -> dict[str, Any]:
        if self._state is None:
            raise RunnerError(f"{self.name}: open a clip before prompting")
        return self._state

    def _add(self, state: dict[str, Any], frame_index: int, prompt: Prompt) -> None:
        where = {"inference_state": state, "frame_idx": frame_index, "obj_id": prompt.object_id}
        if prompt.mask_hw is not None:
            self._predictor.add_new_mask(**where, mask=torch.tensor(prompt.mask_hw))
        elif prompt.box_4 is not None:
            self._predictor.add_new_points_or_box(**where, box=torch.tensor(prompt.box_4))
        elif prompt.points_n2 is not None:
            labels_n = torch.ones(len(prompt.points_n2), dtype=torch.int32)
            self._predictor.add_new_points_or_box(**where, points=torch.tensor(prompt.points_n2), labels=labels_n)

    def _advance(self, frame_index: int) -> Masks:
        if self._propagation is None:
            raise RunnerError(f"{self.name}: prompt an object before tracking")
        if float16_autocast(self._device):
            self._widen_memory(frame_index - 1)
        try:
            index, _, self._logits_n1hw = next(self._propagation)
        except StopIteration as error:
            raise RunnerError(f"{self.name}: frame {frame_index} lies behind the end of the clip that was opened") from error
        if index != frame_index:
            raise RunnerError(f"{self.name}: frame {index} was due and frame {frame_index} was fed; frames must be fed without a gap")
        self._index = index
        self._clock.mark("model_ms")
        self._download.begin(self._logits_n1hw)
        self._clock.mark("output_ms")
        # A GPU is still running here.
        self._forget(index)
        return self._download.wait()

    def _forget(self, frame_index: int) -> None:
        if self._memory == "upstream":
            return
        for outputs in self._output_stores():
            forget_outputs(
                outputs["non_cond_frame_outputs"],
                frame_index,
                num_maskmem=self._predictor.num_maskmem,
                stride=self._predictor.memory_temporal_stride_for_eval,
                num_pointers=self._predictor.max_obj_ptrs_in_encoder,
            )

    def _widen_memory(self, frame_index: int) -> None:
        """Store this frame's memory features as float32, with unchanged values.

        Upstream stores bfloat16 whatever the dtype of the run, and autocast refuses to concatenate the two half precisions ("Unexpected
        floating ScalarType"): under float16 the first tracked frame would fail.
        """
        for outputs in self._output_stores():
            for kind in OUTPUT_KINDS:
                output = outputs[kind].get(frame_index)
                if output is not None and output["maskmem_features"] is not None:
                    output["maskmem_features"] = output["maskmem_features"].float()

    def _output_stores(self) -> Iterator[dict[str, Any]]:
        """Every store of frame outputs in the state: one per object, plus EdgeTAM's joint one."""
        state = self._opened()
        if "output_dict" in state:
            yield state["output_dict"]
        yield from state["output_dict_per_obj"].values()

    def _object_scores(self) -> tuple[float, ...]:
        """Each object's score on the last frame. A model trained without them stores a constant, which says nothing."""
        if self._state is None or not self._predictor.pred_obj_scores:
            return ()
        stored = [outputs[kind].get(self._index) for outputs in self._state["output_dict_per_obj"].values() for kind in OUTPUT_KINDS]
        return tuple(float(output["object_score_logits"]) for output in stored if output is not None)

    def _last_outputs(self) -> Iterator[torch.Tensor]:
        """Outputs stored by the last frame. The mask logits alone do not reveal NaN: if the object score is NaN, upstream treats the
        object as absent and overwrites its mask with a finite number."""
        if self._logits_n1hw is not None:
            yield self._logits_n1hw
        for outputs in self._output_stores():
            for kind in OUTPUT_KINDS:
                output = outputs[kind].get(self._index, {})
                yield from (output[key] for key in ("object_score_logits", "obj_ptr") if output.get(key) is not None)


def _limit_memory(predictor: Any, num_maskmem: int) -> None:
    """Let the memory attention see the prompted frames and the last `num_maskmem` - 1 others.

    The remaining frames keep the temporal encodings used in training: row t - 1 for the frame t before, the last row for prompted frames,
    which upstream looks up by the number of memories.

    Raises:
        RunnerError: the model has fewer than `num_maskmem` memories.
    """
    encodings = predictor.maskmem_tpos_enc
    if not 1 <= num_maskmem <= len(encodings):
        raise RunnerError(f"--num_maskmem {num_maskmem}: this model has {len(encodings)} memories; use 1 to {len(encodings)}")
    with torch.no_grad():
        kept = torch.cat([encodings[: num_maskmem - 1], encodings[-1:]])
    predictor.maskmem_tpos_enc = torch.nn.Parameter(kept)
    predictor.num_maskmem = num_maskmem
