"""The interface between the benchmark and every model family.

A runner tracks the objects of one clip at a time, frame by frame: the caller decodes a frame, passes it as RGB uint8 in host memory, and
receives bool masks at video resolution in host memory. That is the timed region, the same for every family; the caller decodes, scores and
draws. Runners know nothing of datasets, scores or CSV.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
"""One decoded frame, (height, width, 3), RGB, uint8, in host memory."""

Masks = npt.NDArray[np.bool_]
"""Masks of all objects on one frame, (objects, height, width), bool, in host memory."""

PromptKind = Literal["points", "bbox", "mask"]

CompileScope = Literal["off", "encoder", "full"]

MemoryMode = Literal["bounded", "upstream"]

MemorySelection = Literal["latest", "samurai"]

Implementation = Literal["auto", "official", "transformers"]

Between = Literal["flow", "hold"]
"""What gives the masks of frames that the model does not see: optical flow, or the last masks as they are."""

FrameKind = Literal["key", "between", ""]
"""With keyframes: whether the model saw the frame. Empty: without keyframes."""

PART_MEANINGS = {
    "preprocess_ms": "resize, normalise, upload",
    "model_ms": "the model, with the upscaling of its logits to video resolution",
    "output_ms": "threshold and copy to the host, and the rest of the call",
}
PARTS = tuple(PART_MEANINGS)
"""The parts of every runner's call, in this order; see `FrameReport.parts_ms`."""

STAGE_MEANINGS = {
    "image_encoder": "the image encoder",
    "memory_attention": "gathering memories and attending to them",
    "mask_decoder": "prompt encoder and mask decoder, up to masks at the size of the model's input",
    "memory_encoder": "making a memory of the frame; of EdgeTAM with its perceiver",
    "resize_copy": "resizing the frame, upscaling the masks, and copying both",
    "hole_filling": "filling small holes in the masks",
    "other": "the rest, the tracker's bookkeeping; of `flow` the optical flow, of SAM v1 also finding the box and point of the last mask",
}
STAGES = tuple(STAGE_MEANINGS)
"""The stages that a call can have; see `FrameReport.stages_ms`."""
MODEL_STAGES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
"""Those that the model computes."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class RunnerError(RuntimeError):
    """A model cannot do what the options or the caller request; the message says what to do instead."""


@dataclass(frozen=True)
class Prompt:
    """The prompt of one object on one frame.

    Exactly one of the three forms is set, the one that `kind` names. Coordinates are pixels of the video: x is the column, y the row,
    0 is the first pixel; a box is (x_min, y_min, x_max, y_max) including the last pixel, as SAM 2's own `mask_to_box` returns it.
    """

    object_id: int
    kind: PromptKind
    points_n2: npt.NDArray[np.float32] | None = None
    """(n, 2) positive clicks, x then y."""
    box_4: npt.NDArray[np.float32] | None = None
    mask_hw: npt.NDArray[np.bool_] | None = None
    """(height, width) at video resolution."""

    def __post_init__(self) -> None:
        given = {"points": self.points_n2, "bbox": self.box_4, "mask": self.mask_hw}
        if [kind for kind, value in given.items() if value is not None] != [self.kind]:
            raise ValueError(f"a {self.kind} prompt must set {self.kind} and no other form")


@dataclass(frozen=True)
class Clip:
    """Facts of a clip that trackers need before its first frame."""

    name: str
    num_frames: int
    """Number of frames fed, or an upper bound: a run at a camera's rate does not know how many it will drop."""
    height: int
    width: int
    frame_files: tuple[Path, ...] | None = None
    """The JPEGs that are fed, in order, for `BuildOptions.memory` upstream; None if the frames are not separate files."""


