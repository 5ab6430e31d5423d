"""Attention of the mask decoder: self or cross, optionally with fewer channels than the tokens."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class DecoderAttention(nn.Module):  # type: ignore[misc]
    """Multi-head attention whose queries, keys and values are projected to `channels / downsample`; the output is projected back."""

    def __init__(self, channels: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = channels // downsample
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q_bnc: torch.Tensor, k_bmc: torch.Tensor, v_bmc: torch.Tensor) -> torch.Tensor:
        """(B, N, C) queries, (B, M, C) keys and values to (B, N, C)."""
        attended_bhnc = functional.scaled_dot_product_attention(
            self._heads(self.q_proj(q_bnc)), self._heads(self.k_proj(k_bmc)), self._heads(self.v_proj(v_bmc))
        )
        out_bnc: torch.Tensor = self.out_proj(attended_bhnc.transpose(1, 2).flatten(2))
        return out_bnc

    def _heads(self, x_bnc: torch.Tensor) -> torch.Tensor:
        return x_bnc.unflatten(2, (self.heads, -1)).transpose(1, 2)
