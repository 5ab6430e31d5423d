"""Which attention kernels ran, from the operators that PyTorch's profiler records.

Operators, also those that run on a GPU, are recorded on the CPU side, so no access to the GPU's counters is needed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.autograd.profiler import profile, record_function

from attention import fallback, manual

PREFIX = "aten::_scaled_dot_product_"

KERNELS = {
    "flash_attention": "flash",
    "efficient_attention": "efficient",
    "cudnn_attention": "cudnn",
    "attention_math": "math",
    "flash_attention_for_cpu": "flash_cpu",
}
"""Kernel by the operator's name after `PREFIX`. Other operators are counted under that name."""

MANUAL_SPAN = "savbench: manual attention"
FALLBACK_SPAN = "savbench: attention with fallback"


@dataclass(frozen=True)
class KernelReport:
    """Kernels that served the observed attention calls.

    Code compiled under `auto` shows the kernels that the compiler chose. `math` is never among them, since the compiler decomposes it into
        matrix products.
    """

    counts: Mapping[str, int]
    """Calls by kernel, most frequent first: flash, efficient, cudnn, math, manual, flash_cpu."""

    @property
    def calls(self) -> int:
        """Total number of calls."""
        return sum(self.counts.values())


def observe(function: Callable[[], object]) -> KernelReport:
    """Call the function once under the profiler. Its results are unchanged, but it runs slower, so it must not be a timed call.

    Warm up first: compiling during the call traces through the same operators, which would be counted.

    Exceptions from the function pass through, after the profiler is closed.
    """
    with (
        _marked(manual, "_attend", MANUAL_SPAN),
        _marked(fallback, "_attend_with_fallback", FALLBACK_SPAN),
        # torch.profiler does the same but imports 900 modules, which adds 150 MiB to every row's peak memory
        profile(use_cpu=True) as profiler,
    ):
        function()
    return KernelReport(_count(_events(profiler)))


@contextlib.contextmanager
def _marked(module: Any, name: str, span: str) -> Iterator[None]:
    """Record calls of a module's function as a span inside the block."""
    original = getattr(module, name)

    @functools.wraps(original)
    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(span):
            return original(*args, **kwargs)

    setattr(module, name, marked)
    try:
        yield
    finally:
        setattr(module, name, original)


@dataclass(frozen=True)
class _Event:
    name: str
    thread: object
    begin_us: float
    end_us: float

    def holds(self, other: _Event) -> bool:
        return self.thread == other.thread and self.begin_us <= other.begin_us and other.end_us <= self.end_us


def _events(profiler: profile) -> list[_Event]:
    # The trace is written natively; `profiler.events()` takes seconds to build Python objects for a frame's roughly 60000 events.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_text(encoding="utf-8"))
    return [
        _Event(event["name"], event.get("tid"), event["ts"], event["ts"] + event["dur"])
        for event in trace["traceEvents"]
        if event.get("ph") == "X" and event.get("cat") in ("cpu_op", "user_annotation")
    ]


def _count(events: list[_Event]) -> dict[str, int]:
    manual_spans = [event for event in events if event.name == MANUAL_SPAN]
    fell_back = [event for event in events if event.name == FALLBACK_SPAN and any(event.holds(span) for span in manual_spans)]
    counts: Counter[str] = Counter()
    for event in events:
        kernel = event.name.removeprefix(PREFIX)
        # A kernel that was entered and failed is recorded too, but the manual computation served the call.
        if kernel != event.name and not kernel.endswith("_backward") and not any(span.holds(event) for span in fell_back):
            counts[KERNELS.get(kernel, kernel)] += 1
    counts["manual"] += len(manual_spans)
    return {kernel: count for kernel, count in counts.most_common() if count}
