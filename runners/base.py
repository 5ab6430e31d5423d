"""What every model family offers to the benchmark, and what it is given.

A runner tracks the objects of one clip at a time. It is driven frame by frame: the caller decodes a frame, hands it over as RGB uint8
in host memory, and gets boolean masks at video resolution in host memory back. That is the timed region, the same for every family;
decoding, scoring and drawing are the caller's business. Runners know nothing of datasets, scores or CSV.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

PART_MEANINGS = {
    "preprocess_ms": "resize, normalise, upload",
    "model_ms": "the model, with the upscaling of its logits to video resolution",
    "output_ms": "threshold and copy to the host, and the rest of the call",
}
PARTS = tuple(PART_MEANINGS)
"""What every runner's call consists of, in this order, see `FrameReport.parts_ms`."""

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
"""What the time of a call can go to, see `FrameReport.stages_ms`."""


class RunnerError(RuntimeError):
    """A model cannot do what was asked; the message says what to do instead."""


@dataclass(frozen=True)
class Prompt:
    """What the tracker is told about one object on one frame.

    Exactly one of the three forms is set, the one that `kind` names. Coordinates are pixels of the video: x is the column, y the row,
    0 is the first pixel; a box is (x_min, y_min, x_max, y_max) with the last pixel included, as SAM 2's own `mask_to_box` gives it.
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
            raise ValueError(f"a {self.kind} prompt carries its {self.kind} and nothing else")


@dataclass(frozen=True)
class Clip:
    """Facts of a clip that trackers need before its first frame."""

    name: str
    num_frames: int
    """Frames that are fed, or more: a run at a camera's pace does not know how many it will pass over."""
    height: int
    width: int
    frame_files: tuple[Path, ...] | None = None
    """The JPEGs that are fed, in their order, for `BuildOptions.memory` upstream; None where the frames are not in files of their own."""


@dataclass(frozen=True)
class BuildOptions:
    """What a runner is built from. `weights` is None for random weights (then `seed` fixes them) and for models without any."""

    device: str = "cpu"
    imgsz: int | None = None
    """Side of the model's square input in pixels; None for models that work at video resolution."""
    weights: Path | None = None
    seed: int = 0
    config: str | None = None
    """The family's own name for the architecture, for example a Hydra config."""
    num_maskmem: int | None = None
    """Memories that the memory attention sees, the prompted frame's included; None takes the model's own."""
    relative_attention: str = "auto"
    """How SAM v1 computes its relative positions, a method of `attention.relative_position`; other families have none."""
    move_with_flow: bool = False
    """Move SAM v1's mask along optical flow before it becomes the next prompt; other families do not prompt themselves."""
    source_dir: Path | None = None
    """Upstream checkout to take the code from; None takes the installed package."""
    stages: bool = False
    """Report the time of each stage of a call, which costs hooks around them."""
    compile: CompileScope = "off"
    """What `torch.compile` is applied to: nothing, the image encoder, or every part of the model that takes time."""
    compile_mode: str | None = None
    """Mode of `torch.compile`; None takes upstream's, where upstream compiles itself, or torch's default."""
    postprocessing: Literal["on", "off"] = "on"
    """SAM 2 and EdgeTAM: upstream's `apply_postprocessing`. On: its predictors fill small holes in masks, fall back to the best of three
    masks where the single one is not stable, and encode prompted frames' masks as 0 and 1. Off is how its own evaluation runs."""
    memory: MemoryMode = "bounded"
    """`bounded`: a frame is prepared when it is fed, and what no later frame reads is forgotten. `upstream`: as the official SAM 2 and
    EdgeTAM do it, all frames are prepared when the clip is opened and everything is kept to its end; other runners refuse."""


