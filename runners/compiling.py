"""Applies `torch.compile` to the parts of a model, through upstream's own switches if it has them, and counts what was compiled.

It compiles only a module's `forward`, as upstream does, so that parameters keep their names and checkpoints load. Selecting memories,
filling holes, upscaling and copying stay uncompiled.

To the compiler, the attention that `attention.choice` installs is one operator, and compiled code computes as the choice says.

A part that cannot be compiled, because Triton or a C++ compiler is missing or the compiler fails, runs uncompiled, and the report says
which and why. That is no error: a board without a compiler can still measure the rest.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils import _pytree as pytree

from attention.out_of_memory import says_out_of_memory
from runners.base import CompileReport, RunnerError
from runners.torch_common import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runners.base import BuildOptions

BACKEND = "inductor"
"""Backend that compiles the graphs. Tests set dynamo's `eager` or `aot_eager`, which trace in the same way and generate no code."""

CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes in which a later call overwrites the results of an earlier one."""


LIMIT_SWITCHES = ("fail_on_recompile_limit_hit", "fail_on_cache_limit_hit")
"""Switches that make dynamo raise when it has compiled a part too often: since PyTorch 2.7, and in 2.6. PyTorch 2.5 has none."""
NO_LIMIT = 1 << 20
"""A number of compilations that is never reached."""
LIMIT_ERRORS = ("FailOnRecompileLimitHit", "FailOnCacheLimitHit")
"""The errors that dynamo raises then: since PyTorch 2.7, and in 2.6."""


class _Part:
    """One module's `forward`, compiled on its second call."""

    def __init__(self, forward: Callable[..., Any], compiled: Callable[..., Any], records_graphs: bool, *, clone: bool) -> None:
        self.name = type(getattr(forward, "__self__", forward)).__name__
        self.graphs = self.recompilations = self.graph_breaks = 0
        self.compile_s = 0.0
        self.fallback = ""
        self._forward = forward
        self._compiled = compiled
        self._records_graphs = records_graphs
        self._clone = clone and records_graphs
        self._has_run = False

    @property
    def replays_graphs(self) -> bool:
        return self._records_graphs and self.graphs > 0 and not self.fallback

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # The first call fills tables that modules keep for later calls (position encodings). If it were compiled, the tables would be
        # results of compiled code, which CUDA graphs overwrite, and every part would be compiled twice.
        if not self._has_run or self.fallback:
            self._has_run = True
            return self._forward(*args, **kwargs)
        counters = _dynamo().utils.counters
        graphs, breaks = counters["stats"]["unique_graphs"], counters["graph_break"].total()
        begun = time.perf_counter()
        try:
            result = self._compiled(*args, **kwargs)
        except _compiler_errors() as error:
            if says_out_of_memory(str(error)):
                raise
            self.fallback = _first_line(error)
            return self._forward(*args, **kwargs)
        finally:
            found = counters["stats"]["unique_graphs"] - graphs
            if found:
                self.compile_s += time.perf_counter() - begun
                self.graph_breaks += counters["graph_break"].total() - breaks
                self.recompilations += found if self.graphs else 0
                self.graphs += found
        return pytree.tree_map_only(torch.Tensor, torch.clone, result) if self._clone else result


