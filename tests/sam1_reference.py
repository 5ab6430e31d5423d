"""SAM v1 as others wrote it, small: the authors' package and transformers' `SamModel`, with the same weights as this project's model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402

from runners.sam1.image_encoder import EncoderConfig  # noqa: E402
from runners.sam1.model import Sam1  # noqa: E402

TINY = EncoderConfig(depth=4, channels=64, heads=4, global_blocks=(1, 3), grid=8, window=3)
IMGSZ = TINY.grid * TINY.patch
HEIGHT, WIDTH = 72, 128
"""Of the tests' frames, which the model's preprocessing leaves at their size: places are the same in video and input."""

BoolMask = npt.NDArray[np.bool_]


def rectangle(x: int, y: int, width: int, height: int) -> BoolMask:
    mask_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask_hw[y : y + height, x : x + width] = True
    return mask_hw


def make_ours(seed: int = 0) -> Any:
    """The tiny model, with every parameter drawn at random: as built, normalisations and biases would hide mistakes."""
    torch.manual_seed(seed)
    model = Sam1(TINY, IMGSZ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model


def make_package(weights_of: Any) -> Any:
    """The same model from the package `segment-anything`, loaded strictly; skips where it is not installed."""
    package = pytest.importorskip("segment_anything.modeling", reason="needs the package segment-anything")
    model = package.Sam(
        image_encoder=package.ImageEncoderViT(
            img_size=IMGSZ,
            embed_dim=TINY.channels,
            depth=TINY.depth,
            num_heads=TINY.heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=TINY.window,
            global_attn_indexes=TINY.global_blocks,
        ),
        prompt_encoder=package.PromptEncoder(
            embed_dim=256, image_embedding_size=(TINY.grid, TINY.grid), input_image_size=(IMGSZ, IMGSZ), mask_in_chans=16
        ),
        mask_decoder=package.MaskDecoder(
            num_multimask_outputs=3,
            transformer=package.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    model.load_state_dict(weights_of.state_dict())
    return model.eval()


def make_transformers(weights_of: Any) -> Any:
    """The same model from transformers, loaded strictly; skips where it is not installed."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": TINY.channels,
            "num_hidden_layers": TINY.depth,
            "num_attention_heads": TINY.heads,
            "image_size": IMGSZ,
            "window_size": TINY.window,
            "global_attn_indexes": list(TINY.global_blocks),
        },
        prompt_encoder_config={"image_size": IMGSZ},
        # the library's default is not what the authors trained with
        mask_decoder_config={"layer_norm_eps": 1e-5},
        attn_implementation="eager",
    )
    model = transformers.SamModel(config)
    model.load_state_dict(transformers_names(weights_of.state_dict()))
    return model.eval()


def transformers_names(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict under the published names, under transformers' names."""
    renamed = {_transformers_name(name): value for name, value in state.items()}
    positions = renamed["prompt_encoder.shared_embedding.positional_embedding"]
    return {**renamed, "shared_image_embedding.positional_embedding": positions}


def _transformers_name(name: str) -> str:
    parts = (
        ("image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
        ("image_encoder.neck.0", "vision_encoder.neck.conv1"),
        ("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
        ("image_encoder.neck.2", "vision_encoder.neck.conv2"),
        ("image_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
        ("image_encoder.blocks", "vision_encoder.layers"),
        ("image_encoder", "vision_encoder"),
        ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
        ("point_embeddings", "point_embed"),
        ("mask_downscaling.0", "mask_embed.conv1"),
        ("mask_downscaling.1", "mask_embed.layer_norm1"),
        ("mask_downscaling.3", "mask_embed.conv2"),
        ("mask_downscaling.4", "mask_embed.layer_norm2"),
        ("mask_downscaling.6", "mask_embed.conv3"),
        ("output_upscaling.0", "upscale_conv1"),
        ("output_upscaling.1", "upscale_layer_norm"),
        ("output_upscaling.3", "upscale_conv2"),
        ("norm_final_attn", "layer_norm_final_attn"),
        (".norm", ".layer_norm"),
    )
    for old, new in parts:
        name = name.replace(old, new)
    if name.startswith(("mask_decoder.output_hypernetworks_mlps", "mask_decoder.iou_prediction_head")):
        name = name.replace("layers.0", "proj_in").replace("layers.2", "proj_out").replace("layers.1", "layers.0")
    return name
