"""Weights for transformers' SAM 2.1, EdgeTAM and SAM 3, from files under the official names or under transformers' own.

Both implementations hold the same parameters under different names, and some groups in another shape: the four point embeddings are four
tensors officially and one in transformers, the keys and values of the attention in EdgeTAM's perceiver are one matrix officially and two in
transformers, and transformers stores the matrix of random spatial frequencies twice. The conversion is done in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from runners.checkpoints import OF_TRANSFORMERS, Checkpoint, refuse_misfits, same_kind


@dataclass(frozen=True)
class Source:
    """Source of one transformers key's tensor in the official state dict."""

    keys: tuple[str, ...]
    """Official keys; several are stacked along dimension 0."""
    half: Literal[0, 1] | None = None
    """Which half along dimension 0 to take; None takes all."""


def _downsampler_layer(match: re.Match[str]) -> str:
    # The official model puts convolution, norm and activation of all layers in one nn.Sequential.
    return f"mask_downsampler.encoder.{3 * int(match[1]) + (match[2] == 'layer_norm')}."


# transformers' names to official names. Applied in order, so the order within a group matters.
_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # image encoder
    (r"^vision_encoder\.backbone\.timm_model\.", "image_encoder.trunk.body."),
    (r"^vision_encoder\.backbone\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"(trunk\.blocks\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
    (r"(trunk\.blocks\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    # single parameters
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    # prompt encoder
    (r"^(?:prompt_encoder\.shared_embedding|shared_image_embedding)\.positional_embedding$",
     "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    # mask decoder
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    # two-layer perceptrons, then three-layer ones
    (r"(transformer\.layers\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
    (r"(transformer\.layers\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    (r"(_mlps\.\d+|_head|^obj_ptr_proj)\.layers\.0\.", r"\1.layers.1."),
    (r"\.proj_in\.", ".layers.0."),
    (r"\.proj_out\.", ".layers.2."),
    # memory encoder
    (r"mask_downsampler\.layers\.(\d+)\.(conv|layer_norm)\.", _downsampler_layer),
    (r"mask_downsampler\.final_conv\.", "mask_downsampler.encoder.12."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.layer_norm\.", r"\1.norm."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    # perceiver
    (r"^spatial_perceiver\.latents_1d$", "spatial_perceiver.latents"),
    (r"^(spatial_perceiver|memory_attention)\.layer_norm\.", r"\1.norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.cross_attention\.", r"\1.attn."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attention\.", r"\1.self_attn."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_input\.", r"\1.attn.norm_x."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_latents\.", r"\1.attn.norm_latents."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_self\.", r"\1.self_attn.norm."),
    (r"^(spatial_perceiver\.layers\.\d+\.(?:self_)?)mlp\.layer_norm\.", r"\1ff.0."),
    (r"^(spatial_perceiver\.layers\.\d+\.(?:self_)?)mlp\.up_proj\.", r"\1ff.1."),
    (r"^(spatial_perceiver\.layers\.\d+\.(?:self_)?)mlp\.down_proj\.", r"\1ff.3."),
    (r"^(spatial_perceiver\..*)\.q_proj\.", r"\1.to_q."),
    (r"^(spatial_perceiver\..*)\.o_proj\.", r"\1.to_out."),
    # attention and norms of the mask decoder and the memory attention
    (r"\.o_proj\.", ".out_proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.up_proj\.", r"\1.linear1."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.down_proj\.", r"\1.linear2."),
)  # fmt: skip

_TWINS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
"""One matrix under two names; a file of transformers may have left one out."""
_TRACKER_OF_SAM3 = (
    (r"^detector_model\.vision_encoder\.backbone\.", "vision_encoder.backbone."),
    (r"^tracker_neck\.", "vision_encoder.neck."),
    (r"^tracker_model\.", ""),
)
_POINT_EMBEDDINGS = "sam_prompt_encoder.point_embed.weight"
_PERCEIVER_KEY_OR_VALUE = re.compile(r"^(spatial_perceiver\..*)\.([kv])_proj\.")


def source_of(key: str) -> Source:
    """Official source of a transformers key, for example `mask_decoder.iou_token.weight`: `sam_mask_decoder.iou_token.weight`."""
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    if key == _POINT_EMBEDDINGS:
        return Source(tuple(f"sam_prompt_encoder.point_embeddings.{label}.weight" for label in range(4)))
    if match := _PERCEIVER_KEY_OR_VALUE.match(key):
        return Source((f"{match[1]}.to_kv.{key[match.end() :]}",), half=0 if match[2] == "k" else 1)
    return Source((key,))


def loadable(checkpoint: Checkpoint, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a file under the names of transformers' model, whichever names the file has.

    Args:
        checkpoint: an official checkpoint, or a model as transformers publishes it.
        wanted: the state dict of the transformers model, for its names and shapes.

    Raises:
        RunnerError: tensors are missing, unused, or of the wrong shape or type; the message gives their names in the file.
    """
    if any(name.startswith(OF_TRANSFORMERS) for name in checkpoint.state):
        sources, state = {key: Source((key,)) for key in wanted}, _tracker_of(checkpoint.state)
        given = [key for key in _TWINS if key in state]
        if given:
            state = {**dict.fromkeys(_TWINS, state[given[0]]), **state}
    else:
        sources, state = {key: source_of(key) for key in wanted}, checkpoint.state
    return _converted(state, sources, wanted, checkpoint.path)


def is_tracked_with(name: str) -> bool:
    """Whether a tensor of a SAM 3 file belongs to the tracker, not to the detector alone. True for other models' names."""
    return not _own_name(name).startswith("detector_model.")


def _own_name(name: str) -> str:
    for pattern, replacement in _TRACKER_OF_SAM3:
        name = re.sub(pattern, replacement, name)
    return name


def _tracker_of(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tracker of a SAM 3 file, which also holds the detector; the two share the backbone. Other files are returned as they are."""
    return {_own_name(name): value for name, value in state.items() if is_tracked_with(name)}


def _converted(
    official: Mapping[str, torch.Tensor], sources: Mapping[str, Source], wanted: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    used = {name for source in sources.values() for name in source.keys}
    faults = {
        "missing": sorted(used - official.keys()),
        "unexpected": sorted(official.keys() - used),
        "of another shape": sorted(
            name
            for key, source in sources.items()
            for name in source.keys
            if name in official and official[name].shape != _official_shape(wanted[key], source)
        ),
        "of another type": sorted(
            name
            for key, source in sources.items()
            for name in source.keys
            if name in official and not same_kind(wanted[key], official[name])
        ),
    }
    refuse_misfits(faults, path)
    converted = {}
    for key, source in sources.items():
        whole = torch.cat([official[name] for name in source.keys]) if len(source.keys) > 1 else official[source.keys[0]]
        converted[key] = whole if source.half is None else whole.chunk(2)[source.half]
    return converted


def _official_shape(wanted: torch.Tensor, source: Source) -> torch.Size:
    shape = list(wanted.shape)
    if source.half is not None:
        shape[0] *= 2
    elif len(source.keys) > 1:
        shape[0] //= len(source.keys)
    return torch.Size(shape)
