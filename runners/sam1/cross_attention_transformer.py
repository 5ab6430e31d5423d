"""The mask decoder's transformer: a few tokens and the image attend to each other, both ways."""

from __future__ import annotations

import torch
from torch import nn

from runners.sam1.decoder_attention import DecoderAttention
from runners.sam1.shared import Mlp


class CrossAttentionBlock(nn.Module):  # type: ignore[misc]
    """Token self-attention, token-to-image attention, token MLP, image-to-token attention; each added to its input, then normalised.

    Positions are added to queries and keys, not values, before every attention. The tokens' positions are the transformer's input
    tokens.
    """

    def __init__(self, channels: int, heads: int, hidden_channels: int, first: bool) -> None:
        """`first`: the first block's input tokens equal their positions, so its self-attention uses them unchanged and its result
        replaces them instead of being added."""
        super().__init__()
        self.first = first
        self.self_attn = DecoderAttention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = DecoderAttention(channels, heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, hidden_channels, nn.ReLU())
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = DecoderAttention(channels, heads, downsample=2)

    def forward(
        self, tokens_bnc: torch.Tensor, image_bmc: torch.Tensor, token_positions_bnc: torch.Tensor, image_positions_1mc: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.first:
            tokens_bnc = self.norm1(self.self_attn(tokens_bnc, tokens_bnc, tokens_bnc))
        else:
            placed_bnc = tokens_bnc + token_positions_bnc
            tokens_bnc = self.norm1(tokens_bnc + self.self_attn(placed_bnc, placed_bnc, tokens_bnc))
        placed_image_bmc = image_bmc + image_positions_1mc
        seen_bnc = self.cross_attn_token_to_image(tokens_bnc + token_positions_bnc, placed_image_bmc, image_bmc)
        tokens_bnc = self.norm2(tokens_bnc + seen_bnc)
        tokens_bnc = self.norm3(tokens_bnc + self.mlp(tokens_bnc))
        told_bmc = self.cross_attn_image_to_token(placed_image_bmc, tokens_bnc + token_positions_bnc, tokens_bnc)
        return tokens_bnc, self.norm4(image_bmc + told_bmc)


class CrossAttentionTransformer(nn.Module):  # type: ignore[misc]
    """Two blocks, then a final token-to-image attention."""

    def __init__(self, channels: int = 256, heads: int = 8, hidden_channels: int = 2048, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossAttentionBlock(channels, heads, hidden_channels, first=index == 0) for index in range(depth))
        self.final_attn_token_to_image = DecoderAttention(channels, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self, tokens_bnc: torch.Tensor, image_bchw: torch.Tensor, image_positions_1chw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, C) tokens and (B, C, H, W) image, with the image's positions. Returns both after attention."""
        token_positions_bnc = tokens_bnc
        image_bmc = image_bchw.flatten(2).transpose(1, 2)
        image_positions_1mc = image_positions_1chw.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens_bnc, image_bmc = layer(tokens_bnc, image_bmc, token_positions_bnc, image_positions_1mc)
        seen_bnc = self.final_attn_token_to_image(tokens_bnc + token_positions_bnc, image_bmc + image_positions_1mc, image_bmc)
        tokens_bnc = self.norm_final_attn(tokens_bnc + seen_bnc)
        return tokens_bnc, image_bmc.transpose(1, 2).unflatten(2, image_bchw.shape[2:])
