"""The textbook attention against PyTorch's own and against float64."""

from __future__ import annotations

import contextlib
import math
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch")

from torch.nn import functional  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from attention import manual  # noqa: E402
from attention.manual import chunk_rows, default_budget, scaled_dot_product_attention  # noqa: E402

MIB = 1 << 20


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def inputs(*shapes: tuple[int, ...], dtype: Any = None, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype or torch.float64) for shape in shapes]


def exact(query: Any, key: Any, value: Any, scale: float | None = None) -> Any:
    """float64, written out over single queries so that it shares nothing with what is tested."""
    query, key, value = query.double(), key.double(), value.double()
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    exponents = (query[..., :, None, :] * key[..., None, :, :]).sum(-1) * factor
    weights = (exponents - exponents.amax(-1, keepdim=True)).exp()
    return (weights[..., None] * value[..., None, :, :]).sum(-2) / weights.sum(-1)[..., None]


def test_two_keys_by_hand() -> None:
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    key = torch.tensor([[math.log(3.0), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    value = torch.tensor([[8.0], [0.0]])
    # scores are 2 log(3) / sqrt(4) = log 3 and 0, the weights 3/4 and 1/4
    assert scaled_dot_product_attention(query, key, value).item() == pytest.approx(6.0)
    # with scale 1 they are 2 log 3 and 0, the weights 9/10 and 1/10
    assert scaled_dot_product_attention(query, key, value, scale=1.0).item() == pytest.approx(7.2)


@pytest.mark.parametrize(("dtype", "roundoff"), [("float32", 2**-24), ("float16", 2**-11), ("bfloat16", 2**-8)])
@pytest.mark.parametrize("shape", [(1, 1, 96, 131, 256, 256), (2, 3, 49, 196, 64, 17), (1, 2, 1, 1, 8, 8), (1, 1, 7, 5, 1, 3)])
def test_error_is_that_of_rounding(dtype: str, roundoff: float, shape: tuple[int, ...]) -> None:
    b, h, length, sources, width, value_width = shape
    query, key, value = inputs(
        (b, h, length, width), (b, h, sources, width), (b, h, sources, value_width), dtype=getattr(torch, dtype), seed=length
    )
    result = scaled_dot_product_attention(query, key, value)
    assert result.dtype == query.dtype
    largest_score = float((query.double() @ key.double().mT).abs().max()) / math.sqrt(width)
    # A score that is rounded once moves its weight by a factor of exp(score * roundoff); weights and result are rounded once each.
    # float32 accumulates in float32, over at most 256 products in each of the two sums.
    steps = 2 * largest_score + 2 if dtype != "float32" else 2 * math.sqrt(256) * (largest_score + 1)
    assert float((result.double() - exact(query, key, value)).abs().max()) <= steps * roundoff * float(value.double().abs().max())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_softmax_is_float32_under_half_precision(dtype: str) -> None:
    """A softmax in bfloat16 would lose the small terms of its sum: 4096 equal weights would not sum to 1."""
    query, key = torch.zeros(2, 1, 4096, 8, dtype=getattr(torch, dtype))
    value = torch.ones(1, 4096, 1, dtype=getattr(torch, dtype))
    assert float(scaled_dot_product_attention(query[:, :4], key, value)[0, 0, 0]) == 1.0


def test_float16_does_not_overflow_before_the_scale() -> None:
    query = torch.full((1, 2, 256), 40.0, dtype=torch.float16)
    value = torch.tensor([[[1.0], [3.0]]], dtype=torch.float16)
    # 256 * 1600 = 409600 is beyond float16's 65504, and its sixteenth is not
    assert scaled_dot_product_attention(query, query, value).flatten().tolist() == [2.0, 2.0]


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    sizes = st.integers(1, 9)
    length, sources, width, value_width = draw(sizes), draw(sizes), draw(sizes), draw(sizes)
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    gqa = bool(batch) and draw(st.booleans())
    if gqa:
        groups = draw(st.integers(1, 3))
        shapes = [(*batch[:-1], batch[-1] * groups), batch, batch]
    else:
        shapes = [tuple(draw(st.sampled_from([1, n])) for n in batch) for _ in range(3)]
    scores = (*(shapes[0] if gqa else torch.broadcast_shapes(*shapes[:2])), length, sources)
    kind = draw(st.sampled_from(["none", "causal", "bool", "float"]))
    query, key, value, mask = inputs(
        (*shapes[0], length, width), (*shapes[1], sources, width), (*shapes[2], sources, value_width), scores, seed=draw(st.integers(0, 99))
    )
    if kind in ("bool", "float"):
        for axis, size in enumerate(scores[:-2]):
            if size > 1 and draw(st.booleans()):
                mask = mask.narrow(axis, 0, 1)
        mask = mask > 0 if kind == "bool" else mask.masked_fill(mask > 0.5, -math.inf)
    return {
        "query": query,
        "key": key,
        "value": value,
        "attn_mask": mask if kind in ("bool", "float") else None,
        "is_causal": kind == "causal",
        "scale": draw(st.sampled_from([None, 0.3, -1.5, 0.0])),
        "enable_gqa": gqa,
    }


@given(call=calls(), budget=st.sampled_from([None, 1, 200, 1000]))
@settings(max_examples=250)
def test_means_what_pytorch_means(call: dict[str, Any], budget: int | None) -> None:
    """In float64, where a wrong mask, scale or head cannot hide in the rounding; rows without any key to look at included."""
    # The CPU's flash kernel masks before it scales, so that a causal call gives NaN where the scale is 0 or negative.
    with sdpa_kernel(SDPBackend.MATH):
        native = functional.scaled_dot_product_attention(**call)
    result = scaled_dot_product_attention(**call, budget_bytes=budget)
    assert result.shape == native.shape
    assert result.dtype == native.dtype
    torch.testing.assert_close(result, native, rtol=1e-12, atol=1e-12)


def test_a_mask_of_one_row_holds_for_all_queries() -> None:
    query, key, value = inputs((1, 2, 9, 4), (1, 2, 6, 4), (1, 2, 6, 4))
    mask = torch.tensor([[True, False, True, True, False, True]])
    native = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value, mask, budget_bytes=1), native, rtol=1e-12, atol=1e-12)


def test_rows_that_see_nothing_are_zero() -> None:
    query, key, value = inputs((1, 1, 3, 4), (1, 1, 5, 4), (1, 1, 5, 2), dtype=torch.bfloat16)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1] = False
    for form in (mask, torch.zeros(3, 5).masked_fill(~mask, -math.inf)):
        result = scaled_dot_product_attention(query, key, value, form)
        assert result[0, 0, 1].tolist() == [0.0, 0.0]
        assert bool((result[0, 0, [0, 2]] != 0).all())


