"""Runs Cutie's `InferenceCore` frame by frame, as upstream's example does.

The package runs as installed. Three things are done around it:

1. Resizing. `InferenceCore` shrinks a frame inside its step if `max_internal_size` is set. Here the runner shrinks it before, with the same
   call, and enlarges the probabilities after, so that the time of both is known. The results are equal bit for bit.
2. Building. The constructors of the two ResNets download ImageNet's weights, which the checkpoint then overwrites; they are built without.
3. Autocast. The package switches autocast off for its logits with `torch.cuda.amp.autocast(enabled=False)`, which warns on every frame that
   it is deprecated and does nothing on a CPU. Its successor, for the device in use, takes its place during a call.

Memory is the package's own, bounded without further work: the prompted frame stays, and of every fifth frame the last four. Settings are
those of upstream's evaluation on DAVIS 2017, which are also those of MOSE and YouTube-VOS: no long-term memory.
"""

from __future__ import annotations

import functools
import importlib.metadata
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cutie
import numpy as np
import torch
from cutie.inference.inference_core import InferenceCore
from cutie.inference.memory_manager import MemoryManager
from cutie.model.cutie import CUTIE
from cutie.model.utils import resnet
from omegaconf import OmegaConf
from torch.nn import functional

from runners.base import Applied, Clip, FrameReport, RunnerError
from runners.checkpoints import load_strictly, read_checkpoint
from runners.compiling import Compiler
from runners.sizes import CUTIE_CELLS, CUTIE_SIZE, CUTIE_STRIDE
from runners.stages import StageHook, Stages
from runners.torch_common import MaskDownload, PartClock, count_parameters, replaced, resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runners.base import BuildOptions, Frame, Masks, Prompt

DATASET = "d17-val"
"""Whose entry in upstream's evaluation settings is used."""
BACKBONES = ("resnet18", "resnet50")


class _Memory(MemoryManager):  # type: ignore[misc] # upstream has no types
    """Upstream's memory, whose reading is a stage of the runner."""

    def __init__(self, core: Any, stage: Callable[..., Any]) -> None:
        super().__init__(core.cfg, core.object_manager)
        self._stage = stage

    def read(self, *args: Any) -> Any:
        return self._stage(super().read, *args)


