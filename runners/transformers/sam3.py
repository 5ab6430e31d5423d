"""SAM 3's tracker (Carion et al. 2025) as transformers' `Sam3TrackerVideoModel`: points, boxes and masks; text prompts are the detector's.

Its weights are in the file that transformers publishes, `model.safetensors` of facebook/sam3, together with the detector's. The official
tracker computes on CUDA only and was not compared. Read in its code, it differs from this one in three points: it may choose memories by
predicted quality; it returns a mask prompt itself as the mask of the prompted frame; and it resizes a mask prompt to 16 times the feature
grid, where transformers resizes it to the size of the input. It fills no holes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoInferenceSession, Sam3TrackerVideoModel, Sam3ViTConfig

from runners.base import BuildOptions
from runners.preprocessing import FramePreprocessor
from runners.transformers.corrections import Corrections
from runners.transformers.runner import ATTENTION, TransformersRunner

IMAGE_ENCODER: dict[str, Any] = {}
"""Fields of `Sam3ViTConfig` that differ from the published model's, which are the library's defaults."""
MEAN = STD = 0.5
"""Of the values of a frame between 0 and 1."""


class _Model(Corrections, Sam3TrackerVideoModel):  # type: ignore[misc]
    fills_holes = False


class Sam3TransformersRunner(TransformersRunner):
    """Sizes of the input: multiples of 14."""

    name = "sam3"
    default_imgsz = 1008
    model_class = _Model
    session_class = Sam3TrackerVideoInferenceSession

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        return _Model(configuration(imgsz, postprocesses=options.postprocessing == "on"))

    def _preprocessor(self, imgsz: int) -> FramePreprocessor:
        unit_256 = (np.arange(256) / 255.0).astype(np.float32)
        table_256 = (unit_256 - np.float32(MEAN)) / np.float32(STD)
        return FramePreprocessor(imgsz, self._device, tables_c256=np.stack([table_256] * 3))

    def _notes(self) -> tuple[str, ...]:
        return (*super()._notes(), "memories are not chosen by predicted quality, as the official tracker may do")


def configuration(imgsz: int, *, postprocesses: bool) -> Sam3TrackerVideoConfig:
    """The published architecture at one input size, which the library passes on to every part."""
    image_encoder = Sam3ViTConfig(**IMAGE_ENCODER)
    return Sam3TrackerVideoConfig(
        vision_config={"model_type": "sam3_vision_model", "backbone_config": image_encoder.to_dict()},
        mask_decoder_config={"dynamic_multimask_via_stability": postprocesses},
        image_size=imgsz,
        attn_implementation=ATTENTION,
    )
