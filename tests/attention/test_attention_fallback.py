"""What falls back to the manual computation, what does not, and what is told about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch.nn import functional  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from attention.fallback import AttentionFallbackWarning, FallbackAttention, is_missing_kernel, reason_of  # noqa: E402

QUERY = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0))
LONGER = torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(1))


def failing(error: BaseException) -> Callable[..., Any]:
    def native(*args: Any, **kwargs: Any) -> Any:
        raise error

    return native


MISSING = [
    RuntimeError("No available kernel. Aborting execution."),
    RuntimeError("No viable backend for scaled_dot_product_attention was found. This is likely due to ..."),
    RuntimeError("cutlassF: no kernel found to launch!"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be ..."),
    RuntimeError("FlashAttention only supports Ampere GPUs or newer."),
    RuntimeError("FlashAttention only support fp16 and bf16 data type"),
    RuntimeError("FlashAttention forward only supports head dimension at most 256"),
    RuntimeError("USE_FLASH_ATTENTION was not enabled for build."),
    RuntimeError("PyTorch was not compiled with cuDNN Flash Attention enabled!"),
    RuntimeError("cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support the graph."),
    NotImplementedError("Could not run 'aten::_scaled_dot_product_efficient_attention' with arguments from the 'CPU' backend."),
    RuntimeError("\"baddbmm_with_gemm\" not implemented for 'Half'"),
]

OTHERS = [
    RuntimeError("The size of tensor a (6) must match the size of tensor b (2) at non-singleton dimension 1"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("Expected query, key, and value to have the same dtype, but got query.dtype: float key.dtype: c10::Half"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 471.00 MiB"),
    RuntimeError("CUDA out of memory. Tried to allocate 471.00 MiB. No available kernel"),
    RuntimeError("cuDNN Frontend error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate ..."),
    MemoryError(),
    KeyboardInterrupt(),
    ValueError("No available kernel"),
]


@pytest.mark.parametrize("error", MISSING, ids=lambda error: str(error)[:40])
def test_a_missing_kernel_falls_back(error: RuntimeError) -> None:
    fallback = FallbackAttention(failing(error))
    with pytest.warns(AttentionFallbackWarning, match=r"query \(1, 2, 5, 8\), key \(1, 2, 9, 8\)"):
        result = fallback(QUERY, LONGER, LONGER)
    torch.testing.assert_close(result, functional.scaled_dot_product_attention(QUERY, LONGER, LONGER))
    assert fallback.fell_back == 1


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: f"{type(error).__name__} {str(error)[:40]}")
def test_everything_else_passes_through(error: BaseException) -> None:
    fallback = FallbackAttention(failing(error))
    with pytest.raises(type(error)) as caught:
        fallback(QUERY, QUERY, QUERY)
    assert caught.value is error
    assert fallback.fell_back == 0


def test_native_results_are_handed_on_untouched() -> None:
    fallback = FallbackAttention(functional.scaled_dot_product_attention)
    mask = torch.ones(5, 9, dtype=torch.bool).tril()
    for call in (
        {},
        {"attn_mask": mask},
        {"is_causal": True},
        {"scale": 0.3},
        {"dropout_p": 0.0},
    ):
        assert torch.equal(fallback(QUERY, LONGER, LONGER, **call), functional.scaled_dot_product_attention(QUERY, LONGER, LONGER, **call))
    grouped = QUERY.repeat(1, 3, 1, 1)
    native = functional.scaled_dot_product_attention(grouped, LONGER, LONGER, enable_gqa=True)
    assert torch.equal(fallback(grouped, LONGER, LONGER, enable_gqa=True), native)
    assert fallback.fell_back == 0


@pytest.mark.parametrize("call", [{"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.ones(5, 9, dtype=torch.bool).tril()}])
def test_every_argument_reaches_the_manual_computation(call: dict[str, Any]) -> None:
    fallback = FallbackAttention(failing(MISSING[0]), budget_bytes=1)
    grouped = QUERY.repeat(1, 3, 1, 1)
    with pytest.warns(AttentionFallbackWarning):
        result = fallback(grouped, LONGER, LONGER, enable_gqa=True, **call)
    torch.testing.assert_close(result, functional.scaled_dot_product_attention(grouped, LONGER, LONGER, enable_gqa=True, **call))


def test_warns_once_for_each_shape_and_reason_and_counts_every_call() -> None:
    errors = iter([MISSING[0], MISSING[0], MISSING[0], MISSING[4], MISSING[4]])
    current: list[RuntimeError] = []

    def native(*args: Any, **kwargs: Any) -> Any:
        raise current[0]

    fallback = FallbackAttention(native)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for tensor in (QUERY, QUERY, LONGER, LONGER, LONGER):
            current[:] = [next(errors)]
            fallback(tensor, tensor, tensor)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 3  # QUERY, LONGER, and LONGER for another reason
    assert fallback.fell_back == 5
    assert fallback.reasons == {
        "No available kernel. Aborting execution": 3,
        "FlashAttention only supports Ampere GPUs or newer": 2,
    }


def test_the_reason_is_what_pytorch_says_in_its_warnings() -> None:
    """The CPU's flash kernel takes no values of another width, and this PyTorch says so in a warning beside a bare error."""
    fallback = FallbackAttention(functional.scaled_dot_product_attention)
    narrow = QUERY[..., :6]
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        warnings.simplefilter("ignore")
        result = fallback(QUERY, QUERY, narrow)
    torch.testing.assert_close(result, functional.scaled_dot_product_attention(QUERY, QUERY, narrow))
    (reason,) = fallback.reasons
    assert reason.startswith("No available kernel. Aborting execution; Flash attention requires q,k,v to have the same last dimension")
    assert "Triggered internally" not in reason


def test_asking_for_the_reason_lets_a_lack_of_memory_through() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        reason_of(MISSING[0], failing(torch.OutOfMemoryError("CUDA out of memory")))


def test_an_error_of_the_manual_computation_is_its_own() -> None:
    fallback = FallbackAttention(failing(MISSING[-1]))
    with pytest.warns(AttentionFallbackWarning), pytest.raises(RuntimeError, match="share one floating dtype") as caught:
        fallback(QUERY.int(), QUERY.int(), QUERY.int())
    assert caught.value.__context__ is None


def test_a_missing_kernel_is_told_by_its_text_and_not_by_its_case() -> None:
    assert is_missing_kernel(MISSING[0])
    assert not is_missing_kernel(RuntimeError("Out Of Memory: no kernel found to launch"))