@dataclass(frozen=True)
class BuildOptions:
    """What a runner is built from. `weights` is None for random weights, which `seed` determines, and for models without weights."""

    device: str = "cpu"
    imgsz: int | None = None
    """Side of the model's square input in pixels; None for models that work at video resolution."""
    weights: Path | None = None
    seed: int = 0
    config: str | None = None
    """The family's own name for the architecture, for example a Hydra config."""
    num_maskmem: int | None = None
    """Number of memories that the memory attention reads, the prompted frame's included; None means the model's default."""
    relative_attention: str = "auto"
    """How SAM v1 computes relative positions: a method of `attention.relative_position`. Other families ignore it."""
    move_with_flow: bool = False
    """Move SAM v1's mask along optical flow before it becomes the next prompt. Other families ignore it."""
    source_dir: Path | None = None
    """Upstream checkout to import the code from; None means the installed package."""
    implementation: Implementation = "auto"
    """Of models that have two: their authors' code, or the package transformers; `auto` takes the authors' where it is found."""
    stages: bool = False
    """Report the time of each stage of a call, which adds hooks around the stages."""
    compile: CompileScope = "off"
    """What `torch.compile` compiles: nothing, the image encoder, or every part of the model that takes time."""
    compile_mode: str | None = None
    """Mode of `torch.compile`; None means upstream's if upstream compiles itself, else torch's default."""
    runtime: str = "torch"
    """What runs the model's stages, one of `runners.exported.RUNTIMES`. Families without exported stages take `torch` alone."""
    autocast_dtype: str = "float32"
    """dtype of the graphs of another runtime than torch; torch itself follows the caller's autocast."""
    exported_dir: Path | None = None
    """Folder of exported graphs; None means the user's cache."""
    calibration: Callable[[], Sequence[Frame]] | None = None
    """Gives frames to calibrate a runtime with int8 on; None: there are none."""
    say: Callable[[str], None] = _say
    """Told what takes long while the model is built."""
    postprocessing: Literal["on", "off"] = "on"
    """SAM 2 and EdgeTAM: upstream's `apply_postprocessing`. On: its predictors fill small holes in masks, use the best of three masks if
    the single one is not stable, and encode prompted frames' masks as 0 and 1. Upstream's own evaluation runs with it off."""
    keyframe: str = ""
    """`K:flow` or `K:hold`, K from 2 on: the model runs on every Kth frame only, see `runners.keyframe`. Empty: on every frame."""
    memory: MemoryMode = "bounded"
    """`bounded`: prepare a frame when it is fed and drop outputs that no later frame reads. `upstream`: as the official SAM 2 and EdgeTAM
    do, prepare all frames when the clip is opened and keep every output to its end; other runners refuse it."""
    memory_selection: MemorySelection = "latest"
    """SAM 2's official predictor: which frames memory attention reads besides the prompted ones. `latest`: the last ones, as upstream.
    `samurai`: the last good ones, and among three masks motion counts too (`runners.motion_memory`)."""


@dataclass(frozen=True)
class RuntimeReport:
    """What runs a model's stages as exported graphs."""

    version: str
    """Package and version, for example `onnxruntime 1.23.0`."""
    placement: str
    """Number of nodes of each stage by what runs them, for example `image_encoder CUDA 212 | ...`."""
    difference: str
    """Largest difference of each stage from torch's in float32, on noise and relative to the largest value: `image_encoder 9e-07 | ...`."""
    folder: Path
    """Where the graphs are kept."""
    export_s: float
    """Seconds that exporting took, in this process or when the graphs were put into the cache."""
    load_s: float
    """Seconds until the graphs could run: reading, optimising, and on TensorRT building engines."""
    size_mib: float
    """Size of the graphs' files, or of the engines."""


