"""Layers that several components of SAM v1 use."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class LayerNorm2D(nn.Module):  # type: ignore[misc]
    """Layer normalisation over the channels of (B, C, H, W), separately for each pixel, with a learned scale and shift per channel."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x_bchw: torch.Tensor) -> torch.Tensor:
        normed_bhwc = functional.layer_norm(x_bchw.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normed_bhwc.permute(0, 3, 1, 2)


class Conv1x1(nn.Conv2d):  # type: ignore[misc]
    """A linear map of the channels of (B, C, H, W), the same at every pixel."""

    def __init__(self, channels_in: int, channels_out: int, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, kernel_size=1, bias=bias)


class Mlp(nn.Module):  # type: ignore[misc]
    """Two linear layers with an activation between them, on the last dimension: the feed-forward part of a transformer block."""

    def __init__(self, channels: int, hidden_channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden_channels)
        self.lin2 = nn.Linear(hidden_channels, channels)
        self.activation = activation

    def forward(self, x_bnc: torch.Tensor) -> torch.Tensor:
        out_bnc: torch.Tensor = self.lin2(self.activation(self.lin1(x_bnc)))
        return out_bnc


class Head(nn.Module):  # type: ignore[misc]
    """Linear layers with ReLU between them, of the given widths: computes a result from a token."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x_bc: torch.Tensor) -> torch.Tensor:
        for layer in list(self.layers)[:-1]:
            x_bc = functional.relu(layer(x_bc))
        out_bc: torch.Tensor = self.layers[-1](x_bc)
        return out_bc
