"""EdgeTAM as transformers' `EdgeTamVideoModel`. Loads the official `edgetam.pt`.

Unlike the official predictor it accepts new objects while tracking.
"""

from __future__ import annotations

from typing import Any

import timm
from transformers import EdgeTamVideoConfig, EdgeTamVideoInferenceSession, EdgeTamVideoModel, EdgeTamVisionConfig, TimmWrapperConfig

from runners.base import BuildOptions
from runners.sizes import EDGETAM_STRIDE
from runners.transformers.corrections import Corrections
from runners.transformers.runner import ATTENTION, TransformersRunner


class _Model(Corrections, EdgeTamVideoModel):  # type: ignore[misc]
    pass


class EdgeTamTransformersRunner(TransformersRunner):
    name = "edgetam"
    model_class = _Model
    session_class = EdgeTamVideoInferenceSession

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        return _Model(_configuration(imgsz, postprocesses=options.postprocessing == "on"))

    def _implementation(self) -> str:
        return f"{super()._implementation()} (timm {timm.__version__})"

    def _notes(self) -> tuple[str, ...]:
        return ("memory features rounded to bfloat16, as the official predictor keeps them", *super()._notes())

    def _compile(self, options: BuildOptions) -> None:
        super()._compile(options)
        if options.compile == "full":
            self._compiler.compile_forward(self._model.spatial_perceiver)


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
        attn_implementation=ATTENTION,
    )
