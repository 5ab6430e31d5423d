"""The mask decoder: an image embedding and encoded prompts to masks and the model's own estimate of their IoU."""

from __future__ import annotations

import torch
from torch import nn

from runners.sam1.cross_attention_transformer import CrossAttentionTransformer
from runners.sam1.shared import Head, LayerNorm2D

MASKS = 4
"""One mask for unambiguous prompts, three for ambiguous ones: whole, part, subpart."""


class MaskDecoder(nn.Module):  # type: ignore[misc]
    """Output tokens attend to prompts and image; each then becomes the weights of a linear classifier of the enlarged image's pixels."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.transformer = CrossAttentionTransformer(channels)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(MASKS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2),
            LayerNorm2D(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Head([channels, channels, channels, channels // 8]) for _ in range(MASKS))
        self.iou_prediction_head = Head([channels, channels, channels, MASKS])

    def forward(
        self,
        image_1chw: torch.Tensor,
        image_positions_1chw: torch.Tensor,
        sparse_bnc: torch.Tensor,
        dense_bchw: torch.Tensor,
        multimask: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks of B objects on one image.

        Args:
            image_1chw: the image encoder's embedding.
            image_positions_1chw, sparse_bnc, dense_bchw: from the prompt encoder.
            multimask: return three masks, for an ambiguous prompt, instead of one.

        Returns:
            Logits (B, 1 or 3, 4 H, 4 W) and estimated IoU (B, 1 or 3).
        """
        output_tokens_nc = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens_bnc = torch.cat([output_tokens_nc.expand(len(sparse_bnc), -1, -1), sparse_bnc], dim=1)
        tokens_bnc, image_bchw = self.transformer(tokens_bnc, image_1chw + dense_bchw, image_positions_1chw)
        enlarged_bchw = self.output_upscaling(image_bchw)
        chosen = range(1, MASKS) if multimask else range(1)
        # Token 0 is for the IoU estimate, the others for masks.
        weights_bmc = torch.stack([self.output_hypernetworks_mlps[mask](tokens_bnc[:, 1 + mask]) for mask in chosen], dim=1)
        logits_bmhw = (weights_bmc @ enlarged_bchw.flatten(2)).unflatten(2, enlarged_bchw.shape[2:])
        iou_bm = self.iou_prediction_head(tokens_bnc[:, 0])
        return logits_bmhw, iou_bm[:, list(chosen)]
