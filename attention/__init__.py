"""Which computation serves `torch.nn.functional.scaled_dot_product_attention`, and proof of which one did.

Importing this package loads no torch, so that a process without it can list and check choices. The modules do load it: `choice` switches,
`manual` and `fallback` compute, `kernels` tells which kernels ran.

    auto        whatever upstream and PyTorch choose; nothing is touched
    flash       that kernel of PyTorch or an error; on the CPU its own flash kernel, which the proof names `flash_cpu`
    efficient   the memory-efficient kernel or an error; CUDA only
    cudnn       cuDNN's kernel or an error; CUDA only
    math        PyTorch's composite of matrix products and softmax
    manual      the textbook computation of `attention.manual`, always
    fallback    PyTorch's choice first, `attention.manual` for a call that no kernel of it can serve
"""

from __future__ import annotations

CHOICES = ("auto", "flash", "efficient", "cudnn", "math", "manual", "fallback")

RELATIVE_CHOICES = ("bias", "mask", "augmented", "chunked")
"""Ways to compute SAM v1's relative positions, of `attention.relative_position`; they leave the kernels to PyTorch. SAM v1 alone."""

FORCED = ("flash", "efficient", "cudnn", "math")
"""Choices that allow one kernel of PyTorch and no other."""

CUDA_ONLY = ("efficient", "cudnn")
HALF_ONLY_ON_CUDA = ("flash", "cudnn")


class AttentionError(RuntimeError):
    """A chosen attention cannot run; the message says why and what to do instead."""


def refusal(choice: str, dtype: str, device_type: str | None = None) -> str | None:
    """Why this choice cannot run, with the remedy; None where nothing speaks against it yet.

    This is what is known without torch. `attention.choice.check` asks the device too, before a model is built.

    Args:
        choice: one of `CHOICES`.
        dtype: the autocast dtype by name; `float32` is no autocast.
        device_type: `cuda` or `cpu`; None where it is still open, and then only what holds on both is refused. On a machine whose device
            is found later that leaves `flash` under float32, which the CPU has and CUDA has not.

    Raises:
        ValueError: there is no such choice.
    """
    if choice not in CHOICES:
        raise ValueError(f"{choice}: not an attention choice; use {', '.join(CHOICES)}")
    if choice in CUDA_ONLY and device_type == "cpu":
        return f"the CPU has no {choice} kernel; use --attention flash, math, manual or auto"
    half_needed = choice in HALF_ONLY_ON_CUDA if device_type == "cuda" else choice in HALF_ONLY_ON_CUDA and choice in CUDA_ONLY
    if half_needed and dtype == "float32":
        return f"{choice} has no float32 kernel; use --autocast_dtype bfloat16 or float16, or --attention auto"
    return None
