"""From a learned table of distances to the vectors that attention adds for a pair of rows, or of columns.

A table holds one vector for every distance that two rows of a grid can have, from the query lying highest above the key to lying lowest
below it: 2 size - 1 of them. The same serves columns, with a table of its own.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def relative_vectors_by_definition(table_lc: torch.Tensor, size: int) -> torch.Tensor:
    """The definition, for reading: query row r and key row s get the table's vector r - s + size - 1.

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
    """The same for a table of any length, without a loop or an index tensor.

    Along s the vectors of one r are a run of the table read backwards, and the run of r + 1 begins one further: overlapping windows of the
    table, turned round. A table of another grid is resampled first.
    """
    windows_rcs = resample(table_lc, 2 * size - 1).unfold(0, size, 1)
    return windows_rcs.flip(2)


def resample(table_lc: torch.Tensor, length: int) -> torch.Tensor:
    """Linear interpolation of a table to (length, C), as MViTv2 and ViTDet do for grids that they were not trained on."""
    if table_lc.shape[0] == length:
        return table_lc
    return functional.interpolate(table_lc.T[None], size=length, mode="linear", align_corners=False)[0].T