class Compiler:
    """The compiled parts of one model."""

    def __init__(self, options: BuildOptions, device: torch.device) -> None:
        """
        Raises:
            RunnerError: this torch has no such mode.
        """
        self.scope = options.compile
        self._mode = options.compile_mode
        self._device = device
        self._parts: list[_Part] = []
        self._modes: set[str] = set()
        self._overruled: set[str] = set()
        if self.scope == "off":
            return
        known = sorted(torch._inductor.list_mode_options())
        if self._mode is not None and self._mode not in known:
            raise RunnerError(f"--compile_mode {self._mode}: torch {torch.__version__} has no such mode; use {', '.join(known)}")
        # process-wide settings; a process serves one model
        config = _dynamo().config
        config.suppress_errors = False
        _show_limit(config)

    @property
    def notes(self) -> tuple[str, ...]:
        """Adjustments to upstream, as text."""
        return tuple(f"compiled with mode {self._mode} instead of upstream's {mode}" for mode in sorted(self._overruled))

    def compile_forward(self, *modules: Any, dynamic: bool | None = None) -> None:
        """Compile modules that upstream has no switch for.

        Args:
            dynamic: whether to compile for all sizes at once; None lets torch decide, at the cost of a recompilation.
        """
        mode = self._mode or "default"
        for module in modules:
            module.forward = self._part(module.forward, mode, clone=True, dynamic=dynamic)

    @contextlib.contextmanager
    def upstreams_own(self) -> Iterator[None]:
        """Count and guard what upstream compiles itself in the block, where it builds a model, and apply the requested mode.

        Raises:
            RunnerError: compilation was requested and upstream compiled nothing.
        """
        if self.scope == "off":
            yield
            return
        original = torch.compile

        def compile_(function: Any = None, *args: Any, mode: str | None = None, **kwargs: Any) -> Any:
            if not isinstance(getattr(function, "__self__", None), torch.nn.Module):
                return original(function, *args, mode=mode, **kwargs)  # a library's own use, imported meanwhile
            if self._mode not in (None, mode):
                self._overruled.add(mode or "default")
            return self._part(function, self._mode or mode or "default", clone=False, **kwargs)

        # upstream hard-codes the mode in its calls and does not report their outcome
        with replaced(torch, "compile", compile_):
            yield
        if not self._parts:
            raise RunnerError(f"--compile {self.scope}: this version of the model's package compiles nothing; update it, or drop --compile")

    def report(self) -> CompileReport | None:
        """What has been compiled so far; None if no compilation was requested."""
        if self.scope == "off":
            return None
        fallbacks = [f"{part.name}: {part.fallback}" for part in self._parts if part.fallback]
        if _dynamo().config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1":
            fallbacks.append("torch.compile is switched off by TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE in the environment; unset it")
        return CompileReport(
            mode=" ".join(sorted(self._modes)),
            graphs=sum(part.graphs for part in self._parts),
            recompilations=sum(part.recompilations for part in self._parts),
            compile_ms=sum(part.compile_s for part in self._parts) * 1e3,
            graph_breaks=sum(part.graph_breaks for part in self._parts),
            replays_graphs=any(part.replays_graphs for part in self._parts),
            fallback=" | ".join(dict.fromkeys(fallbacks)),
        )

    def _part(self, forward: Callable[..., Any], mode: str, *, clone: bool, **kwargs: Any) -> _Part:
        """
        Args:
            clone: whether to copy results that a later call would overwrite; upstream copies them itself if it compiles.
        """
        self._modes.add(mode)
        records_graphs = mode in CUDA_GRAPH_MODES and self._device.type == "cuda"
        part = _Part(forward, _torch_compile(forward, mode=mode, backend=BACKEND, **kwargs), records_graphs, clone=clone)
        self._parts.append(part)
        return part


_torch_compile = torch.compile
"""torch's own function, even while `torch.compile` is replaced."""


def _dynamo() -> Any:
    # torch imports it only to compile, because the import takes a second
    import torch._dynamo

    return torch._dynamo


def _compiler_errors() -> tuple[type[Exception], ...]:
    """Errors that the compiler raises if it cannot compile; any other error is the model's own."""
    errors = _dynamo().exc
    limits = [getattr(errors, name) for name in LIMIT_ERRORS if hasattr(errors, name)]
    return cast("tuple[type[Exception], ...]", (errors.TorchDynamoException, *limits))


def _show_limit(config: Any) -> None:
    """Leave no limit that passes in silence: beyond it the compiler runs a part uncompiled, and says so in its log alone.

    Where no switch makes it raise, it compiles as often as it takes, which `recompilations` counts.
    """
    switch = next((name for name in LIMIT_SWITCHES if hasattr(config, name)), None)
    if switch is not None:
        setattr(config, switch, True)
    else:
        config.cache_size_limit = config.accumulated_cache_size_limit = NO_LIMIT


def _first_line(error: BaseException) -> str:
    """The kind of error and what tells most of its message: the cause where one is named, otherwise the first line."""
    cause = getattr(error, "inner_exception", None) or error
    lines = [" ".join(line.split()) for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else 'no message'}"
