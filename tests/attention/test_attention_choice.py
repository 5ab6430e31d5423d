"""Choosing the attention: what is refused, what is switched, and that it is undone."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attention import CHOICES, FORCED, AttentionError, refusal

ROOT = Path(__file__).parents[2]
torch = pytest.importorskip("torch", reason="needs torch")

from torch.nn import functional  # noqa: E402
from torch.nn.attention import sdpa_kernel  # noqa: E402

from attention import choice as choice_module  # noqa: E402
from attention import manual  # noqa: E402
from attention.choice import BACKENDS, check, using_attention  # noqa: E402
from attention.fallback import AttentionFallbackWarning  # noqa: E402
from attention.kernels import observe  # noqa: E402

NATIVE = functional.scaled_dot_product_attention
ON_CPU = ("auto", "flash", "math", "manual", "fallback")
KERNEL = {"auto": "flash_cpu", "flash": "flash_cpu", "math": "math", "manual": "manual", "fallback": "flash_cpu"}
QUERY = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0))
NARROW = QUERY[..., :6]
"""Values of another width, which the CPU's flash kernel refuses."""


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def switches() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled(), cuda.math_sdp_enabled())


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = switches()
    yield
    assert functional.scaled_dot_product_attention is NATIVE
    assert switches() == before


# What is refused -----------------------------------------------------------------------------------------------------------------------


def test_listing_choices_loads_no_torch() -> None:
    code = "import sys, attention; attention.refusal('flash', 'float32'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("choice", "dtype", "device_type", "says"),
    [
        ("flash", "float32", "cuda", "flash has no float32 kernel; use --autocast_dtype bfloat16 or float16, or --attention auto"),
        ("flash", "float32", "cpu", None),
        ("flash", "float32", None, None),
        ("flash", "bfloat16", "cuda", None),
        ("cudnn", "float32", "cuda", "cudnn has no float32 kernel"),
        ("cudnn", "float32", "cpu", "the CPU has no cudnn kernel"),
        ("cudnn", "float32", None, "cudnn has no float32 kernel"),
        ("cudnn", "float16", "cuda", None),
        ("efficient", "float32", "cuda", None),
        ("efficient", "bfloat16", "cpu", "the CPU has no efficient kernel"),
        ("efficient", "bfloat16", None, None),
    ],
)
def test_refusal(choice: str, dtype: str, device_type: str | None, says: str | None) -> None:
    reason = refusal(choice, dtype, device_type)
    assert reason is None if says is None else reason is not None and reason.startswith(says)


@pytest.mark.parametrize("choice", ["auto", "math", "manual", "fallback"])
@pytest.mark.parametrize("device_type", ["cuda", "cpu", None])
def test_choices_that_run_everywhere(choice: str, device_type: str | None) -> None:
    assert [refusal(choice, dtype, device_type) for dtype in ("float32", "float16", "bfloat16")] == [None, None, None]


def test_unknown_choices_are_named() -> None:
    for call in (
        lambda: refusal("fast", "float32"),
        lambda: check("fast", "float32", "cpu"),
        lambda: using_attention("fast", "cpu").__enter__(),
    ):
        with pytest.raises(ValueError, match=r"^fast: not an attention choice; use auto, flash, "):
            call()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("choice", ON_CPU)
def test_check_passes_what_the_cpu_has(choice: str, dtype: str) -> None:
    check(choice, dtype, "cpu")


@pytest.mark.parametrize("choice", ["efficient", "cudnn"])
def test_check_refuses_what_the_cpu_has_not(choice: str) -> None:
    with pytest.raises(AttentionError, match=rf"^--attention {choice}: the CPU has no {choice} kernel; use --attention flash"):
        check(choice, "bfloat16", "cpu")


