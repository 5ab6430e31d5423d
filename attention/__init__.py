"""Choosing the computation behind `torch.nn.functional.scaled_dot_product_attention`, and observing which one ran.

Importing this package loads no torch, so that a process without torch can list and check choices. Its modules load torch: `choice`
switches, `manual` and `fallback` compute, `kernels` reports which kernels ran.

    auto        upstream's and PyTorch's own choice; nothing is changed
    flash       PyTorch's flash kernel or an error; on the CPU the CPU's flash kernel, reported as `flash_cpu`
    efficient   PyTorch's memory-efficient kernel or an error; CUDA only
    cudnn       cuDNN's kernel or an error; CUDA only
    math        PyTorch's composite of matrix products and softmax
    manual      the textbook computation of `attention.manual`, always
    fallback    PyTorch's choice, or `attention.manual` for calls that no PyTorch kernel can serve
"""

from __future__ import annotations

CHOICES = ("auto", "flash", "efficient", "cudnn", "math", "manual", "fallback")

RELATIVE_CHOICES = ("bias", "mask", "augmented", "chunked")
"""Methods of `attention.relative_position` for SAM v1's relative positions; PyTorch chooses the kernels. SAM v1 only."""

FORCED = ("flash", "efficient", "cudnn", "math")
"""Choices that allow exactly one PyTorch kernel."""

CUDA_ONLY = ("efficient", "cudnn")
HALF_ONLY_ON_CUDA = ("flash", "cudnn")


class AttentionError(RuntimeError):
    """A choice of attention cannot run; the message says why and what to do instead."""


def refusal(choice: str, dtype: str, device_type: str | None = None) -> str | None:
    """Why this choice cannot run, with the remedy; None if no reason is known yet.

    Checks only what is known without torch. `attention.choice.check` also checks the device, before a model is built.

    Args:
        choice: one of `CHOICES`.
        dtype: the autocast dtype by name; `float32`: no autocast.
            device_type: `cuda` or `cpu`; None if not yet known: then a choice is refused only if neither can run it. `flash` under float32,
            which
                the CPU supports and CUDA does not, then passes.

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
