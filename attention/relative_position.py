"""Attention with decomposed relative positions, in four methods that differ in time and memory but not in the result.

For tokens on a grid of H rows and W columns, query i at (row, column) = (r, c) and key j at (s, t), SAM v1's image encoder has

    scores[i, j] = q[i] . k[j] / sqrt(d)  +  q[i] . Rh[r, s]  +  q[i] . Rw[c, t]
    output[i]    = sum over j of softmax(scores[i])[j] v[j]

with learned vectors Rh and Rw for the distances between rows and between columns (Li et al. 2022, "Exploring Plain Vision Transformer
Backbones for Object Detection"; Li et al. 2022, "MViTv2"). The last two terms depend on the query, so they cannot be cached, and with N = H
W tokens they are N x N
numbers per head, 805 MB in float32 for ViT-B's global blocks at 1024 pixels.

    bias       the three terms, the softmax and the product as separate tensors, as SAM v1's authors published
    mask       the last two terms as the additive mask of one fused call
    augmented  one plain fused call on wider heads, without an N x N tensor. The two sums select one of H and one of W numbers of query
               i, so they are inner products with unit vectors:
                   q'[i] = [q[i] / sqrt(d),  q[i] . Rh[r, 0..H-1],  q[i] . Rw[c, 0..W-1]]
                   k'[j] = [k[j],            unit vector s of H,    unit vector t of W]
                   q'[i] . k'[j] = scores[i, j]
               with scale 1 and v padded with zeros to the same width. Needs no mask, so every kernel can serve it, including flash.
    chunked    like mask, for as many queries at a time as fit a budget, in one reused buffer. Exact, since softmax runs over the keys.

Every fused call looks up `torch.nn.functional.scaled_dot_product_attention` at the time of the call. All four are for inference only.
"""

from __future__ import annotations

import torch
from torch.nn import functional

METHODS = ("auto", "bias", "mask", "augmented", "chunked")

MASK_BYTES = 64 << 20
"""Largest mask in bytes that `auto` builds at once; SAM v1's windows need up to 61 MB, its global blocks 13 times as much."""

CHUNK_BYTES = 32 << 20
"""Default size in bytes of `chunked`'s buffer. On the CPU, larger ones were not faster, and 8 MiB and less were slower."""

WIDTH_MULTIPLE = 8
"""Fused kernels in half precision need head widths that are multiples of 8."""


def relative_position_attention(
    q_bhnc: torch.Tensor,
    k_bhnc: torch.Tensor,
    v_bhnc: torch.Tensor,
    rows_rcs: torch.Tensor,
    columns_rcs: torch.Tensor,
    method: str = "auto",
    chunk_bytes: int = CHUNK_BYTES,
) -> torch.Tensor:
    """Attention among the tokens of a grid, with relative positions added to the scores.

    Args:
        q_bhnc, k_bhnc, v_bhnc: (batch, heads, N, channels) of one dtype; N = H W tokens, row by row.
        rows_rcs: (H, channels, H), the vector for query row r and key row s at [r, :, s].
        columns_rcs: (W, channels, W), the same for columns.
        method: one of `METHODS`; `auto` uses `auto_method`.
        chunk_bytes: size of `chunked`'s buffer, which holds at least one query.

    Returns:
        (batch, heads, N, channels) in the dtype of `v_bhnc`.

    Raises:
        ValueError: there is no such method, or the tables do not match the tokens.
    """
    if method not in METHODS:
        raise ValueError(f"{method}: not a method for relative positions; use {', '.join(METHODS)}")
    height, width = rows_rcs.shape[0], columns_rcs.shape[0]
    if height * width != q_bhnc.shape[2]:
        raise ValueError(f"{q_bhnc.shape[2]} tokens do not form a grid of {height}x{width}; give the tables of the tokens' grid")
    if method == "auto":
        method = auto_method(q_bhnc)
    rows_bhns, columns_bhnt = position_terms(q_bhnc, rows_rcs, columns_rcs)
    if method == "bias":
        return _bias(q_bhnc, k_bhnc, v_bhnc, rows_bhns, columns_bhnt)
    if method == "mask":
        mask_bhnm = _sum_of_terms(rows_bhns, columns_bhnt).flatten(3)
        return functional.scaled_dot_product_attention(q_bhnc, k_bhnc, v_bhnc, attn_mask=mask_bhnm)
    if method == "augmented":
        return _augmented(q_bhnc, k_bhnc, v_bhnc, rows_bhns, columns_bhnt)
    return _chunked(q_bhnc, k_bhnc, v_bhnc, rows_bhns, columns_bhnt, chunk_bytes)


def auto_method(q_bhnc: torch.Tensor) -> str:
    """The fastest method for these queries whose memory use is reasonable.

    For masks of up to `MASK_BYTES` (SAM v1's windows) this is `mask`. For larger ones (its global blocks) it is `augmented` on a GPU and on
    a
        CPU with matrix instructions (AMX) for the dtype, where wider heads cost little, and `chunked` on other CPUs. If a GPU's kernels
        that
        accept masks are disabled, it is always `augmented`. `benchmarks/bench_relative_position.py` measures these choices.
    """
    batch, heads, tokens, _ = q_bhnc.shape
    on_gpu = q_bhnc.device.type == "cuda"
    if on_gpu and not (torch.backends.cuda.mem_efficient_sdp_enabled() or torch.backends.cuda.math_sdp_enabled()):
        return "augmented"
    if batch * heads * tokens * tokens * q_bhnc.element_size() <= MASK_BYTES:
        return "mask"
    return "augmented" if on_gpu or _has_matrix_unit(q_bhnc.dtype) else "chunked"