def test_check_finds_a_kernel_that_the_build_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def native(*args: Any, **kwargs: Any) -> Any:
        warnings.warn("Flash attention kernel not used because: (Triggered internally at sdp_utils.cpp:908.)", stacklevel=1)
        warnings.warn("Torch was not compiled with flash attention. (Triggered internally at sdp_utils.cpp:551.)", stacklevel=1)
        raise RuntimeError("No available kernel. Aborting execution.")

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(functional, "scaled_dot_product_attention", native)
        with pytest.raises(
            AttentionError, match=r"No available kernel\. Aborting execution; Torch was not compiled with flash attention; use"
        ):
            check("flash", "bfloat16", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_check_on_a_gpu() -> None:
    check("math", "float32", "cuda")
    check("efficient", "float32", "cuda")
    with pytest.raises(AttentionError, match="flash has no float32 kernel"):
        check("flash", "float32", "cuda")


# Switching -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", ["none", "outside", "inside"])
@pytest.mark.parametrize("choice", ON_CPU)
def test_the_chosen_kernel_runs(choice: str, autocast: str) -> None:
    def lower(where: str) -> Any:
        return torch.autocast("cpu", torch.bfloat16) if autocast == where else contextlib.nullcontext()

    with torch.inference_mode(), lower("outside"), using_attention(choice, "cpu") as state, lower("inside"):
        results: list[Any] = []
        report = observe(lambda: results.append(functional.scaled_dot_product_attention(QUERY, QUERY, QUERY)))
    assert report.counts == {KERNEL[choice]: 1}
    dtype = torch.float32 if autocast == "none" else torch.bfloat16
    assert results[0].dtype == dtype
    torch.testing.assert_close(results[0].float(), NATIVE(QUERY, QUERY, QUERY), atol=1e-6 if autocast == "none" else 0.03, rtol=0)
    assert state.calls == (None if choice == "auto" else 1)
    assert (state.fell_back, dict(state.reasons)) == (0 if choice == "fallback" else None, {})


def test_auto_touches_nothing() -> None:
    before = switches()
    with using_attention("auto", "cpu"):
        assert functional.scaled_dot_product_attention is NATIVE
        assert switches() == before


@pytest.mark.parametrize("choice", FORCED)
def test_a_forced_kernel_is_alone(choice: str) -> None:
    with using_attention(choice, "cpu"):
        assert switches() == tuple(name == choice for name in ("flash", "efficient", "cudnn", "math"))


def test_the_switches_of_an_outer_context_come_back() -> None:
    with sdpa_kernel([BACKENDS["math"], BACKENDS["flash"]]):
        with using_attention("flash", "cpu"):
            pass
        assert switches() == (True, False, False, True)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("error", [RuntimeError("other"), KeyboardInterrupt(), torch.OutOfMemoryError("CUDA out of memory")])
def test_errors_pass_through_and_the_choice_is_undone(choice: str, error: BaseException) -> None:
    before = switches()
    with pytest.raises(type(error)) as caught, using_attention(choice, "cpu"):
        raise error
    assert caught.value is error
    assert functional.scaled_dot_product_attention is NATIVE
    assert switches() == before
    with using_attention("manual", "cpu") as state:
        functional.scaled_dot_product_attention(QUERY, QUERY, QUERY)
    assert state.calls == 1


@pytest.mark.parametrize("outer", ["auto", "manual"])
def test_choices_do_not_nest(outer: str) -> None:
    with using_attention(outer, "cpu"):
        inside = functional.scaled_dot_product_attention
        with pytest.raises(AttentionError, match="cannot be nested"), using_attention("math", "cpu"):
            pass
        assert functional.scaled_dot_product_attention is inside


def test_a_call_that_the_forced_kernel_refuses_says_why() -> None:
    with warnings.catch_warnings(), using_attention("flash", "cpu"):
        warnings.simplefilter("ignore")
        with pytest.raises(AttentionError) as caught:
            functional.scaled_dot_product_attention(QUERY, QUERY, NARROW)
    text = str(caught.value)
    assert text.startswith("--attention flash: cannot serve query (1, 2, 5, 8), key (1, 2, 5, 8), value (1, 2, 5, 6), float32 on cpu: ")
    assert "Flash attention requires q,k,v to have the same last dimension" in text
    assert text.endswith("use --attention fallback, which computes such calls itself, or auto")


def test_a_forced_kernel_reports_other_errors_as_they_are() -> None:
    with using_attention("math", "cpu"), pytest.raises(RuntimeError, match="same dtype") as caught:
        functional.scaled_dot_product_attention(QUERY, QUERY.half(), QUERY)
    assert not isinstance(caught.value, AttentionError)


def test_fallback_tells_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    def native(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        if query.shape[-1] != value.shape[-1]:
            raise RuntimeError("No available kernel. Aborting execution.")
        return NATIVE(query, key, value, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(functional, "scaled_dot_product_attention", native)
        with using_attention("fallback", "cpu") as state:
            functional.scaled_dot_product_attention(QUERY, QUERY, QUERY)
            for _ in range(2):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    result = functional.scaled_dot_product_attention(QUERY, QUERY, NARROW)
                    told = [(warning.category, warning.filename) for warning in caught]
                assert told == ([(AttentionFallbackWarning, __file__)] if state.fell_back == 1 else [])
        assert functional.scaled_dot_product_attention is native
    torch.testing.assert_close(result, NATIVE(QUERY, QUERY, NARROW))
    assert (state.calls, state.fell_back) == (3, 2)
    assert state.reasons == {"No available kernel. Aborting execution": 2}


def test_manual_has_the_budget_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int] = []
    original = manual._attend

    def spy(*args: Any) -> Any:
        budgets.append(args[-1])
        return original(*args)

    monkeypatch.setattr(manual, "default_budget", lambda device: 12345 if device == torch.device("cpu") else 0)
    monkeypatch.setattr(manual, "_attend", spy)
    with using_attention("manual", "cpu") as state:
        functional.scaled_dot_product_attention(QUERY, QUERY, QUERY)
    assert (budgets, state.budget_bytes) == ([12345], 12345)


# torch.compile -------------------------------------------------------------------------------------------------------------------------


class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv = torch.nn.Linear(16, 48)

    def forward(self, x_bnc: Any) -> Any:
        # float() as a normalisation before attention gives it, for autocast to have something to do
        query, key, value = self.qkv(x_bnc).float().reshape(*x_bnc.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2) + 1


class Compiler:
    """Counts the graphs that are compiled and hands them to the backend."""

    def __init__(self, backend: str) -> None:
        self.graphs = 0
        self._backend: Callable[..., Any] = torch._dynamo.lookup_backend(backend)

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return self._backend(graph, inputs)


@pytest.fixture
def block() -> Iterator[Block]:
    torch._dynamo.reset()
    yield Block()
    torch._dynamo.reset()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("choice", ON_CPU)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_computes_as_chosen(block: Block, choice: str, backend: str, autocast: bool) -> None:
    x_bnc = torch.randn(2, 5, 16)
    lower: Any = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.inference_mode(), using_attention(choice, "cpu") as state, lower:
        eager = block(x_bnc)
        compiled = torch.compile(block, backend=backend, fullgraph=True)
        assert torch.equal(compiled(x_bnc), eager)
        report = observe(lambda: compiled(x_bnc))
    if (choice, backend) != ("auto", "aot_eager"):
        assert report.counts == {KERNEL[choice]: 1}
    assert state.calls == (None if choice == "auto" else 3)


def test_compiled_once_for_all_choices(block: Block) -> None:
    compiler = Compiler("aot_eager")
    compiled = torch.compile(block, backend=compiler, fullgraph=True)
    x_bnc = torch.randn(2, 5, 16)
    seen = []
    with torch.inference_mode():
        for choice in ("manual", "math", "manual", "flash", "fallback"):
            with using_attention(choice, "cpu"):
                compiled(x_bnc)
                seen.append(observe(lambda: compiled(x_bnc)).counts)
    assert seen == [{"manual": 1}, {"math": 1}, {"manual": 1}, {"flash_cpu": 1}, {"flash_cpu": 1}]
    assert compiler.graphs == 1


def test_compiled_code_falls_back(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing kernel shows when the graph runs, long after it was traced."""

    def native(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("No available kernel. Aborting execution.")

    x_bnc = torch.randn(2, 5, 16)
    with torch.inference_mode():
        with using_attention("manual", "cpu"):
            expected = block(x_bnc)
        with monkeypatch.context() as patch:
            patch.setattr(functional, "scaled_dot_product_attention", native)
            with using_attention("fallback", "cpu") as state, pytest.warns(AttentionFallbackWarning):
                assert torch.equal(torch.compile(block, backend="aot_eager", fullgraph=True)(x_bnc), expected)
    assert state.fell_back == 1


def test_compiled_code_says_why_a_forced_kernel_refuses() -> None:
    torch._dynamo.reset()

    @torch.compile(backend="aot_eager", fullgraph=True)  # type: ignore[untyped-decorator]
    def attend(query: Any, value: Any) -> Any:
        return functional.scaled_dot_product_attention(query, query, value) + 1

    with warnings.catch_warnings(), torch.inference_mode(), using_attention("flash", "cpu"):
        warnings.simplefilter("ignore")
        with pytest.raises(AttentionError, match="same last dimension"):
            attend(QUERY, NARROW)


def test_the_operator_is_described_to_the_compiler_as_it_is() -> None:
    tensors = [QUERY.repeat(1, 3, 1, 1), QUERY, NARROW]
    with torch.inference_mode(False), using_attention("manual", "cpu"):
        torch.library.opcheck(
            choice_module._opaque,
            (*tensors, None, 0.0, False, None, True),
            test_utils=["test_schema", "test_faketensor"],
        )
