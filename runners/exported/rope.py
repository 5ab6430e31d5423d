"""Rotary position encoding in real numbers, for export: upstream multiplies complex numbers, which ONNX does not have.

A pair of channels (a, b) at an angle t becomes (a cos t - b sin t, a sin t + b cos t), which is upstream's complex product written out.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from runners.torch_common import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def real_rope(module: torch.nn.Module, grid: int) -> Iterator[None]:
    """Let every rotary attention inside `module` compute in real numbers while the block runs.

    Args:
        grid: side in cells of the feature map that queries come from; keys of a memory have as many cells per frame.
    """
    from sam2.modeling.sam.transformer import RoPEAttention

    with contextlib.ExitStack() as stack:
        for attention in module.modules():
            if isinstance(attention, RoPEAttention):
                stack.enter_context(replaced(attention, "forward", _real_forward(attention, grid)))
        yield


def _real_forward(attention: Any, grid: int) -> Callable[..., torch.Tensor]:
    """The attention's `forward`, with its own projections and angles."""
    # computed here and not in `forward`, where an export would record complex numbers
    angles_lc = attention.compute_cis(end_x=grid, end_y=grid)
    device = attention.q_proj.weight.device
    cos_lc, sin_lc = angles_lc.real.contiguous().to(device), angles_lc.imag.contiguous().to(device)

    def forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_k_exclude_rope: int = 0) -> torch.Tensor:
        q, k, v = (
            attention._separate_heads(project(x), attention.num_heads)
            for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
        )
        rotated = k.shape[-2] - num_k_exclude_rope
        frames = k[:, :, :rotated].unflatten(2, (-1, grid * grid))
        k = torch.cat([_rotate(frames, cos_lc, sin_lc).flatten(2, 3), k[:, :, rotated:]], dim=2)
        out = functional.scaled_dot_product_attention(_rotate(q, cos_lc, sin_lc), k, v)
        return attention.out_proj(attention._recombine_heads(out))

    return forward


def _rotate(x: torch.Tensor, cos_lc: torch.Tensor, sin_lc: torch.Tensor) -> torch.Tensor:
    """
    Args:
        x: (..., l, 2 c), pairs of neighbouring channels.
        cos_lc, sin_lc: of the angle of each pair at each cell.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos_lc - odd * sin_lc, even * sin_lc + odd * cos_lc), dim=-1)
    return turned.flatten(-2).type_as(x)