def position_terms(q_bhnc: torch.Tensor, rows_rcs: torch.Tensor, columns_rcs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products of every query with the vectors for its row and its column.

    Returns:
        (batch, heads, N, H), the terms for key rows, and (batch, heads, N, W), for key columns, in the dtype of the queries.
    """
    height, width = rows_rcs.shape[0], columns_rcs.shape[0]
    q_bhrtc = q_bhnc.unflatten(2, (height, width))
    rows_bhrts = torch.einsum("bhrtc,rcs->bhrts", q_bhrtc, rows_rcs)
    columns_bhrts = torch.einsum("bhrtc,tcs->bhrts", q_bhrtc, columns_rcs)
    return rows_bhrts.flatten(2, 3).to(q_bhnc.dtype), columns_bhrts.flatten(2, 3).to(q_bhnc.dtype)


def _sum_of_terms(rows_bhns: torch.Tensor, columns_bhnt: torch.Tensor) -> torch.Tensor:
    """(batch, heads, N, H, W): the terms added to the score of each query and key."""
    return rows_bhns[..., :, None] + columns_bhnt[..., None, :]


def _bias(
    q_bhnc: torch.Tensor, k_bhnc: torch.Tensor, v_bhnc: torch.Tensor, rows_bhns: torch.Tensor, columns_bhnt: torch.Tensor
) -> torch.Tensor:
    scores_bhnm = (q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhnc.transpose(-2, -1)
    grid_bhnst = scores_bhnm.unflatten(3, (rows_bhns.shape[3], columns_bhnt.shape[3]))
    scores_bhnm = (grid_bhnst + rows_bhns[..., :, None] + columns_bhnt[..., None, :]).flatten(3)
    return scores_bhnm.softmax(dim=-1).to(v_bhnc.dtype) @ v_bhnc


def _augmented(
    q_bhnc: torch.Tensor, k_bhnc: torch.Tensor, v_bhnc: torch.Tensor, rows_bhns: torch.Tensor, columns_bhnt: torch.Tensor
) -> torch.Tensor:
    batch, heads, _, channels = q_bhnc.shape
    height, width = rows_bhns.shape[3], columns_bhnt.shape[3]
    padding = -(channels + height + width) % WIDTH_MULTIPLE
    row_of_key = torch.eye(height, dtype=k_bhnc.dtype, device=k_bhnc.device).repeat_interleave(width, dim=0)
    column_of_key = torch.eye(width, width + padding, dtype=k_bhnc.dtype, device=k_bhnc.device).repeat(height, 1)
    place_bhnp = torch.cat([row_of_key, column_of_key], dim=1).expand(batch, heads, -1, -1)
    q_wide = torch.cat([q_bhnc * channels**-0.5, rows_bhns, functional.pad(columns_bhnt, (0, padding))], dim=3)
    k_wide = torch.cat([k_bhnc, place_bhnp], dim=3)
    v_wide = functional.pad(v_bhnc, (0, height + width + padding))
    return functional.scaled_dot_product_attention(q_wide, k_wide, v_wide, scale=1.0)[..., :channels]


def _chunked(
    q_bhnc: torch.Tensor,
    k_bhnc: torch.Tensor,
    v_bhnc: torch.Tensor,
    rows_bhns: torch.Tensor,
    columns_bhnt: torch.Tensor,
    chunk_bytes: int,
) -> torch.Tensor:
    batch, heads, tokens, _ = q_bhnc.shape
    limit = max(1, chunk_bytes // (batch * heads * tokens * q_bhnc.element_size()))
    chunks = -(-tokens // limit)
    step = -(-tokens // chunks)
    output_bhnc = torch.empty_like(v_bhnc)
    # Allocating a buffer per chunk would cost more than the sums written to it.
    buffer = q_bhnc.new_empty(batch, heads, step, rows_bhns.shape[3], columns_bhnt.shape[3])
    for start in range(0, tokens, step):
        part = slice(start, min(tokens, start + step))
        terms_bhnst = buffer[:, :, : part.stop - start]
        torch.add(rows_bhns[:, :, part, :, None], columns_bhnt[:, :, part, None, :], out=terms_bhnst)
        output_bhnc[:, :, part] = functional.scaled_dot_product_attention(
            q_bhnc[:, :, part], k_bhnc, v_bhnc, attn_mask=terms_bhnst.flatten(3)
        )
    return output_bhnc


def _has_matrix_unit(dtype: torch.dtype) -> bool:
    """Whether this CPU multiplies matrices of the dtype with AMX; False if PyTorch is too old to report it."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    name = {torch.bfloat16: "amx_bf16", torch.float16: "amx_fp16"}.get(dtype, "")
    return bool(capabilities.get(name))
