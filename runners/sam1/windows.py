"""Cutting a grid of tokens into square windows, and putting it together again."""

from __future__ import annotations

import torch
from torch.nn import functional


def partition(x_bhwc: torch.Tensor, size: int) -> torch.Tensor:
    """Cut (B, H, W, C) into windows of `size` x `size` that do not overlap: (B * windows, size, size, C), row by row.

    A grid that is no multiple of `size` is continued with zeros at the bottom and at the right. The zeros are tokens like others: attention
    within a window sees them.
    """
    batch, height, width, channels = x_bhwc.shape
    padded = functional.pad(x_bhwc, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = padded.shape[1] // size, padded.shape[2] // size
    cut = padded.reshape(batch, rows, size, columns, size, channels).transpose(2, 3)
    return cut.reshape(batch * rows * columns, size, size, channels)


def unpartition(windows_nssc: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo `partition` of a grid of `height` x `width` exactly: (B, H, W, C), without what was added at the bottom and at the right."""
    _, size, _, channels = windows_nssc.shape
    rows, columns = -(-height // size), -(-width // size)
    padded = windows_nssc.reshape(-1, rows, columns, size, size, channels).transpose(2, 3)
    return padded.reshape(-1, rows * size, columns * size, channels)[:, :height, :width]
