"""Expands a learned table of distances to the vectors that attention adds for pairs of rows or columns.

A table holds one vector for each of the 2 size - 1 distances between two rows of a grid, from the query farthest above the key to farthest
below it. Columns have their own table.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def relative_vectors_by_definition(table_lc: torch.Tensor, size: int) -> torch.Tensor:
    """Reference implementation: query row r and key row s get the table's vector r - s + size - 1.

    Args:
        table_lc: (2 size - 1, C).

    Returns:
        (size, C, size), the vector of r and s at [r, :, s].
    """
    vectors_rcs = table_lc.new_empty(size, table_lc.shape[1], size)
    for r in range(size):
        for s in range(size):
            vectors_rcs[r, :, s] = table_lc[r - s + size - 1]
    return vectors_rcs


def relative_vectors(table_lc: torch.Tensor, size: int) -> torch.Tensor:
    """As `relative_vectors_by_definition`, for a table of any length, without a loop or an index tensor.

    Along s the vectors of row r are a reversed slice of the table, and the slice of r + 1 starts one later: overlapping windows of the
    table, reversed. A table of another grid size is resampled first.
    """
    windows_rcs = resample(table_lc, 2 * size - 1).unfold(0, size, 1)
    return windows_rcs.flip(2)


def resample(table_lc: torch.Tensor, length: int) -> torch.Tensor:
    """Linear interpolation of a table to (length, C), as MViTv2 and ViTDet do for untrained grid sizes."""
    if table_lc.shape[0] == length:
        return table_lc
    return functional.interpolate(table_lc.T[None], size=length, mode="linear", align_corners=False)[0].T