@dataclass(frozen=True)
class Applied:
    """What the built runner uses, for the caller to compare with what was requested."""

    implementation: str
    """Package and version that ran, for example `sam2 1.1.0` or `transformers 5.2.0 EdgeTamVideoModel`."""
    device: str
    imgsz: int | None
    weights: str
    """sha256 of the loaded file in hex; `random`; or `none` for models without weights."""
    parameters: int = 0
    """Number of parameters."""
    hole_filling: Literal["cuda", "opencv", "off"] = "off"
    """What labels the small holes in masks to fill: upstream's CUDA extension or OpenCV. `off`: none are filled."""
    memory_frames: int = 0
    """Earlier frames that the tracker reads at most: until then, a frame's work grows with every frame. 0 without such a memory."""
    takes_late_objects: bool = True
    """Whether an object can be prompted while others are being tracked."""
    notes: tuple[str, ...] = ()
    """Every adjustment made to upstream at run time, as text."""
    runtime: RuntimeReport | None = None
    """None if torch runs every stage."""


@dataclass(frozen=True)
class CompileReport:
    """What `torch.compile` has done since the model was built."""

    mode: str
    """The mode applied; several, separated by spaces, if upstream compiles parts with different modes."""
    graphs: int = 0
    """Number of graphs compiled; while it rises, the model is not warm."""
    recompilations: int = 0
    """How many of these graphs recompile code, for example for another number of memories."""
    compile_ms: float = 0.0
    """Time of the calls that compiled something, including their first run."""
    graph_breaks: int = 0
    """Places where a compiled part returns to Python."""
    replays_graphs: bool = False
    """Whether compiled parts are recorded as CUDA graphs and replayed, so that their operators are no longer called."""
    fallback: str = ""
    """Parts that run uncompiled although compilation was requested, and why; empty if there are none."""


@dataclass(frozen=True)
class FrameReport:
    """Facts about the last call of `prompt` or `track`. Reading it is not timed."""

    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each part of the call, by the names in `PARTS`."""
    finite: bool = True
    """False if the model's output contains NaN or infinite numbers."""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """With `BuildOptions.stages`, milliseconds of the call by stage, in the order of `STAGES`; else empty. They sum to the call: a stage
    inside another counts once, as itself, and `other` is the rest. A stage that the family does not have is absent; one that this call did
    not use is 0."""
    objects_ms: tuple[float, ...] = ()
    """If the family tracks the objects of a frame one after the other: each object's own milliseconds, in the order of prompting, without
    the image encoder and work done for all at once (upscaling to video resolution, copying). Empty if the objects form a batch, or for one
    object. On a frame that prompts an object, its own time does not include its memory encoder."""
    object_scores: tuple[float, ...] = ()
    """The model's estimate of each object's presence on the frame, as a logit (above 0: visible), in the order of prompting. Empty if the
    model has none."""
    compiled: CompileReport | None = None
    """None if no compilation was requested."""
    kind: FrameKind = ""
    resize: str = ""
    """What resized the frame, and the Pillow release whose result it equals: `exact on cuda, as pillow 13.0.0` is this project's own
    computation, `pillow 13.0.0` is Pillow itself. Empty if no Pillow filter resizes frames."""


class VideoRunner(Protocol):
    """One model, built once, that serves one clip after another.

    The constructor takes `BuildOptions`. Call order for a clip: `open`, `prompt`, `track` for every frame after the prompt without a gap,
    `close`. `prompt` may be called again on a later frame, instead of `track`, to add objects if the family supports it. Frame indices
    count the frames fed, not the frames of the video.
    """

    applied: Applied

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        """Prepare for a clip. `first_frame_hwc` is frame 0, which some trackers read even if the prompt is on a later frame."""

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Add prompts on this frame. Returns the masks of all objects prompted so far on it, in the order of prompting.

        Raises:
            RunnerError: the family does not support this prompt.
        """

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        """Track all objects in this frame. Returns once the masks are in host memory and the device is idle."""

    def inspect(self) -> FrameReport:
        """Report on the last `prompt` or `track`."""

    def close(self) -> None:
        """Free everything that belongs to the clip; the model stays. May be called at any time, also repeatedly."""