class CutieRunner:
    """A `VideoRunner`. `imgsz` is the shorter side that frames are shrunk to; smaller frames run at their own size.

    Takes masks alone. Masks of several objects exclude each other, as the package defines them: of overlapping prompts the smaller object
    keeps the common pixels. Objects may be added on later frames, and prompted once.
    """

    name = "cutie"

    def __init__(self, options: BuildOptions) -> None:
        """Build the model on the device, with the weights of `options.weights` or random ones drawn from `options.seed`.

        Raises:
            RunnerError: the device or weights are unusable.
        """
        self._device = resolve_device(options.device)
        self._imgsz = CUTIE_SIZE if options.imgsz is None else options.imgsz
        self._settings = _settings(options.config, options.num_maskmem)
        torch.manual_seed(options.seed)
        with ExitStack() as stack:
            for name in BACKBONES:
                stack.enter_context(replaced(resnet, name, _untrained(getattr(resnet, name))))
            self._network = CUTIE(self._settings)
        checkpoint = None if options.weights is None else read_checkpoint(options.weights)
        if checkpoint is not None:
            load_strictly(self._network, checkpoint)
        self._network.to(self._device).eval()
        self._compiler = Compiler(options, self._device)
        network = self._network
        if options.compile != "off":
            self._compiler.compile_forward(network.pixel_encoder)
        if options.compile == "full":
            self._compiler.compile_forward(network.mask_encoder, network.mask_decoder, network.pixel_fuser, network.object_transformer)
        self._autocast = functools.partial(torch.amp.autocast, self._device.type)
        self._download = MaskDownload(self._device)
        self._clock = PartClock(self._device)
        self.applied = Applied(
            implementation=f"rf-cutie {importlib.metadata.version('rf-cutie')}",
            device=str(self._device),
            imgsz=self._imgsz,
            weights="random" if checkpoint is None else checkpoint.sha256,
            parameters=count_parameters(network),
            memory_frames=self._settings.mem_every * (self._settings.max_mem_frames - 1),
            notes=(
                "imgsz is the shorter side that frames are shrunk to; smaller frames run at their own size",
                f"memory of {self._settings.max_mem_frames} frames: the prompted one, and the last of every {self._settings.mem_every}th",
                "ResNets built without ImageNet's weights",
                "autocast off around logits on every device",
                *self._compiler.notes,
                *(() if checkpoint is None else checkpoint.notes),
            ),
        )
        self._stages = Stages(
            self,
            self._device,
            [
                StageHook(self, "_to_input", "resize_copy"),
                StageHook(network, "encode_image", "image_encoder"),
                StageHook(network, "transform_key", "image_encoder"),
                # includes the object transformer, which the memory calls
                StageHook(self, "_read_memory", "memory_attention"),
                StageHook(network, "segment", "mask_decoder"),
                StageHook(network, "encode_mask", "memory_encoder"),
                StageHook(self, "_at_video_resolution", "resize_copy"),
                StageHook(self._download, "begin", "resize_copy"),
            ],
            timed=options.stages,
        )
        self._clip: Clip | None = None
        self._core: Any = None
        self._next_index: int | None = None
        self._number_of: dict[int, int] = {}
        """By object id, in the order of prompting: what the package calls the object, counted from 1."""
        self._probabilities_nhw: torch.Tensor | None = None

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        """
        Raises:
            RunnerError: the frames are too small for the memory's reading.
        """
        self.close()
        height, width = self._input_size(clip)
        cells = -(-height // CUTIE_STRIDE) * -(-width // CUTIE_STRIDE)
        if cells < CUTIE_CELLS:
            raise RunnerError(
                f"cutie: frames of {clip.width}x{clip.height} have {cells} cells of {CUTIE_STRIDE} pixels at --imgsz {self._imgsz}, and "
                f"every pixel reads {CUTIE_CELLS}; use larger frames"
            )
        self._clip = clip
        self._core = InferenceCore(self._network, self._settings)
        self._core.memory = _Memory(self._core, self._stage_of_reading)

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Prompt objects as the protocol says; other known objects are tracked in this frame.

        Raises:
            RunnerError: no clip is open, no object is known or prompted, a prompt is no mask, of another size, empty, or of an object that
                is tracked already, or the frame is out of order.
        """
        clip = self._opened()
        if not prompts and not self._number_of:
            raise RunnerError("cutie: no object to track; give at least one prompt")
        for prompt in prompts:
            if prompt.mask_hw is None:
                raise RunnerError(f"cutie: takes masks alone, object {prompt.object_id} was prompted with {prompt.kind}; use cutie_mask")
            if prompt.mask_hw.shape != (clip.height, clip.width):
                raise RunnerError(
                    f"cutie: a mask of {prompt.mask_hw.shape} pixels for a clip of {(clip.height, clip.width)}; resize the mask"
                )
            if not prompt.mask_hw.any():
                raise RunnerError(f"cutie: the mask of object {prompt.object_id} is empty; prompt it on a frame that shows it")
            if prompt.object_id in self._number_of:
                raise RunnerError(f"cutie: object {prompt.object_id} is tracked already; prompt it once")
        return self._advance(frame_index, frame_hwc, prompts)

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        self._opened()
        if not self._number_of:
            raise RunnerError("cutie: prompt an object before tracking")
        return self._advance(frame_index, frame_hwc, ())

    def inspect(self) -> FrameReport:
        return FrameReport(
            parts_ms=self._clock.parts_ms(),
            finite=self._probabilities_nhw is None or bool(self._probabilities_nhw.isfinite().all()),
            stages_ms=self._stages.stages_ms(),
            compiled=self._compiler.report(),
        )

    def close(self) -> None:
        self._clip = None
        self._core = None
        self._next_index = None
        self._number_of = {}
        self._probabilities_nhw = None

    def _opened(self) -> Clip:
        if self._clip is None:
            raise RunnerError("cutie: open a clip before prompting")
        return self._clip

    def _advance(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        self._check_order(frame_index, frame_hwc)
        with torch.inference_mode(), replaced(torch.cuda.amp, "autocast", self._autocast):
            self._clock.start()
            image_chw = self._to_input(frame_hwc)
            self._clock.mark("preprocess_ms")
            if prompts:
                first = len(self._number_of) + 1
                self._number_of.update((prompt.object_id, first + index) for index, prompt in enumerate(prompts))
                numbers = [self._number_of[prompt.object_id] for prompt in prompts]
                output_nhw = self._core.step(image_chw, self._numbered(prompts), objects=numbers)
            else:
                output_nhw = self._core.step(image_chw)
            self._probabilities_nhw = output_nhw
            enlarged_nhw = self._at_video_resolution(output_nhw)
            self._clock.mark("model_ms")
            self._download.begin(most_probable(enlarged_nhw))
            self._clock.mark("output_ms")
            self._next_index = frame_index + 1
            return self._download.wait()

    def _check_order(self, frame_index: int, frame_hwc: Frame) -> None:
        clip = self._opened()
        if self._next_index is not None and frame_index != self._next_index:
            raise RunnerError(f"cutie: frame {self._next_index} was due and frame {frame_index} was fed; frames must be fed without a gap")
        if frame_index >= clip.num_frames:
            raise RunnerError(f"cutie: frame {frame_index} lies behind the end of the clip that was opened")
        if frame_hwc.shape != (clip.height, clip.width, 3):
            raise RunnerError(f"cutie: frame {frame_index} has shape {frame_hwc.shape}, the clip {(clip.height, clip.width, 3)}")

    def _input_size(self, clip: Clip) -> tuple[int, int]:
        """Height and width that frames are shrunk to, as `InferenceCore` computes them."""
        shorter = min(clip.height, clip.width)
        if shorter <= self._imgsz:
            return clip.height, clip.width
        return int(clip.height / shorter * self._imgsz), int(clip.width / shorter * self._imgsz)

    def _to_input(self, frame_hwc: Frame) -> torch.Tensor:
        """(3, height, width) float32 in 0 to 1 on the device, of the size that the model works at."""
        image_chw = torch.from_numpy(frame_hwc).to(self._device).permute(2, 0, 1).float().div(255)
        return self._resized(image_chw, self._input_size(self._opened()), mode="bilinear", align_corners=False)

    def _at_video_resolution(self, probabilities_nhw: torch.Tensor) -> torch.Tensor:
        clip = self._opened()
        return self._resized(probabilities_nhw, (clip.height, clip.width), mode="bilinear", align_corners=False)

    def _resized(self, image_nhw: torch.Tensor, size_hw: tuple[int, int], **how: Any) -> torch.Tensor:
        return image_nhw if image_nhw.shape[-2:] == size_hw else functional.interpolate(image_nhw[None], size=size_hw, **how)[0]

    def _numbered(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """The prompts as one image at the size of the input, (height, width) float32: each object's number where its mask is, else 0."""
        clip = self._opened()
        numbers_hw = np.zeros((clip.height, clip.width), np.float32)
        # the largest first, so that none covers a smaller one
        masks = [(prompt.mask_hw, self._number_of[prompt.object_id]) for prompt in prompts if prompt.mask_hw is not None]
        for mask_hw, number in sorted(masks, key=lambda mask: -int(mask[0].sum())):
            numbers_hw[mask_hw] = number
        on_device_hw = torch.from_numpy(numbers_hw).to(self._device)
        return self._resized(on_device_hw[None], self._input_size(clip), mode="nearest-exact")[0]

    def _stage_of_reading(self, read: Callable[..., Any], *args: Any) -> Any:
        return self._read_memory(read, *args)

    def _read_memory(self, read: Callable[..., Any], *args: Any) -> Any:
        """Gathers memories, compares them with the frame, and lets the object transformer attend to both."""
        return read(*args)


def most_probable(probabilities_nhw: torch.Tensor) -> torch.Tensor:
    """Where each object is more probable than the background and the other objects.

    Of equals the first counts, as with `argmax`, which is slow along the first axis on a CPU: 170 ms of a 1080p frame.

    Args:
        probabilities_nhw: (1 + objects, height, width), the background first.

    Returns:
        (objects, 1, height, width) bool.
    """
    best_hw = probabilities_nhw[0]
    above = []
    for probability_hw in probabilities_nhw[1:]:
        above.append(probability_hw > best_hw)
        best_hw = torch.maximum(best_hw, probability_hw)
    return (torch.stack(above) & (probabilities_nhw[1:] == best_hw))[:, None]


def _settings(model: str | None, num_maskmem: int | None) -> Any:
    """Upstream's evaluation settings.

    Args:
        model: name of the architecture's file in the package's settings.
        num_maskmem: frames in memory, the prompted one included; None means upstream's number.
    """
    folder = Path(cutie.__path__[0]) / "config"
    settings = OmegaConf.load(folder / "eval_config.yaml")
    settings.model = OmegaConf.load(folder / "model" / f"{model or 'base'}.yaml")
    settings.use_long_term = settings.datasets[DATASET].use_long_term
    settings.mem_every = settings.datasets[DATASET].mem_every
    if num_maskmem is not None:
        settings.max_mem_frames = num_maskmem
    return settings


def _untrained(original: Callable[..., Any]) -> Callable[..., Any]:
    """A backbone's constructor that downloads nothing."""

    @functools.wraps(original)
    def constructor(*_: Any, **kwargs: Any) -> Any:
        return original(**{**kwargs, "pretrained": False})

    return constructor
