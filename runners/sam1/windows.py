"""Splits a grid of tokens into square windows and reassembles it."""

from __future__ import annotations

import torch
from torch.nn import functional


def partition(x_bhwc: torch.Tensor, size: int) -> torch.Tensor:
    """Split (B, H, W, C) into non-overlapping windows of `size` x `size`: (B * windows, size, size, C), row by row.

    A grid that is not a multiple of `size` is padded with zeros at the bottom and right. The padding is not masked: attention within a
    window includes it.
    """
    batch, height, width, channels = x_bhwc.shape
    padded = functional.pad(x_bhwc, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = padded.shape[1] // size, padded.shape[2] // size
    cut = padded.reshape(batch, rows, size, columns, size, channels).transpose(2, 3)
    return cut.reshape(batch * rows * columns, size, size, channels)


def unpartition(windows_nssc: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo `partition` of a grid of `height` x `width` exactly: (B, H, W, C), without the padding at the bottom and right."""
    _, size, _, channels = windows_nssc.shape
    rows, columns = -(-height // size), -(-width // size)
    padded = windows_nssc.reshape(-1, rows, columns, size, size, channels).transpose(2, 3)
    return padded.reshape(-1, rows * size, columns * size, channels)[:, :height, :width]
