"""Transformer block of the image encoder: attention, global or within windows, and an MLP, each added to its input."""

from __future__ import annotations

import torch
from torch import nn

from runners.sam1.encoder_attention import EncoderAttention
from runners.sam1.shared import Mlp
from runners.sam1.windows import partition, unpartition

EPS = 1e-6
"""Epsilon of the encoder's layer normalisations; the mask decoder uses PyTorch's default, 1e-5."""

MLP_FACTOR = 4


class EncoderBlock(nn.Module):  # type: ignore[misc]
    """Pre-norm block on tokens (B, H, W, C)."""

    def __init__(self, channels: int, heads: int, grid: int, window: int | None) -> None:
        """`grid`: side of the full grid of the weights. `window`: side of the windows; None for a global block."""
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = EncoderAttention(channels, heads, grid if window is None else window)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels, MLP_FACTOR * channels, nn.GELU())

    def forward(self, x_bhwc: torch.Tensor) -> torch.Tensor:
        x_bhwc = x_bhwc + self._attend(self.norm1(x_bhwc))
        out_bhwc: torch.Tensor = x_bhwc + self.mlp(self.norm2(x_bhwc))
        return out_bhwc

    def _attend(self, x_bhwc: torch.Tensor) -> torch.Tensor:
        if self.window is None:
            attended_bhwc: torch.Tensor = self.attn(x_bhwc)
            return attended_bhwc
        return unpartition(self.attn(partition(x_bhwc, self.window)), *x_bhwc.shape[1:3])