def test_nan_is_not_taken_for_a_masked_row() -> None:
    query, key, value = inputs((1, 1, 3, 4), (1, 1, 5, 4), (1, 1, 5, 2))
    query[0, 0, 1, 0] = math.nan
    result = scaled_dot_product_attention(query, key, value, torch.ones(3, 5, dtype=torch.bool))
    assert result.isnan().all(-1).flatten().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("query", "key", "value"),
    [((1, 2, 0, 8), (1, 2, 5, 8), (1, 2, 5, 4)), ((1, 2, 3, 8), (1, 2, 0, 8), (1, 2, 0, 4)), ((1, 2, 3, 0), (1, 2, 5, 0), (1, 2, 5, 4))],
)
def test_empty_dimensions(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> None:
    tensors = inputs(query, key, value)
    torch.testing.assert_close(scaled_dot_product_attention(*tensors), functional.scaled_dot_product_attention(*tensors))


def _wrong() -> dict[str, dict[str, Any]]:
    query, key, value = inputs((1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 6))
    good = {"query": query, "key": key, "value": value}
    return {
        "one dimension": {"query": query[0, 0, 0], "key": key[0, 0, 0], "value": value[0, 0, 0]},
        "dtypes differ": {**good, "key": key.float()},
        "integers": {name: tensor.int() for name, tensor in good.items()},
        "devices differ": {**good, "key": key.to("meta")},
        "widths differ": {**good, "key": key[..., :4]},
        "numbers differ": {**good, "value": value[..., :4, :]},
        "batches differ": {**good, "query": query.expand(3, 2, 5, 8), "key": key.expand(2, 2, 7, 8)},
        "ungrouped heads": {**good, "query": query.repeat(1, 3, 1, 1)},
        "heads do not divide": {**good, "query": query.repeat(1, 2, 1, 1)[:, :3], "enable_gqa": True},
        "mask and causal": {**good, "attn_mask": torch.ones(5, 7, dtype=torch.bool), "is_causal": True},
        "mask dtype": {**good, "attn_mask": torch.ones(5, 7, dtype=torch.int32)},
        "mask of another half": {
            **{name: tensor.bfloat16() for name, tensor in good.items()},
            "attn_mask": torch.zeros(5, 7, dtype=torch.float16),
        },
        "mask size": {**good, "attn_mask": torch.ones(4, 7, dtype=torch.bool)},
        "mask for more heads": {
            "query": query[:, :1],
            "key": key[:, :1],
            "value": value,
            "attn_mask": torch.ones(1, 2, 5, 7, dtype=torch.bool),
        },
        "mask dimensions": {**good, "attn_mask": torch.ones(1, 1, 1, 5, 7, dtype=torch.bool)},
        "dropout": {**good, "dropout_p": 2.0},
    }


@pytest.mark.parametrize("name", sorted(_wrong()))
def test_refuses_what_pytorch_refuses(name: str) -> None:
    call = _wrong()[name]
    with pytest.raises(RuntimeError):
        functional.scaled_dot_product_attention(**call)
    with pytest.raises(RuntimeError):
        scaled_dot_product_attention(**call)


def test_dropout_drops_that_share_and_keeps_the_mean() -> None:
    query, key, _ = inputs((1, 1, 400, 4), (1, 1, 400, 4), (1,))
    weights = scaled_dot_product_attention(query, key, torch.eye(400, dtype=torch.float64)[None, None])
    torch.manual_seed(0)
    dropped = scaled_dot_product_attention(query, key, torch.eye(400, dtype=torch.float64)[None, None], dropout_p=0.25)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.01)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept] * 0.75, weights[kept])


