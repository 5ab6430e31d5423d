"""What is compiled, counted, and flagged where it is not. Graphs are traced as for real, and run by dynamo's eager backend."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from attention.choice import using_attention  # noqa: E402
from runners import RUNNERS, compiling  # noqa: E402
from runners.base import BuildOptions, Clip, CompileReport, Masks, Prompt, RunnerError, VideoRunner  # noqa: E402
from runners.compiling import Compiler  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CPU = torch.device("cpu")
HEIGHT, WIDTH, FRAMES = 64, 96, 4


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled before, and the compiler's settings as they were after."""
    config = torch._dynamo.config
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    limits = {name: False for name in compiling.LIMIT_SWITCHES if hasattr(config, name)}
    kept = {name: getattr(config, name) for name in ("cache_size_limit", "accumulated_cache_size_limit")}
    with config.patch({"suppress_errors": False, **kept, **limits}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


class Double(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x_n: Any) -> Any:
        return x_n * 2 + 1


def compiled(options: BuildOptions | None = None, **how: Any) -> tuple[Compiler, Double]:
    compiler, module = Compiler(options or BuildOptions(compile="full"), CPU), Double()
    compiler.compile_forward(module, **how)
    return compiler, module


def report_of(compiler: Compiler) -> CompileReport:
    report = compiler.report()
    assert report is not None
    return report


def call(module: Double, size: int) -> None:
    with torch.inference_mode():
        assert torch.equal(module(torch.arange(float(size))), torch.arange(float(size)) * 2 + 1)


def test_graphs_and_recompilations_are_counted() -> None:
    compiler, module = compiled(dynamic=False)
    call(module, 3)
    assert report_of(compiler).graphs == 0  # the first call fills tables
    call(module, 3)
    call(module, 3)
    first = report_of(compiler)
    assert (first.mode, first.graphs, first.recompilations, first.graph_breaks, first.fallback) == ("default", 1, 0, 0, "")
    assert first.compile_ms > 0
    call(module, 4)
    again = report_of(compiler)
    assert (again.graphs, again.recompilations) == (2, 1)
    assert again.compile_ms > first.compile_ms


def test_nothing_is_compiled_unless_asked() -> None:
    assert Compiler(BuildOptions(), CPU).report() is None


def test_a_graph_break_is_counted() -> None:
    class Breaks(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x_n: Any) -> Any:
            x_n = x_n * 2
            torch._dynamo.graph_break()
            return x_n + 1

    compiler, module = Compiler(BuildOptions(compile="full"), CPU), Breaks()
    compiler.compile_forward(module)
    call(module, 3)
    call(module, 3)
    assert (report_of(compiler).graphs, report_of(compiler).graph_breaks) == (2, 1)


def test_a_compiler_that_fails_is_flagged_and_the_part_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(graph: object, inputs: object, **_: object) -> Any:
        raise RuntimeError("no C++ compiler was found\nand more")

    monkeypatch.setattr(compiling, "BACKEND", no_compiler)
    compiler, module = compiled()
    for _ in range(3):
        call(module, 3)
    assert report_of(compiler).fallback == "Double: RuntimeError: no C++ compiler was found"


def test_a_lack_of_memory_is_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(graph: object, inputs: object, **_: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(compiling, "BACKEND", no_memory)
    compiler, module = compiled()
    call(module, 3)
    with pytest.raises(RuntimeError, match="out of memory"):
        call(module, 3)
    assert report_of(compiler).fallback == ""


def test_compiling_too_often_is_flagged_or_goes_on() -> None:
    can_raise = [name for name in compiling.LIMIT_SWITCHES if hasattr(torch._dynamo.config, name)]
    with torch._dynamo.config.patch(cache_size_limit=2):  # its name in all releases
        compiler, module = compiled(dynamic=False)
        for size in range(3, 8):
            call(module, size)
    report = report_of(compiler)
    if can_raise:
        assert "LimitHit" in report.fallback
    else:
        assert report.graphs > 3
        assert report.fallback == ""


def test_without_a_switch_nothing_is_left_uncompiled_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch 2.5, as on JetPack 6.1."""
    config = SimpleNamespace(suppress_errors=True, cache_size_limit=8, accumulated_cache_size_limit=256, disable=False)
    errors = SimpleNamespace(TorchDynamoException=KeyError)
    counters: Any = defaultdict(Counter)
    monkeypatch.setattr(compiling, "_dynamo", lambda: SimpleNamespace(config=config, exc=errors, utils=SimpleNamespace(counters=counters)))
    compiled()
    assert config.suppress_errors is False
    assert config.cache_size_limit == config.accumulated_cache_size_limit == compiling.NO_LIMIT


def test_before_torch_2_7_the_limit_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailOnCacheLimitHit(Exception):  # noqa: N818  -- torch's name
        pass

    config = SimpleNamespace(suppress_errors=True, fail_on_cache_limit_hit=False, disable=False)
    errors = SimpleNamespace(TorchDynamoException=KeyError, FailOnCacheLimitHit=FailOnCacheLimitHit)
    counters: Any = defaultdict(Counter)
    monkeypatch.setattr(compiling, "_dynamo", lambda: SimpleNamespace(config=config, exc=errors, utils=SimpleNamespace(counters=counters)))

    def too_often(forward: Any, **_: Any) -> Any:
        def compiled(*_: Any) -> Any:
            raise FailOnCacheLimitHit("cache_size_limit reached")

        return compiled

    monkeypatch.setattr(compiling, "_torch_compile", too_often)
    compiler, module = compiled()
    assert config == SimpleNamespace(suppress_errors=False, fail_on_cache_limit_hit=True, disable=False)
    for _ in range(3):
        call(module, 3)
    assert report_of(compiler).fallback == "Double: FailOnCacheLimitHit: cache_size_limit reached"


@pytest.mark.parametrize(
    ("device", "mode", "replays"),
    [("cuda", "reduce-overhead", True), ("cuda", "default", False), ("cpu", "reduce-overhead", False)],
)
def test_replayed_graphs_are_told(monkeypatch: pytest.MonkeyPatch, device: str, mode: str, replays: bool) -> None:
    compiler, module = Compiler(BuildOptions(compile="full", compile_mode=mode), torch.device(device)), Double()
    monkeypatch.setattr(compiling, "_torch_compile", lambda forward, mode, **how: torch.compile(forward, **how))
    compiler.compile_forward(module)
    call(module, 3)
    assert not report_of(compiler).replays_graphs  # nothing has been recorded
    call(module, 3)
    assert report_of(compiler).replays_graphs == replays


def test_switched_off_from_outside_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    compiler, module = compiled()
    call(module, 3)
    call(module, 3)
    assert "unset it" in report_of(compiler).fallback


def test_an_unknown_mode_names_those_that_exist() -> None:
    with pytest.raises(RunnerError, match=r"fastest: torch .* has no such mode; use .*max-autotune"):
        Compiler(BuildOptions(compile="full", compile_mode="fastest"), CPU)


def test_a_package_that_compiles_nothing_is_an_error() -> None:
    compiler = Compiler(BuildOptions(compile="full"), CPU)
    with pytest.raises(RunnerError, match="compiles nothing"), compiler.upstreams_own():
        pass
    assert torch.compile.__module__ == "torch"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as settings

    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    # what makes code faster and takes the C++ compiler longer; older torch lacks a name
    slow = {name: False for name in ("cpp.vec_isa_ok", "cpp_cache_precompile_headers") if name in settings.get_config_copy()}
    compiler, module = compiled()
    with settings.patch(slow):
        call(module, 64)
        call(module, 64)
    assert (report_of(compiler).graphs, report_of(compiler).fallback) == (1, "")


# the families ---------------------------------------------------------------------------------------------------------------------------


def run(runner: VideoRunner) -> tuple[list[Masks], CompileReport | None]:
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = [np.roll(background, 2 * index, axis=1) for index in range(FRAMES)]
    runner.open(Clip("clip", FRAMES, HEIGHT, WIDTH), frames[0])
    masks = [runner.prompt(0, frames[0], [Prompt(1, "bbox", box_4=np.array([10, 20, 40, 50], np.float32))])]
    masks += [runner.track(index, frames[index]) for index in range(1, FRAMES)]
    compiled = runner.inspect().compiled
    runner.close()
    return masks, compiled


def build(model: str, imgsz: int, **options: Any) -> VideoRunner:
    return RUNNERS[model].build(BuildOptions(imgsz=imgsz, config=RUNNERS[model].config, **options))


def agree(one: list[Masks], other: list[Masks]) -> bool:
    """IoU of 0.99 and more on every frame, and masks that are not all alike."""
    ious = [(a & b).sum() / max((a | b).sum(), 1) if (a | b).any() else 1.0 for a, b in zip(one, other, strict=True)]
    return min(ious) > 0.99 and any(mask.any() for mask in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "imgsz", "needs", "scope", "parts", "mode"),
    [
        ("sam2_tiny", 64, "sam2", "full", 5, "max-autotune"),
        ("sam1_base", 64, "torch", "full", 3, "default"),
        ("edgetam", 256, "timm", "encoder", 1, "default"),
    ],
)
def test_compiled_masks_are_those_of_the_model(model: str, imgsz: int, needs: str, scope: str, parts: int, mode: str) -> None:
    pytest.importorskip(needs, reason=f"needs {needs}")
    plain, runner = build(model, imgsz), build(model, imgsz, compile=scope)
    masks, nothing = run(plain)
    assert nothing is None
    masks_compiled, report = run(runner)
    assert report is not None
    assert agree(masks_compiled, masks)
    assert (report.mode, report.graphs, report.graph_breaks, report.fallback) == (mode, parts, 0, "")


def test_attention_is_computed_as_chosen_in_compiled_code() -> None:
    pytest.importorskip("sam2", reason="needs sam2")
    plain, runner = build("sam2_tiny", 64), build("sam2_tiny", 64, compile="encoder", compile_mode="default")
    assert "compiled with mode default instead of upstream's max-autotune" in runner.applied.notes
    with using_attention("manual", CPU) as eager:
        masks, _ = run(plain)
    with using_attention("manual", CPU) as in_compiled:
        masks_compiled, report = run(runner)
    assert report is not None
    assert (report.mode, report.graphs) == ("default", 1)
    assert agree(masks_compiled, masks)
    assert in_compiled.calls == eager.calls
    assert eager.calls
