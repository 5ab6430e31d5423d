"""That the report names what ran."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch.nn import functional  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from attention import fallback, kernels, manual  # noqa: E402
from attention.choice import using_attention  # noqa: E402
from attention.kernels import KernelReport, observe  # noqa: E402

QUERY = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0))


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def attend(times: int = 1) -> list[Any]:
    return [functional.scaled_dot_product_attention(QUERY, QUERY, QUERY) for _ in range(times)]


def test_counts_each_kernel() -> None:
    def work() -> None:
        attend(3)
        with sdpa_kernel(SDPBackend.MATH):
            attend(2)
        for _ in range(4):
            manual.scaled_dot_product_attention(QUERY, QUERY, QUERY)
        torch.softmax(QUERY, -1)

    report = observe(work)
    assert dict(report.counts) == {"manual": 4, "flash_cpu": 3, "math": 2}
    assert list(report.counts) == ["manual", "flash_cpu", "math"]
    assert report.calls == 9


def test_nothing_ran() -> None:
    assert observe(lambda: torch.softmax(QUERY, -1)) == KernelReport({})
    assert observe(lambda: None).calls == 0


@pytest.mark.parametrize(
    ("operator", "kernel"),
    [
        ("aten::_scaled_dot_product_flash_attention", "flash"),
        ("aten::_scaled_dot_product_efficient_attention", "efficient"),
        ("aten::_scaled_dot_product_cudnn_attention", "cudnn"),
        ("aten::_scaled_dot_product_attention_math", "math"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "flash_cpu"),
        ("aten::_scaled_dot_product_fused_attention_overrideable", "fused_attention_overrideable"),
    ],
)
def test_operators_that_other_machines_have(operator: str, kernel: str) -> None:
    def work() -> None:
        with torch.profiler.record_function(operator):
            pass
        with torch.profiler.record_function(f"{operator}_backward"), torch.profiler.record_function("aten::scaled_dot_product_attention"):
            pass

    assert observe(work).counts == {kernel: 1}


def test_the_listed_operators_exist() -> None:
    listed = [(kernels.PREFIX + name).removeprefix("aten::") for name in kernels.KERNELS]
    assert [name for name in listed if not hasattr(torch.ops.aten, name)] == []


def test_a_kernel_that_was_entered_and_failed_did_not_serve() -> None:
    """cuDNN finds out that it has no plan when its operator already runs."""
    served = functional.scaled_dot_product_attention

    def native(query: Any, *args: Any, **kwargs: Any) -> Any:
        if query.shape[-2] == 5:
            with torch.profiler.record_function("aten::_scaled_dot_product_cudnn_attention"):
                raise RuntimeError("cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support the graph.")
        return served(query, *args, **kwargs)

    longer = QUERY.repeat(1, 1, 2, 1)
    state = fallback.FallbackAttention(native)
    with pytest.warns(fallback.AttentionFallbackWarning):
        report = observe(lambda: [state(tensor, tensor, tensor) for tensor in (QUERY, longer, QUERY)])
    assert dict(report.counts) == {"manual": 2, "flash_cpu": 1}


@pytest.mark.parametrize("choice", ["auto", "manual", "fallback"])
def test_results_are_as_without(choice: str) -> None:
    results: list[Any] = []
    with using_attention(choice, "cpu"):
        alone = attend(2)
        observe(lambda: results.extend(attend(2)))
    assert all(torch.equal(a, b) for a, b in zip(alone, results, strict=True))


@pytest.mark.parametrize("error", [RuntimeError("wrong"), KeyboardInterrupt()])
def test_the_profiler_is_closed_after_an_error(error: BaseException) -> None:
    def work() -> None:
        attend()
        raise error

    before = manual._attend, fallback._attend_with_fallback
    with pytest.raises(type(error)) as caught:
        observe(work)
    assert caught.value is error
    assert (manual._attend, fallback._attend_with_fallback) == before
    assert not torch.autograd._profiler_enabled()
    assert observe(attend).counts == {"flash_cpu": 1}


def test_no_warning_is_raised() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        observe(attend)
    assert given == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("choice", ["flash", "efficient", "math", "manual"])
def test_kernels_of_a_gpu(choice: str) -> None:
    if choice == "flash" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("flash needs compute capability 8.0")
    query = QUERY.to("cuda", torch.bfloat16)
    with torch.inference_mode(), using_attention(choice, "cuda"):
        report = observe(lambda: functional.scaled_dot_product_attention(query, query, query))
    assert report.counts == {choice: 1}
