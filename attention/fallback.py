"""PyTorch's own attention, with `attention.manual` for calls that no PyTorch kernel can serve.

A call falls back if PyTorch reports that it has no kernel for it. All other errors, such as out of memory, pass through.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import torch

from attention import manual
from attention.out_of_memory import says_out_of_memory

NativeAttention = Callable[..., torch.Tensor]

MISSING_KERNEL_TEXTS = (
    "No available kernel",  # all allowed kernels refuse the inputs
    "No viable backend",  # this device has none of the allowed kernels
    "no kernel found to launch",  # memory-efficient attention without code for this architecture
    "no kernel image is available for execution",  # PyTorch built without this board's architecture
    "FlashAttention only support",  # flash requested on an architecture or for a dtype that it does not support
    "FlashAttention forward only supports",
    "was not compiled with",  # build without flash or cuDNN
    "was not enabled for build",  # the same, in older builds
    "cuDNN Frontend error",  # cuDNN has no plan for these shapes
    "No execution plans support the graph",
    "No valid execution plans",
    "not implemented for '",  # an operator without code for the dtype
    "Could not run 'aten::_scaled_dot_product",  # a kernel without code for the device
)
"""Parts of messages of PyTorch 2.5 to 2.15 and cuDNN that mean a missing kernel."""


class AttentionFallbackWarning(UserWarning):
    """An attention call fell back to the manual computation."""


def is_missing_kernel(error: RuntimeError) -> bool:
    """Whether the error means that PyTorch has no kernel for the call, rather than a fault of the call or the machine."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or says_out_of_memory(text):
        return False
    return any(part in text for part in MISSING_KERNEL_TEXTS)


def reason_of(error: RuntimeError, call: Callable[[], object]) -> str:
    """The error's first line, followed by PyTorch's reasons, which repeating the call yields.

    PyTorch reports why a kernel cannot serve a call only in Python warnings; `call` repeats the failed call to record them.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except RuntimeError as again:
            if not is_missing_kernel(again):
                raise
    given = [_first_line(str(warning.message).split("(Triggered internally")[0]) for warning in caught]
    # Headings, and kernels disabled because another was requested, explain nothing.
    reasons = [text for text in given if text and not text.endswith("not used because:") and "has been runtime disabled" not in text]
    return "; ".join(dict.fromkeys([_first_line(str(error)), *reasons]))


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return " ".join(line.split()).rstrip(".")


class FallbackAttention:
    """Serves calls of scaled dot-product attention and counts those that fell back.

    The native computation is tried at every call, also for shapes that failed before, since the allowed kernels may change between calls.

    Attributes:
        reasons: number of calls that fell back, by reason.
        native: PyTorch's function.
        budget_bytes: memory budget of manual calls.
    """

    def __init__(self, native: NativeAttention, budget_bytes: int | None = None) -> None:
        self.reasons: Counter[str] = Counter()
        self.native = native
        self.budget_bytes = budget_bytes
        self._reason_of_call: dict[tuple[object, ...], str] = {}

    @property
    def fell_back(self) -> int:
        """Calls that fell back."""
        return self.reasons.total()

    def __call__(
        self,
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
        """As `torch.nn.functional.scaled_dot_product_attention`.

        Raises:
            RuntimeError: from the native computation, except for a missing kernel, or from the manual one.
        """
        return _attend_with_fallback(self, query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    def note(
        self,
        error: RuntimeError,
        native: Callable[[], torch.Tensor],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None,
    ) -> None:
        """Count a call that falls back, and warn if its shapes and reason are new."""
        call = describe(query, key, value, attn_mask)
        seen = (call, _first_line(str(error)))
        if seen not in self._reason_of_call:
            self._reason_of_call[seen] = reason_of(error, native)
            message = f"attention fell back to the manual computation for {call}: {self._reason_of_call[seen]}"
            warnings.warn(message, AttentionFallbackWarning, stacklevel=6)
        self.reasons[self._reason_of_call[seen]] += 1


def _attend_with_fallback(
    state: FallbackAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> torch.Tensor:
    def native() -> torch.Tensor:
        return state.native(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)

    try:
        return native()
    except RuntimeError as error:
        if not is_missing_kernel(error):
            raise
        state.note(error, native, query, key, value, attn_mask)
    return manual.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa, budget_bytes=state.budget_bytes
    )


def describe(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None) -> str:
    """A call in words: shapes, dtype, mask and device."""
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in (("query", query), ("key", key), ("value", value)))
    mask = "" if attn_mask is None else f", {str(attn_mask.dtype).removeprefix('torch.')} mask {tuple(attn_mask.shape)}"
    return f"{shapes}, {str(query.dtype).removeprefix('torch.')}{mask} on {query.device.type}"