# Autocast ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
@pytest.mark.parametrize("given_dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("masked", [False, True])
def test_autocast_casts_as_for_the_native_operator(lower: str, given_dtype: str, masked: bool) -> None:
    query, key, value = inputs((1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), dtype=getattr(torch, given_dtype))
    mask = torch.linspace(-1, 1, 35).reshape(5, 7) if masked else None
    refused: Any = contextlib.nullcontext()
    if masked and given_dtype == "float64":
        refused = pytest.raises(RuntimeError)  # autocast lowers the mask and leaves float64 alone
    with torch.autocast("cpu", getattr(torch, lower)):
        with refused:
            native = functional.scaled_dot_product_attention(query, key, value, mask)
        with refused:
            result = scaled_dot_product_attention(query, key, value, mask)
            assert result.dtype == native.dtype
            torch.testing.assert_close(result, native, atol=0.03, rtol=0.02)


# Chunks --------------------------------------------------------------------------------------------------------------------------------


@given(length=st.integers(1, 5000), row_bytes=st.integers(1, 10**6), budget=st.integers(1, 10**9))
def test_chunks_are_even_and_within_the_budget(length: int, row_bytes: int, budget: int) -> None:
    rows = chunk_rows(length, row_bytes, budget)
    chunks = math.ceil(length / rows)
    assert 1 <= rows <= length
    assert rows == 1 or rows * row_bytes <= budget
    assert rows * chunks - length < chunks  # what is computed twice
    assert chunks == 1 or length * row_bytes > budget


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("budget", [1, 5000, 300_000])
def test_chunks_agree_to_the_rounding_of_float32(dtype: str, budget: int) -> None:
    query, key, value = inputs((1, 2, 197, 64), (1, 2, 250, 64), (1, 2, 250, 64), dtype=getattr(torch, dtype))
    whole = scaled_dot_product_attention(query, key, value, budget_bytes=1 << 40)
    result = scaled_dot_product_attention(query, key, value, budget_bytes=budget)
    # another order of summation moves a float32 sum by a few units in the last place, and a half result by at most one of its own
    torch.testing.assert_close(result, whole, rtol=torch.finfo(query.dtype).eps, atol=4e-6 if dtype == "float32" else 2e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("budget", [5000, 300_000, None])
def test_two_runs_give_equal_bits(dtype: str, budget: int | None) -> None:
    query, key, value = inputs((1, 2, 197, 64), (1, 2, 250, 64), (1, 2, 250, 64), dtype=getattr(torch, dtype))
    first, second = (scaled_dot_product_attention(query, key, value, budget_bytes=budget) for _ in range(2))
    assert torch.equal(first, second)


class _LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Follows the bytes of all storages that operators give out and that are still alive; views of the inputs left out."""

    def __init__(self, *inputs: Any) -> None:
        super().__init__()
        self._inputs = {tensor.untyped_storage().data_ptr() for tensor in inputs if tensor is not None}
        self.peak: int = 0
        self._live: dict[int, int] = {}
        self._holders: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                pointer = storage.data_ptr()
                if pointer in self._inputs:
                    continue
                self._live[pointer] = storage.nbytes()
                self._holders[pointer] = self._holders.get(pointer, 0) + 1
                weakref.finalize(tensor, self._release, pointer)
        self.peak = max(self.peak, sum(self._live.values()))
        return result

    def _release(self, pointer: int) -> None:
        self._holders[pointer] -= 1
        if self._holders[pointer] == 0:
            del self._holders[pointer], self._live[pointer]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["plain", "causal", "mask", "dropout"])
def test_score_matrices_stay_within_the_budget(dtype: str, kind: str) -> None:
    query, key, value = inputs((1, 2, 1024, 16), (1, 2, 1024, 16), (1, 2, 1024, 16), dtype=getattr(torch, dtype))
    mask = torch.ones(1024, 1024, dtype=torch.bool) if kind == "mask" else None
    small = 4 * 2 * 1024 * 16 * query.element_size()  # copies of query, key and value, and the result

    def peak(budget: int) -> int:
        with torch.inference_mode(), _LiveBytes(query, key, value, mask) as live:
            scaled_dot_product_attention(
                query, key, value, mask, is_causal=kind == "causal", dropout_p=0.5 if kind == "dropout" else 0.0, budget_bytes=budget
            )
        return int(live.peak)

    assert peak(2 * MIB) <= 2 * MIB + small
    assert peak(1 << 40) > 8 * MIB  # one float32 score matrix: what is followed is what is there


# Budget --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "available", "budget"),
    [
        (8 * 1024, 6 * 1024, 512),  # an 8 GB board: a sixteenth
        (7620, 6000, 256),  # the same, less what the board keeps for itself
        (24_000, 20_000, 1024),
        (8 * 1024, 300, 64),  # nearly full: a quarter of what is left
        (8 * 1024, 10, 16),  # never nothing
    ],
)
def test_default_budget(monkeypatch: pytest.MonkeyPatch, total: int, available: int, budget: int) -> None:
    monkeypatch.setattr(manual, "_meminfo_bytes", {"MemTotal": total * MIB, "MemAvailable": available * MIB}.__getitem__)
    assert default_budget(torch.device("cpu")) == budget * MIB


@pytest.mark.parametrize(("integrated", "budget"), [(False, 128), (True, 256)])
def test_default_budget_of_a_gpu(monkeypatch: pytest.MonkeyPatch, integrated: bool, budget: int) -> None:
    """Half a GiB is free of 7.5; the allocator holds 256 MiB that it does not use. Linux could reclaim 4 GiB."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (512 * MIB, 7680 * MIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 356 * MIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100 * MIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("Properties", (), {"is_integrated": integrated})())
    monkeypatch.setattr(manual, "_meminfo_bytes", {"MemAvailable": 4096 * MIB}.__getitem__)
    assert default_budget(torch.device("cuda")) == budget * MIB


def test_the_machine_is_asked_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def budget(device: Any) -> int:
        asked.append(device)
        return MIB

    monkeypatch.setattr(manual, "default_budget", budget)
    query, key, value = inputs((1, 1, 64, 8), (1, 1, 64, 8), (1, 1, 64, 8), dtype=torch.float32)
    scaled_dot_product_attention(query, key, value)
    assert asked == []
    scaled_dot_product_attention(query.expand(1, 600, 64, 8), key, value)  # 600 * 64 * 64 scores of 8 bytes
    assert asked == [torch.device("cpu")]
