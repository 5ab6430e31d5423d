"""SAM 2.1 as transformers' `Sam2VideoModel`: tiny, small, base+, large, and our nano, from a checkpoint in either format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoInferenceSession, Sam2VideoModel, Sam2VisionConfig

from runners import SHIPPED_WEIGHTS
from runners.base import BuildOptions, RunnerError
from runners.transformers.corrections import Corrections
from runners.transformers.runner import ATTENTION, TransformersRunner

STRIDE = 16
"""Pixels of the input per cell of the feature grid that the memory attention works on."""


class _Model(Corrections, Sam2VideoModel):  # type: ignore[misc]
    pass


@dataclass(frozen=True)
class Widths:
    """Where the sizes of SAM 2.1 differ, and where our nano differs from all of them."""

    embed_dim: int
    heads: int
    stages: tuple[int, ...]
    global_blocks: tuple[int, ...]
    background: tuple[int, int] = (7, 7)
    """Size of the position embedding that is interpolated over the image."""
    windows: tuple[int, ...] = (8, 4, 14, 7)
    pools: int = 3
    """Number of stages that halve the resolution."""
    top_down: tuple[int, ...] = (2, 3)
    """Levels of the feature pyramid that receive a coarser one."""
    hidden: int = 256
    memory_channels: int = 64
    memory_layers: int = 4
    memory_feedforward: int = 2048
    fuser_layers: int = 2


PUBLISHED = {
    "sam2.1_hiera_t": Widths(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "sam2.1_hiera_s": Widths(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "sam2.1_hiera_b+": Widths(112, 2, (2, 3, 16, 3), (12, 16, 20), (14, 14)),
    "sam2.1_hiera_l": Widths(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}
"""By the stem of the official configuration, which is not there where the official package is not installed."""


class Sam2TransformersRunner(TransformersRunner):
    """`options.config` names the size, as for the official predictor. Sizes of the input: multiples of 32."""

    name = "sam2"
    model_class = _Model
    session_class = Sam2VideoInferenceSession

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        if options.config is None:
            raise RunnerError("sam2: no configuration was named")
        widths = widths_of(options.config)
        model = _Model(configuration(widths, imgsz, postprocesses=options.postprocessing == "on"))
        if widths.memory_channels != 64:
            _read_memories_of(model, widths)
        return model


def widths_of(config: str) -> Widths:
    """
    Args:
        config: an official configuration's name, or that of one of ours.

    Raises:
        RunnerError: neither.
    """
    own = SHIPPED_WEIGHTS / config
    if own.is_file():
        return widths_in(yaml.safe_load(own.read_text(encoding="utf-8"))["model"])
    if Path(config).stem not in PUBLISHED:
        raise RunnerError(f"sam2: transformers has no {config}; use {', '.join(PUBLISHED)} or --implementation official")
    return PUBLISHED[Path(config).stem]


def widths_in(model: dict[str, Any]) -> Widths:
    """The widths of an official configuration.

    Args:
        model: what it holds under `model`; a width left out is that of the official classes.
    """
    trunk, neck, memory = model["image_encoder"]["trunk"], model["image_encoder"]["neck"], model["memory_attention"]
    return Widths(
        embed_dim=trunk["embed_dim"],
        heads=trunk["num_heads"],
        stages=tuple(trunk.get("stages", (2, 3, 16, 3))),
        global_blocks=tuple(trunk.get("global_att_blocks", (12, 16, 20))),
        background=tuple(trunk.get("window_pos_embed_bkg_spatial_size", (14, 14))),
        windows=tuple(trunk.get("window_spec", (8, 4, 14, 7))),
        pools=trunk.get("q_pool", 3),
        top_down=tuple(neck["fpn_top_down_levels"]),
        hidden=neck["d_model"],
        memory_channels=model["memory_encoder"]["out_dim"],
        memory_layers=memory["num_layers"],
        memory_feedforward=memory["layer"]["dim_feedforward"],
        fuser_layers=model["memory_encoder"]["fuser"]["num_layers"],
    )


def configuration(widths: Widths, imgsz: int, *, postprocesses: bool) -> Sam2VideoConfig:
    """The official model's architecture at one input size; the library's defaults are SAM 2.1 tiny at 1024 pixels."""
    grid = imgsz // STRIDE
    dims = [widths.embed_dim * 2**stage for stage in range(len(widths.stages))]
    trunk = Sam2HieraDetConfig(
        hidden_size=widths.embed_dim,
        num_attention_heads=widths.heads,
        image_size=[imgsz, imgsz],
        window_positional_embedding_background_size=list(widths.background),
        num_query_pool_stages=widths.pools,
        blocks_per_stage=list(widths.stages),
        embed_dim_per_stage=dims,
        num_attention_heads_per_stage=[widths.heads * 2**stage for stage in range(len(widths.stages))],
        window_size_per_stage=list(widths.windows),
        global_attention_blocks=list(widths.global_blocks),
    )
    return Sam2VideoConfig(
        image_size=imgsz,
        vision_config=Sam2VisionConfig(
            backbone_config=trunk,
            backbone_channel_list=dims[::-1],
            backbone_feature_sizes=[[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
            fpn_hidden_size=widths.hidden,
            fpn_top_down_levels=list(widths.top_down),
        ),
        prompt_encoder_config={"image_size": imgsz, "hidden_size": widths.hidden},
        mask_decoder_config={"dynamic_multimask_via_stability": postprocesses, "hidden_size": widths.hidden},
        memory_attention_hidden_size=widths.hidden,
        memory_attention_num_layers=widths.memory_layers,
        memory_attention_feed_forward_hidden_size=widths.memory_feedforward,
        memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=widths.hidden,
        memory_encoder_output_channels=widths.memory_channels,
        mask_downsampler_embed_dim=widths.hidden,
        memory_fuser_num_layers=widths.fuser_layers,
        memory_fuser_embed_dim=widths.hidden,
        memory_fuser_intermediate_dim=4 * widths.hidden,
        attn_implementation=ATTENTION,
    )


def _read_memories_of(model: Any, widths: Widths) -> None:
    """Make the memory attention read memories of another width than 64, which transformers hard-codes."""
    for layer in model.memory_attention.layers:
        for name in ("k_proj", "v_proj"):
            setattr(layer.cross_attn_image, name, torch.nn.Linear(widths.memory_channels, widths.hidden))
