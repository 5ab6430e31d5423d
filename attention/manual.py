"""The textbook computation of scaled dot-product attention, softmax(Q K^T / sqrt(d_k)) V (Vaswani et al. 2017, equation 1).

It needs only matrix products and softmax, so it runs wherever PyTorch runs. Suffixes of names are shapes: n is the product of all batch and
head dimensions, l the queries, s the keys, e the width of queries and keys, v the width of the values.

Precision. Under float16 and bfloat16 both matrix products take and return that dtype and accumulate in a wider one, the scale is applied
before the scores are rounded, and masks and softmax are computed in float32. PyTorch's own kernels keep the scores in float32, so bfloat16
results here are a few roundings further from the exact ones.

Determinism. A repeated call is bit-identical on the same machine with the same number of threads and the same budget. Another budget
changes
the height of the matrix products: with MKL the result stayed bit-identical for chunks of 4 rows and more, but a BLAS may sum in another
order. In general, results agree to the rounding of float32, and under half precision to the rounding of the result.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

HALF_DTYPES = (torch.float16, torch.bfloat16)

MIB = 1 << 20
SMALL_BYTES = 16 * MIB
"""Minimum budget; scores that need no more are never chunked."""


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    budget_bytes: int | None = None,
) -> torch.Tensor:
    """A drop-in replacement for `torch.nn.functional.scaled_dot_product_attention` of PyTorch 2.5 and newer.

    Under autocast on the tensors' device it casts its inputs as the native operator does. Rows whose keys are all masked are zero. Under
        `torch.compile` give a budget, because reading the free memory cannot be compiled.

    Args:
        query: (..., Hq, L, E), float16, bfloat16, float32 or float64.
        key: (..., H, S, E). Batch and head dimensions broadcast.
        value: (..., H, S, Ev).
        attn_mask: broadcastable to (..., Hq, L, S), with at least two dimensions; bool, True where a query attends to a key, or of the
                    query's dtype or float32, added to the scaled scores.
        dropout_p: probability of dropping a weight, 0 to 1; applied whenever it is above 0.
        is_causal: query i attends to keys 0 to i; excludes `attn_mask`.
        scale: factor of the scores; None: 1 / sqrt(E).
        enable_gqa: Hq may be a multiple of H; query heads are grouped in order.
        budget_bytes: maximum memory of the score matrices and their copies; queries are computed in chunks of equal size, at least one row,
        to
                    stay within it. None: `default_budget` for calls that need more than `SMALL_BYTES`.

    Returns:
        (..., Hq, L, Ev) in the dtype of the query, or of autocast.

    Raises:
        RuntimeError: shapes, dtypes or devices do not match; the native operator refuses the same.
    """
    query, key, value, attn_mask = autocast_inputs(query, key, value, attn_mask)
    _check(query, key, value, attn_mask, is_causal, enable_gqa)
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, budget_bytes)


def autocast_inputs(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The inputs as autocast passes them to the native operator: if it is on, floating dtypes except float64 are cast."""
    if not torch.is_autocast_enabled(query.device.type):
        return query, key, value, attn_mask
    dtype = torch.get_autocast_dtype(query.device.type)

    def lowered(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor

    return lowered(query), lowered(key), lowered(value), None if attn_mask is None else lowered(attn_mask)


def default_budget(device: torch.device) -> int:
    """Maximum bytes for the scores of one call on this device: a quarter of free memory, at most a sixteenth of all memory.

    Both are rounded down to a power of two, and the second applies unless memory is nearly full, so that two runs on one machine use the
    same
        chunks. If the GPU shares memory with the CPU, memory that Linux can reclaim counts as free.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(torch.cuda.current_device() if device.index is None else device.index)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if getattr(torch.cuda.get_device_properties(device), "is_integrated", False):
            free = max(free, _meminfo_bytes("MemAvailable"))
    else:
        free, total = _meminfo_bytes("MemAvailable"), _meminfo_bytes("MemTotal")
    return max(SMALL_BYTES, min(_floor_to_power_of_two(free // 4), _floor_to_power_of_two(total // 16)))


def chunk_rows(length: int, row_bytes: int, budget_bytes: int) -> int:
    """Number of the `length` queries per chunk: chunks as equal as possible within the budget, at least one query each."""
    limit = max(1, budget_bytes // max(1, row_bytes))
    return math.ceil(length / math.ceil(length / limit))


def _check(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None, is_causal: bool, enable_gqa: bool
) -> None:
    tensors = {"query": query, "key": key, "value": value}

    def each(attribute: str) -> str:
        return ", ".join(f"{name} {getattr(tensor, attribute)}" for name, tensor in tensors.items())

    if min(tensor.dim() for tensor in tensors.values()) < 2:
        raise RuntimeError(f"query, key and value need at least 2 dimensions: {each('shape')}")
    if not query.dtype == key.dtype == value.dtype or not query.is_floating_point():
        raise RuntimeError(f"query, key and value must share one floating dtype: {each('dtype')}")
    if not query.device == key.device == value.device:
        raise RuntimeError(f"query, key and value must be on one device: {each('device')}")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(f"query and key must have the same width, key and value the same length: {each('shape')}")
    if enable_gqa:
        if min(tensor.dim() for tensor in tensors.values()) < 3:
            raise RuntimeError(f"grouped heads need a head dimension: {each('shape')}")
        if query.shape[-3] % key.shape[-3] or query.shape[-3] % value.shape[-3]:
            raise RuntimeError(f"the heads of key and value must divide those of the query: {each('shape')}")
    if attn_mask is None:
        return
    if is_causal:
        raise RuntimeError("attn_mask and is_causal exclude each other")
    if attn_mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise RuntimeError(f"attn_mask must be bool, float32 or of the query's dtype {query.dtype}, not {attn_mask.dtype}")
    if attn_mask.dim() < 2:
        raise RuntimeError(f"attn_mask needs at least 2 dimensions, not the shape {attn_mask.shape}")


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    budget_bytes: int | None,
) -> torch.Tensor:
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    length, width = query.shape[-2:]
    sources = key.shape[-2]
    if attn_mask is not None:
        # Raises if the shapes do not match; the mask broadcasts without a copy.
        attn_mask.expand(*torch.broadcast_shapes(query.shape[:-2], key.shape[:-2]), length, sources)
    if sources == 0:
        return query.new_zeros((*batch, length, value.shape[-1]))

    def flat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.expand(*batch, *tensor.shape[-2:]).reshape(math.prod(batch), *tensor.shape[-2:])

    query_nle, key_nse, value_nsv = flat(query), flat(key), flat(value)
    if scale is None:
        scale = 1.0 / math.sqrt(width) if width else 1.0
    rows = length
    row_bytes = math.prod(batch) * sources * _bytes_per_score(query.dtype, attn_mask is not None or is_causal, dropout_p > 0)
    if budget_bytes is None and length * row_bytes > SMALL_BYTES:
        budget_bytes = default_budget(query.device)
    if budget_bytes is not None and length > 0:
        rows = chunk_rows(length, row_bytes, budget_bytes)

    def chunk(start: int) -> torch.Tensor:
        mask = None if attn_mask is None else attn_mask if attn_mask.shape[-2] == 1 else attn_mask[..., start : start + rows, :]
        if is_causal:
            mask = torch.ones(rows, sources, dtype=torch.bool, device=query.device).tril(start)
        return _attend_rows(query_nle[:, start : start + rows], key_nse, value_nsv, mask, batch, dropout_p, scale)

    if rows == length:
        return chunk(0).reshape(*batch, length, value.shape[-1])
    result_nlv = query.new_empty((math.prod(batch), length, value.shape[-1]))
    for start in range(0, length, rows):
        # The last chunk overlaps the one before to be as high as the others: matrix products of few rows may sum in another order.
        start = min(start, length - rows)
        result_nlv[:, start : start + rows] = chunk(start)
    return result_nlv.reshape(*batch, length, value.shape[-1])


def _attend_rows(
    query_nre: torch.Tensor,
    key_nse: torch.Tensor,
    value_nsv: torch.Tensor,
    mask: torch.Tensor | None,
    batch: torch.Size,
    dropout_p: float,
    scale: float,
) -> torch.Tensor:
    """Attention of r query rows, (n, r, v). `mask` broadcasts to (*batch, r, s)."""
    dtype = query_nre.dtype
    wide = torch.float32 if dtype in HALF_DTYPES else dtype
    # Scale inside the product: in half precision, unscaled scores would overflow.
    scores_nrs = torch.baddbmm(query_nre.new_empty(()), query_nre, key_nse.transpose(1, 2), beta=0, alpha=scale).to(wide)
    blind_nr1 = None
    if mask is not None:
        _mask_in_place(scores_nrs.view(*batch, *scores_nrs.shape[1:]), mask)
        blind_nr1 = scores_nrs.amax(-1, keepdim=True) == -math.inf
    weights_nrs = torch.softmax(scores_nrs, -1)
    del scores_nrs
    if dropout_p > 0:
        weights_nrs = torch.dropout(weights_nrs, dropout_p, train=True)
    result_nrv = torch.bmm(weights_nrs.to(dtype), value_nsv)
    return result_nrv if blind_nr1 is None else result_nrv.masked_fill(blind_nr1, 0.0)


def _mask_in_place(scores: torch.Tensor, mask: torch.Tensor) -> None:
    if mask.dtype == torch.bool:
        scores.masked_fill_(~mask, -math.inf)
    else:
        scores.add_(mask)


def _bytes_per_score(dtype: torch.dtype, masked: bool, dropped: bool) -> int:
    """Peak bytes per score in `_attend_rows`, over all copies: scores and softmax, or softmax, dropout's result and dropout's mask; plus
    the
        attention mask and its inverse."""
    wide = torch.float32 if dtype in HALF_DTYPES else dtype
    return (3 if dropped else 2) * int(wide.itemsize) + 2 * masked


def _floor_to_power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _meminfo_bytes(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def result_like(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, enable_gqa: bool) -> torch.Tensor:
    """An uninitialized tensor with the shape and dtype of the attention result."""
    leading = [tensor.shape[:-2] for tensor in (query, key, value)]
    if enable_gqa:
        leading = [(*shape[:-1], query.shape[-3]) for shape in leading]
    return query.new_empty((*torch.broadcast_shapes(*leading), query.shape[-2], value.shape[-1]))