@dataclass(frozen=True)
class Applied:
    """What was really used, for the caller to compare with what was asked."""

    implementation: str
    """Package and version that ran, for example `sam2 1.1.0` or `transformers 5.2.0 EdgeTamVideoModel`."""
    device: str
    imgsz: int | None
    weights: str
    """sha256 of the file whose bytes were loaded, in hex; `random`, or `none` for models without any."""
    parameters: int = 0
    """Number of parameters."""
    hole_filling: Literal["cuda", "opencv", "off"] = "off"
    """What labels the small holes in masks that are filled: upstream's CUDA extension or OpenCV. `off`: none are filled."""
    takes_late_objects: bool = True
    """Whether an object can be prompted while others are tracked."""
    notes: tuple[str, ...] = ()
    """Every adjustment made to upstream at run time, in words."""


@dataclass(frozen=True)
class CompileReport:
    """What `torch.compile` has done since the model was built."""

    mode: str
    """The mode that was applied; several, separated by a space, where upstream compiles one part with another."""
    graphs: int = 0
    """Graphs compiled; while it rises, the model is not warm."""
    recompilations: int = 0
    """Those of them that were compiled for code that had been compiled before, as for another number of memories."""
    compile_ms: float = 0.0
    """Time of the calls in which something was compiled, their own first run included."""
    graph_breaks: int = 0
    """Places where a compiled part goes back to Python."""
    replays_graphs: bool = False
    """Whether the compiled parts are recorded as CUDA graphs and replayed, so that no operator of theirs is called any more."""
    fallback: str = ""
    """Parts that run uncompiled although they were to be compiled, and why. Empty: none."""


@dataclass(frozen=True)
class FrameReport:
    """About the last call of `prompt` or `track`; asking for it is not timed."""

    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """Parts of the call, by the names of `PARTS`."""
    finite: bool = True
    """False where NaN or infinite numbers were found in what the model put out."""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """With `BuildOptions.stages`, the call by stage, in the order of `STAGES`; empty otherwise. They follow each other without a gap: a
    stage within another counts once, as itself, and `other` is what lies in none, so that they sum to the call. A stage that the family
    does not have is absent; one that this call had no use for is 0."""
    objects_ms: tuple[float, ...] = ()
    """Where a family tracks the objects of a frame one after the other: the time of each that is its own, in the order of prompting,
    without the image encoder and what is done for all at once (upscaling to video resolution, copying). Empty where they go through the
    model together, and where there is one. On a frame that prompts an object, its memory encoder is missing from its own time."""
    compiled: CompileReport | None = None
    """None where nothing was to be compiled."""
    resize: str = ""
    """What resized the frame, and the Pillow whose result it gives: `exact on cuda, as pillow 13.0.0` is this project's own computation,
    `pillow 13.0.0` Pillow itself. Empty where no frame is resized by a filter of Pillow's."""


class VideoRunner(Protocol):
    """One model, built once, that serves one clip after another.

    The constructor takes `BuildOptions`. Order of calls for a clip: `open`, `prompt`, `track` for every frame after the prompt without a
    gap, `close`. `prompt` may be called again on a later frame, in place of `track` for that frame, to add objects where the family can.
    Frame indices count the frames that are fed, whatever their numbers in the video.
    """

    applied: Applied

    def open(self, clip: Clip, first_frame_hwc: Frame) -> None:
        """Prepare for a clip. `first_frame_hwc` is frame 0, which some trackers look at whatever frame the prompt is on."""

    def prompt(self, frame_index: int, frame_hwc: Frame, prompts: Sequence[Prompt]) -> Masks:
        """Take the prompts on this frame and return the masks of all objects known so far on it, in the order they were prompted.

        Raises:
            RunnerError: the family does not take this prompt.
        """

    def track(self, frame_index: int, frame_hwc: Frame) -> Masks:
        """Track into this frame. Returns when the masks are in host memory and the device is idle."""

    def inspect(self) -> FrameReport:
        """Report on the last `prompt` or `track`."""

    def close(self) -> None:
        """Forget the clip and free what it held; the model stays. May be called at any time, also twice."""
