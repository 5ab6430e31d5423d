"""The image encoder: a plain vision transformer with windowed attention in all but four global blocks (ViTDet, Li et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from attention.relative_position import METHODS
from runners.sam1.encoder_block import EncoderBlock
from runners.sam1.shared import Conv1x1, LayerNorm2D


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an image encoder."""

    depth: int
    channels: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks that attend to the whole image, counted from 0."""
    grid: int = 64
    """Side of the token grid of the weights."""
    window: int = 14
    patch: int = 16
    """Side of the patch of one token, in pixels."""
    channels_out: int = 256


class PatchEmbed(nn.Module):  # type: ignore[misc]
    """One token per patch: a linear map of its pixels."""

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=patch, stride=patch)

    def forward(self, image_bchw: torch.Tensor) -> torch.Tensor:
        tokens_bchw: torch.Tensor = self.proj(image_bchw)
        return tokens_bchw.permute(0, 2, 3, 1)


class ImageEncoder(nn.Module):  # type: ignore[misc]
    """(B, 3, H, W) normalised pixels, H and W multiples of the patch, to an embedding (B, channels_out, H / patch, W / patch)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch, config.channels)
        self.pos_embed = nn.Parameter(torch.empty(1, config.grid, config.grid, config.channels))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(
            EncoderBlock(config.channels, config.heads, config.grid, None if index in config.global_blocks else config.window)
            for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            Conv1x1(config.channels, config.channels_out, bias=False),
            LayerNorm2D(config.channels_out),
            nn.Conv2d(config.channels_out, config.channels_out, kernel_size=3, padding=1, bias=False),
            LayerNorm2D(config.channels_out),
        )

    def forward(self, image_bchw: torch.Tensor) -> torch.Tensor:
        x_bhwc = self.patch_embed(image_bchw)
        x_bhwc = x_bhwc + self._positions(*x_bhwc.shape[1:3])
        for block in self.blocks:
            x_bhwc = block(x_bhwc)
        embedding_bchw: torch.Tensor = self.neck(x_bhwc.permute(0, 3, 1, 2))
        return embedding_bchw

    def use_attention(self, method: str) -> None:
        """Select the method for every block's relative positions from `attention.relative_position`.

        Raises:
            ValueError: there is no such method.
        """
        if method not in METHODS:
            raise ValueError(f"{method}: not a way to compute relative positions; use {', '.join(METHODS)}")
        for block in self.blocks:
            block.attn.method = method

    def _positions(self, height: int, width: int) -> torch.Tensor:
        """Absolute positions of a grid, (1, H, W, C). Resampled bicubically, as in ViTDet, if the grid differs from the weights' grid."""
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        positions_1chw = self.pos_embed.permute(0, 3, 1, 2)
        resampled_1chw = functional.interpolate(positions_1chw, size=(height, width), mode="bicubic", align_corners=False)
        return resampled_1chw.permute(0, 2, 3, 1)
