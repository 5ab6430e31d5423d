"""Switching the computation behind `torch.nn.functional.scaled_dot_product_attention` inside a `with` block.

SAM 2, EdgeTAM, transformers and timm look up that function in its module at every call, so replacing the attribute redirects every call
at the cost of one Python call. A `TorchFunctionMode` would intercept the same calls, but costs milliseconds per frame.

The attribute and PyTorch's kernel switches are global to the process: use one choice at a time, and enter and leave it in the same thread;
it affects all threads. Enter it before compiling a model: code compiled under `auto` keeps its kernels.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from attention import CHOICES, FORCED, AttentionError, manual, refusal
from attention.fallback import (
    FallbackAttention,
    NativeAttention,
    describe,
    is_missing_kernel,
    reason_of,
)

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}

_entered = threading.Lock()


class AttentionState:
    """The active attention inside `using_attention`, and its counts.

    Attributes:
        choice: one of `attention.CHOICES`.
        calls: calls of the function so far; None under `auto`, which does not count.
        budget_bytes: maximum memory of the score matrices of a manual call; None if no call can be manual.
    """

    def __init__(self, choice: str, budget_bytes: int | None = None) -> None:
        self.choice = choice
        self.calls: int | None = None if choice == "auto" else 0
        self.budget_bytes = budget_bytes
        self._fallback: FallbackAttention | None = None

    @property
    def fell_back(self) -> int | None:
        """Calls that fell back to the manual computation; None unless the choice is `fallback`."""
        return None if self._fallback is None else self._fallback.fell_back

    @property
    def reasons(self) -> Mapping[str, int]:
        """Number of calls that fell back, by reason."""
        return {} if self._fallback is None else dict(self._fallback.reasons)


def check(choice: str, dtype: str, device: torch.device | str) -> None:
    """Check, before a model is built, that this machine supports the choice.

    Runs a forced kernel once on small tensors. The kernel may still refuse the model's shapes; `using_attention` then raises.

    Args:
        dtype: the autocast dtype by name; `float32`: no autocast.

    Raises:
        AttentionError: the choice cannot run; the message has PyTorch's reason and what to do.
        ValueError: there is no such choice.
    """
    device = torch.device(device)
    refused = refusal(choice, dtype, device.type)
    if refused is not None:
        raise AttentionError(f"--attention {choice}: {refused}")
    if choice in FORCED:
        probe = torch.zeros((1, 1, 64, 64), dtype=getattr(torch, dtype), device=device)
        with torch.autocast(device.type, enabled=False), using_attention(choice, device):
            functional.scaled_dot_product_attention(probe, probe, probe)


@contextlib.contextmanager
def using_attention(choice: str, device: torch.device | str) -> Iterator[AttentionState]:
    """Compute attention with `choice` inside the block; leaving it restores PyTorch's function, also after an error.

    Autocast can be entered before or inside. `auto` changes nothing. A forced kernel disables PyTorch's others, and a call that it cannot
        serve raises. In code compiled inside the block, each call is an opaque operator: the compiler can neither decompose it nor replace
        its
        kernel, it runs the choice active at run time, and gradients stop at it.

    Args:
        device: device of the calls; its free memory on entering determines the memory budget of manual calls.

    Raises:
        AttentionError: no forced kernel can serve a call inside the block, or choices are nested.
        ValueError: there is no such choice.
    """
    if choice not in CHOICES:
        raise ValueError(f"{choice}: not an attention choice; use {', '.join(CHOICES)}")
    if not _entered.acquire(blocking=False):
        raise AttentionError("attention choices are global to the process and cannot be nested; leave the first before entering another")
    try:
        if choice == "auto":
            yield AttentionState(choice)
            return
        native: NativeAttention = functional.scaled_dot_product_attention
        forced = sdpa_kernel(BACKENDS[choice]) if choice in FORCED else contextlib.nullcontext()
        budget = None if choice in FORCED else manual.default_budget(torch.device(device))
        state = AttentionState(choice, budget)
        if choice == "manual":
            compute: NativeAttention = functools.partial(manual.scaled_dot_product_attention, budget_bytes=budget)
        elif choice == "fallback":
            compute = state._fallback = FallbackAttention(native, budget)
        else:
            compute = _explained(choice, native)
        with forced, _installed(state, compute):
            yield state
    finally:
        _entered.release()


_active: NativeAttention = functional.scaled_dot_product_attention
"""The function that serves calls of `_attention` and of the opaque operator; PyTorch's own outside `using_attention`."""


@contextlib.contextmanager
def _installed(state: AttentionState, compute: NativeAttention) -> Iterator[None]:
    """Redirect calls of PyTorch's function to `compute`."""
    global _active

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        state.calls = (state.calls or 0) + 1
        return compute(*args, **kwargs)

    native, before = functional.scaled_dot_product_attention, _active
    functional.scaled_dot_product_attention, _active = _attention, counted
    try:
        yield
    finally:
        functional.scaled_dot_product_attention, _active = native, before


def _attention(*args: Any, **kwargs: Any) -> torch.Tensor:
    # one function for all choices: torch.compile recompiles if it finds another function here
    return _compiled(*args, **kwargs) if torch.compiler.is_compiling() else _active(*args, **kwargs)


def _explained(choice: str, native: NativeAttention) -> NativeAttention:
    """PyTorch's function, whose error says why the forced kernel cannot serve a call."""

    def attention(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        try:
            return native(query, key, value, attn_mask, *args, **kwargs)
        except RuntimeError as error:
            if not is_missing_kernel(error):
                raise
            reason = reason_of(error, lambda: native(query, key, value, attn_mask, *args, **kwargs))
            raise AttentionError(
                f"--attention {choice}: cannot serve {describe(query, key, value, attn_mask)}: {reason}; use --attention fallback, which "
                "computes such calls itself, or auto"
            ) from error

    return attention


def _compiled(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """The attention call as `torch.compile` traces it.

    Otherwise the compiler would trace PyTorch's function into kernels: a failing kernel could not be caught, and the parts of the `math`
        kernel would be recognized and replaced with flash.
    """
    query, key, value, attn_mask = manual.autocast_inputs(query, key, value, attn_mask)
    return cast("torch.Tensor", _opaque(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa))


@functools.partial(
    torch.library.custom_op,
    "savbench::attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, float dropout_p, bool is_causal, float? scale, bool enable_gqa) "
    "-> Tensor",
)
def _opaque(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> torch.Tensor:
    result = _active(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    # the compiler expects one memory layout, but kernels return different ones
    return result.contiguous()


@_opaque.register_fake  # type: ignore[untyped-decorator]
def _(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> torch.Tensor:
    return manual.result_like(query, key, value, enable_gqa)
