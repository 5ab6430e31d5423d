"""Rotary position encoding in real numbers, for export: upstream multiplies complex numbers, which ONNX does not have.

A pair of channels (a, b) at an angle t becomes (a cos t - b sin t, a sin t + b cos t), which is upstream's complex product written out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from runners.torch_common import all_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


def real_rope(
    module: torch.nn.Module, forwards: Mapping[type, Callable[[Any], Callable[..., torch.Tensor]]]
) -> AbstractContextManager[None]:
    """Let every rotary attention inside `module` compute in real numbers while the block runs.

    Args:
        forwards: for each class of them, what makes the `forward` of one.
    """
    return all_replaced(
        (attention, "forward", forward_of(attention))
        for attention in module.modules()
        for kind, forward_of in forwards.items()
        if isinstance(attention, kind)
    )


def real_forward(attention: Any, grid: int) -> Callable[..., torch.Tensor]:
    """The `forward` of upstream's RoPEAttention, with its own projections and angles.

    Args:
        grid: side in cells of the feature map that queries come from; keys of a memory have as many cells per frame.
    """
    turn = Rotation(attention.compute_cis(end_x=grid, end_y=grid), attention.q_proj.weight.device)

    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_k_exclude_rope: int = 0) -> torch.Tensor:
        def turn_keys(k: torch.Tensor) -> torch.Tensor:
            rotated = k.shape[-2] - num_k_exclude_rope
            frames = k[:, :, :rotated].unflatten(2, (-1, grid * grid))
            return torch.cat([turn(frames).flatten(2, 3), k[:, :, rotated:]], dim=2)

        return attend(attention, q, k, v, turn, turn_keys)

    return forward


def attend(
    attention: Any,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    turn_queries: Callable[[torch.Tensor], torch.Tensor],
    turn_keys: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Attention through the projections of a module of upstream.

    Args:
        q, k, v: (b, l, c), before they are projected.
        turn_queries, turn_keys: rotate them after that, (b, heads, l, c) into the same shape.
    """
    q, k, v = (
        attention._separate_heads(project(x), attention.num_heads)
        for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    out = functional.scaled_dot_product_attention(turn_queries(q), turn_keys(k), v)
    return attention.out_proj(attention._recombine_heads(out))


class Rotation:
    """Turns each pair of neighbouring channels by the angle of its cell."""

    def __init__(self, angles_lc: torch.Tensor, device: torch.device) -> None:
        """
        Args:
            angles_lc: complex, of absolute value 1, for each cell and pair. Split here and not in a call, where an export would record
                complex numbers.
        """
        self._cos_lc, self._sin_lc = (part.contiguous().to(device) for part in (angles_lc.real, angles_lc.imag))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """
        Args:
            x: (..., l, 2 c).
        """
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((even * self._cos_lc - odd * self._sin_lc, even * self._sin_lc + odd * self._cos_lc), dim=-1)
        return turned.flatten(-2).type_as(x)
