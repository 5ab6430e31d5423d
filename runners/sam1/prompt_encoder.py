"""The prompt encoder: clicks and boxes to tokens, masks to a dense embedding."""

from __future__ import annotations

import math

import torch
from torch import nn

from runners.sam1.shared import Conv1x1, LayerNorm2D

PADDING, NEGATIVE, POSITIVE = -1, 0, 1
"""Labels of points: no point, click off the object, click on the object."""


class FourierPositions(nn.Module):  # type: ignore[misc]
    """Encodes positions in the unit square as sines and cosines of random frequencies (Tancik et al. 2020, "Fourier Features")."""

    positional_encoding_gaussian_matrix: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, places_xy: torch.Tensor) -> torch.Tensor:
        """Encode (..., 2) x and y in 0..1 as (..., channels), float32."""
        # Not a matrix product: autocast would round it to 8 bits, a phase error of a few pixels.
        centred = (2 * places_xy.float() - 1)[..., None]
        frequencies_2c = self.positional_encoding_gaussian_matrix
        phase = 2 * math.pi * (centred[..., 0, :] * frequencies_2c[0] + centred[..., 1, :] * frequencies_2c[1])
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class PromptEncoder(nn.Module):  # type: ignore[misc]
    """Encodes prompts for the mask decoder: sparse tokens (B, N, C) and a dense embedding (B, C, grid, grid)."""

    def __init__(self, imgsz: int, patch: int = 16, channels: int = 256, mask_channels: int = 16) -> None:
        """`imgsz`: side in pixels of the padded input image; masks have a quarter of it."""
        super().__init__()
        self.imgsz = imgsz
        self.grid = imgsz // patch
        self.pe_layer = FourierPositions(channels)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        """Learned vectors of a negative click, a positive click, a box's first corner and its second."""
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2D(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2D(mask_channels),
            nn.GELU(),
            Conv1x1(mask_channels, channels),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def forward(
        self,
        points_bn2: torch.Tensor | None = None,
        labels_bn: torch.Tensor | None = None,
        boxes_b4: torch.Tensor | None = None,
        masks_b1hw: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode the prompts of B objects, all of the same form.

        Args:
            points_bn2: x, y in pixels of the input image, 0 for the first pixel.
            labels_bn: label of each point, `POSITIVE`, `NEGATIVE` or `PADDING`.
            boxes_b4: x_min, y_min, x_max, y_max in the same pixels, last pixel included.
            masks_b1hw: logits, (B, 1, 4 grid, 4 grid).

        Returns:
            Tokens (B, N, C), points then the two corners; a padding point follows points without a box, as in training. And the dense
            embedding (B, C, grid, grid).

        Raises:
            ValueError: no prompt is given, or points without labels.
        """
        if (points_bn2 is None) != (labels_bn is None):
            raise ValueError("points and their labels come together")
        given = [prompt for prompt in (points_bn2, boxes_b4, masks_b1hw) if prompt is not None]
        if not given:
            raise ValueError("give points, boxes or masks")
        tokens = []
        if points_bn2 is not None and labels_bn is not None:
            tokens.append(self._encode_points(points_bn2, labels_bn))
            if boxes_b4 is None:
                tokens.append(self.not_a_point_embed.weight.expand(len(points_bn2), 1, -1))
        if boxes_b4 is not None:
            tokens.append(self._encode_boxes(boxes_b4))
        sparse_bnc = torch.cat(tokens, dim=1) if tokens else self.no_mask_embed.weight.new_empty(len(given[0]), 0, self.channels)
        if masks_b1hw is None:
            return sparse_bnc, self.no_mask_embed.weight[..., None, None].expand(len(given[0]), -1, self.grid, self.grid)
        return sparse_bnc, self.mask_downscaling(masks_b1hw)

    def dense_positions(self) -> torch.Tensor:
        """Positions of the image embedding's cells, encoded as the points are: (1, C, grid, grid)."""
        centre_g = (torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5) / self.grid
        y_gg, x_gg = torch.meshgrid(centre_g, centre_g, indexing="ij")
        positions_ggc: torch.Tensor = self.pe_layer(torch.stack([x_gg, y_gg], dim=-1))
        return positions_ggc.permute(2, 0, 1)[None]

    @property
    def channels(self) -> int:
        return int(self.no_mask_embed.weight.shape[1])

    def _positions(self, pixels_xy: torch.Tensor) -> torch.Tensor:
        """Encode the positions of pixel centres."""
        positions: torch.Tensor = self.pe_layer((pixels_xy + 0.5) / self.imgsz)
        return positions

    def _encode_points(self, points_bn2: torch.Tensor, labels_bn: torch.Tensor) -> torch.Tensor:
        negative, positive = self.point_embeddings[0].weight, self.point_embeddings[1].weight
        kind_bnc = torch.cat([self.not_a_point_embed.weight, negative, positive])[labels_bn.long() + 1]
        placed_bn1 = (labels_bn != PADDING)[..., None]
        return torch.where(placed_bn1, self._positions(points_bn2), 0.0) + kind_bnc

    def _encode_boxes(self, boxes_b4: torch.Tensor) -> torch.Tensor:
        corners_2c = torch.cat([self.point_embeddings[2].weight, self.point_embeddings[3].weight])
        return self._positions(boxes_b4.reshape(-1, 2, 2)) + corners_2c
