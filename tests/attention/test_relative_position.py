"""The four ways to compute attention with relative positions: the same numbers, in the memory that each promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from attention import relative_position  # noqa: E402
from attention.relative_position import METHODS, auto_method, relative_position_attention  # noqa: E402

Inputs = tuple[Any, Any, Any, Any, Any]
WAYS = [method for method in METHODS if method != "auto"]


@pytest.fixture(scope="module", autouse=True)
def _inference(one_torch_thread: None) -> Iterator[None]:
    with torch.inference_mode():
        yield


def make_inputs(
    height: int, width: int, *, batch: int = 1, heads: int = 2, channels: int = 8, dtype: Any = torch.float64, seed: int = 0
) -> Inputs:
    """q, k, v and both tables, with scores that are far from even."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    q, k, v = (draw(batch, heads, height * width, channels) for _ in range(3))
    return q, k, v, draw(height, channels, height) / 2, draw(width, channels, width) / 2


def by_definition(q: Any, k: Any, v: Any, rows: Any, columns: Any) -> Any:
    """One query and one key at a time, as the formula stands."""
    output = torch.zeros_like(v)
    batch, heads, tokens, channels = q.shape
    width = columns.shape[0]
    for b in range(batch):
        for h in range(heads):
            for i in range(tokens):
                (r, c), q_i = divmod(i, width), q[b, h, i]
                scores = []
                for j in range(tokens):
                    s, t = divmod(j, width)
                    scores.append(q_i @ k[b, h, j] / channels**0.5 + q_i @ rows[r, :, s] + q_i @ columns[c, :, t])
                output[b, h, i] = torch.stack(scores).softmax(0) @ v[b, h]
    return output


@pytest.mark.parametrize("method", METHODS)
def test_every_method_computes_the_formula(method: str) -> None:
    inputs = make_inputs(3, 5, batch=2)
    torch.testing.assert_close(relative_position_attention(*inputs, method=method), by_definition(*inputs), rtol=0, atol=1e-12)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 20),
    chunk_bytes=st.integers(0, 5000),
    seed=st.integers(0, 99),
)
def test_all_methods_agree_in_float64(height: int, width: int, channels: int, chunk_bytes: int, seed: int) -> None:
    inputs = make_inputs(height, width, channels=channels, seed=seed)
    with torch.inference_mode():
        outputs = [relative_position_attention(*inputs, method=method, chunk_bytes=chunk_bytes) for method in WAYS]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 4e-2), ("float16", 1e-2)])
@pytest.mark.parametrize("method", METHODS)
def test_lower_precision_stays_near(method: str, dtype: str, tolerance: float, autocast: bool) -> None:
    exact = make_inputs(5, 4, channels=16)
    q, k, v, rows, columns = (tensor.to(getattr(torch, dtype)) for tensor in exact)
    if autocast:
        # tables are parameters, which stay float32
        rows, columns = exact[3].float(), exact[4].float()
    expected = by_definition(q.double(), k.double(), v.double(), rows.double(), columns.double())
    with torch.autocast("cpu", getattr(torch, dtype), enabled=autocast and dtype != "float32"):
        output = relative_position_attention(q, k, v, rows, columns, method=method)
    assert output.dtype == getattr(torch, dtype)
    assert (output.double() - expected).abs().max() < tolerance


class LargestTensor(TorchDispatchMode):  # type: ignore[misc]
    """Sees the storage of every tensor that an operation puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(("method", "largest"), [("bias", "scores"), ("mask", "scores"), ("augmented", "heads"), ("chunked", "budget")])
def test_largest_tensor_is_what_the_method_promises(method: str, largest: str) -> None:
    inputs = make_inputs(24, 24, channels=16, dtype=torch.float32)
    sizes = {"scores": 2 * 576 * 576 * 4, "heads": 2 * 576 * (16 + 24 + 24) * 4, "budget": 2 * 576 * 4 * 60}
    with LargestTensor() as seen:
        relative_position_attention(*inputs, method=method, chunk_bytes=sizes["budget"])
    # 60 queries fit the budget; ten equal chunks of 58 do
    assert seen.bytes == sizes[largest] * (58 / 60 if largest == "budget" else 1)


@pytest.mark.parametrize(
    ("method", "calls", "masked"), [("bias", 0, False), ("mask", 1, True), ("augmented", 1, False), ("chunked", 4, True)]
)
def test_fused_calls_go_through_the_function_that_is_there_at_the_time(
    monkeypatch: pytest.MonkeyPatch, method: str, calls: int, masked: bool
) -> None:
    inputs = make_inputs(4, 4)
    original, seen = torch.nn.functional.scaled_dot_product_attention, []

    def spy(query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((query.shape[3], kwargs.get("attn_mask") is not None))
        return original(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    relative_position_attention(*inputs, method=method, chunk_bytes=4 * 2 * 16 * 8)
    assert len(seen) == calls
    assert all(mask == masked for _, mask in seen)
    if method == "augmented":
        assert seen[0][0] == 16  # 8 channels, 4 rows, 4 columns


def test_augmented_heads_are_padded_to_a_multiple_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(3, 2, channels=6)
    widths: list[int] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(*qkv: Any, **kwargs: Any) -> Any:
        widths.extend(tensor.shape[3] for tensor in qkv)
        return original(*qkv, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    output = relative_position_attention(*inputs, method="augmented")
    assert (widths, output.shape[3]) == ([16, 16, 16], 6)


def test_auto_takes_a_mask_for_windows_and_chunks_for_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative_position, "_has_matrix_unit", lambda dtype: dtype == torch.bfloat16)
    windows = torch.empty(25, 16, 14 * 14, 64, device="meta")
    image = torch.empty(1, 12, 64 * 64, 64, device="meta")
    assert (auto_method(windows), auto_method(image)) == ("mask", "chunked")
    assert (auto_method(windows.bfloat16()), auto_method(image.bfloat16())) == ("mask", "augmented")


class OnGpu:
    """Stands for queries on a GPU, which this machine may not have."""

    device = torch.device("cuda")
    dtype = torch.float32

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def element_size(self) -> int:
        return 2


def test_auto_on_a_gpu_widens_heads_where_no_kernel_takes_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, image = OnGpu(25, 16, 14 * 14, 64), OnGpu(1, 12, 64 * 64, 64)
    assert [auto_method(queries) for queries in (windows, image)] == ["mask", "augmented"]
    monkeypatch.setattr(torch.backends.cuda, "mem_efficient_sdp_enabled", lambda: False)
    assert auto_method(windows) == "mask"
    monkeypatch.setattr(torch.backends.cuda, "math_sdp_enabled", lambda: False)
    assert auto_method(windows) == "augmented"


def test_what_does_not_fit_is_refused() -> None:
    inputs = make_inputs(3, 4)
    with pytest.raises(ValueError, match="flash: not a method for relative positions; use auto, bias, mask, augmented, chunked"):
        relative_position_attention(*inputs, method="flash")
    with pytest.raises(ValueError, match="12 tokens do not form a grid of 4x4"):
        relative_position_attention(inputs[0], inputs[1], inputs[2], inputs[4], inputs[4])
