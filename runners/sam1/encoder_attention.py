"""Multi-head self-attention of the image encoder, with decomposed relative positions."""

from __future__ import annotations

import torch
from torch import nn

from attention.relative_position import relative_position_attention
from runners.sam1.relative_position_encoder import relative_vectors


class EncoderAttention(nn.Module):  # type: ignore[misc]
    """Every token of a grid attends to all tokens of that grid: the whole image in a global block, one window in a windowed block.

    Relative positions use the unscaled query and are added after the scores are scaled by 1 / sqrt(channels per head), as SAM v1 was
    trained. The MViTv2 paper puts them inside the scaling.
    """

    def __init__(self, channels: int, heads: int, grid: int) -> None:
        """`grid`: side of the grid of the relative position tables; other grids resample them."""
        super().__init__()
        self.heads = heads
        self.method = "auto"
        """Method for computing the relative positions, one of `attention.relative_position.METHODS`."""
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.empty(2 * grid - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.empty(2 * grid - 1, channels // heads))
        nn.init.trunc_normal_(self.rel_pos_h, std=0.02)
        nn.init.trunc_normal_(self.rel_pos_w, std=0.02)

    def forward(self, x_bhwc: torch.Tensor) -> torch.Tensor:
        height, width = x_bhwc.shape[1:3]
        qkv_bn3hc = self.qkv(x_bhwc.flatten(1, 2)).unflatten(2, (3, self.heads, -1))
        q_bhnc, k_bhnc, v_bhnc = qkv_bn3hc.permute(2, 0, 3, 1, 4)
        rows_rcs = relative_vectors(self.rel_pos_h, height)
        columns_rcs = relative_vectors(self.rel_pos_w, width)
        attended_bhnc = relative_position_attention(q_bhnc, k_bhnc, v_bhnc, rows_rcs, columns_rcs, self.method)
        out_bhwc: torch.Tensor = self.proj(attended_bhnc.transpose(1, 2).flatten(2).unflatten(1, (height, width)))
        return out_bhwc
