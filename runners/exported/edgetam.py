"""EdgeTAM's boundary: as SAM 2's, with memories that its spatial perceiver has made latents of.

A memory is t = 512 latents at every size of the input: 256 that each look at the whole feature map, then 256 in a grid of 16 x 16 windows.
The perceiver belongs to the stage `memory_encoder`. Only the latents of the grid have a place, so that only they are rotated in memory
attention. The predictor runs its objects as a batch of b; the graphs are of one object and run one after the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from runners.exported.boundary import SIGNATURES, Boundary, MemoryAttention, own_forward
from runners.exported.rope import Rotation, attend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runners.exported.boundary import StageFunction

_OBJECT_AXES = {"memories": 2, "memory_positions": 2, "pointers": 1, "pointer_positions": 1}
"""Dimension of the objects in a stage's input; 0 in all others. One that has a size of 1 there serves all objects."""


class _MemoryAttention(MemoryAttention):
    def counts(self, memories: torch.Tensor, pointers: torch.Tensor) -> dict[str, int]:
        return {**super().counts(memories, pointers), "num_spatial_mem": memories.shape[0]}


class _MemoryEncoder(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.encoder, self.perceiver = predictor.memory_encoder, predictor.spatial_perceiver

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = own_forward(self.encoder, features, mask, skip_mask_sigmoid=True)
        latents, _ = own_forward(self.perceiver, made["vision_features"], made["vision_pos_enc"][0])
        return (latents,)


class EdgeTamBoundary(Boundary):
    """Of the official EdgeTAM's predictor."""

    family = "edgetam"
    attention_stage = _MemoryAttention
    memory_stage = _MemoryEncoder

    def __init__(self, predictor: Any) -> None:
        super().__init__(predictor)
        # Upstream keeps the position encodings that it has computed. During an export they would be computed on tensors without values.
        with torch.inference_mode(mode=False), torch.no_grad():
            self._position_1tc = self._latents_position()
            neck = predictor.image_encoder.neck.position_encoding
            for factor in (1, 2, 4):
                neck(torch.zeros(1, 1, factor * self.grid, factor * self.grid, device=predictor.device))

    @property
    def memory_tokens(self) -> int:
        perceiver = self.predictor.spatial_perceiver
        return int(perceiver.num_latents + perceiver.num_latents_2d)

    def real_forwards(self) -> dict[type, Callable[[Any], Callable[..., torch.Tensor]]]:
        from sam2.modeling.sam.transformer import RoPEAttentionv2

        return {**super().real_forwards(), RoPEAttentionv2: partial(_real_forward, memory_tokens=self.memory_tokens)}

    def install(self, stages: Mapping[str, StageFunction]) -> None:
        super().install({name: _one_by_one(stage, SIGNATURES[name].inputs) for name, stage in stages.items()})
        # part of the memory encoder's graph
        self.predictor.spatial_perceiver.forward = lambda latents, position: (latents, position)

    def memory_positions(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda latents: self._position_1tc.to(latents.dtype).expand_as(latents)

    def _latents_position(self) -> torch.Tensor:
        """(1, t, d) float32: it depends on nothing that the perceiver is given."""
        cells = torch.zeros(1, self.predictor.mem_dim, self.grid, self.grid, device=self.predictor.device)
        with torch.autocast(cells.device.type, enabled=False):
            _, position_1tc = own_forward(self.predictor.spatial_perceiver, cells, self.predictor.memory_encoder.position_encoding(cells))
        return position_1tc


def _real_forward(attention: Any, memory_tokens: int) -> Callable[..., torch.Tensor]:
    """The `forward` of an attention whose keys are latents, in real numbers, with its own projections and angles."""
    device = attention.q_proj.weight.device
    turn_queries, turn_grid = Rotation(attention.freqs_cis_q, device), Rotation(attention.freqs_cis_k, device)
    unplaced = memory_tokens - len(attention.freqs_cis_k)

    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_k_exclude_rope: int, **_: Any) -> torch.Tensor:
        def turn_keys(k: torch.Tensor) -> torch.Tensor:
            end = k.shape[-2] - num_k_exclude_rope
            memories = k[:, :, :end].unflatten(2, (-1, memory_tokens))
            turned = torch.cat([memories[:, :, :, :unplaced], turn_grid(memories[:, :, :, unplaced:])], dim=3)
            return torch.cat([turned.flatten(2, 3), k[:, :, end:]], dim=2)

        return attend(attention, q, k, v, turn_queries, turn_keys)

    return forward


def _one_by_one(stage: StageFunction, inputs: tuple[str, ...]) -> StageFunction:
    """A stage of one object as one of any number.

    Args:
        inputs: names of its inputs.
    """
    axes = [_OBJECT_AXES.get(name, 0) for name in inputs]

    def forward(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = list(zip(tensors, axes, strict=True))
        objects = max(tensor.shape[axis] for tensor, axis in pairs)
        if objects == 1:
            return stage(*tensors)
        made = [
            stage(*(tensor.narrow(axis, index, 1) if tensor.shape[axis] > 1 else tensor for tensor, axis in pairs))
            for index in range(objects)
        ]
        return tuple(torch.cat(outputs) for outputs in zip(*made, strict=True))

    return forward
