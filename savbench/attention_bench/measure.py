"""Time, memory and error of one attention call under the active choice of attention and autocast."""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savbench.board.memory import MIB
from savbench.results.latency import LatencySamples

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from savbench.attention_bench.recording import RecordedCall
    from savbench.measure.devices import Device

MIN_SAMPLES = 3
"""Minimum repetitions, also of a slow call, unless fewer were requested."""

QUEUED = 10
"""CUDA calls launched before synchronizing."""

COMPARED_SCORES = 1 << 24
"""Maximum number of scores in a comparison in float64: 128 MiB."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    repeats: int
    """Maximum number of repetitions of a call or a frame."""
    min_time_s: float
    """Total seconds after which a call or a frame is not repeated again."""

    def enough(self, samples_ms: list[float]) -> bool:
        count = len(samples_ms)
        return count >= self.repeats or (count >= MIN_SAMPLES and sum(samples_ms) >= self.min_time_s * 1e3)


@dataclass(frozen=True)
class CallFigures:
    """Measurements of one call; memory in MiB."""

    kernel: str
    samples: LatencySamples
    peak_mib: float
    max_diff: float
    max_value: float


class CallUnderTest:
    """One recorded call, measured under several choices of attention."""

    def __init__(self, recorded: RecordedCall, on: torch.device, device: Device) -> None:
        """Construct it outside any choice of attention, because it computes the call in float64.

        Args:
            on: device that the call runs on.
            device: the same device, as a session uses it.
        """
        self._call = recorded.on(on)
        self._on = on
        self._device = device
        self._reference = Reference(recorded)

    def measure(self, effort: Effort) -> CallFigures:
        """Measure in the caller's contexts of attention and autocast.

        Three untimed calls for result, kernel and memory come first and serve as warm-up.

        Raises:
            RunnerError: a forced kernel cannot serve the call.
        """
        import torch

        with torch.inference_mode():
            max_diff = self._reference.largest_difference(self._call())
            kernels = self._device.observe(self._call)
            return CallFigures(
                kernel=" ".join(kernels),
                peak_mib=peak_mib(self._call, self._on),
                samples=LatencySamples(sample_ms(self._call, self._on, effort)),
                max_diff=max_diff,
                max_value=self._reference.max_value,
            )


class Reference:
    """The reference for a call: float64 on the CPU, with PyTorch's composite of matrix products and softmax.

    The inputs are as the model passed them, so the loss from autocast's casts counts as difference. Queries do not depend on each other; in
        calls with more than `COMPARED_SCORES` scores, evenly spaced queries are compared, including the first and the last.
    """

    def __init__(self, recorded: RecordedCall) -> None:
        import torch
        from torch.nn import functional
        from torch.nn.attention import SDPBackend, sdpa_kernel

        query, key, value = (tensor.double() for tensor in recorded.inputs)
        length, mask = query.shape[-2], recorded.attn_mask
        per_query = key.shape[-2] * max(math.prod(query.shape[:-2]), math.prod(key.shape[:-2]))
        count = length if recorded.options.get("is_causal") else max(1, min(length, COMPARED_SCORES // max(1, per_query)))
        self._rows = torch.linspace(0, length - 1, count).round().long()
        if mask is not None:
            mask = mask if mask.dtype == torch.bool else mask.double()
            mask = mask if mask.shape[-2] == 1 else mask[..., self._rows, :]
        with torch.inference_mode(), torch.autocast("cpu", enabled=False), sdpa_kernel(SDPBackend.MATH):
            self._exact = functional.scaled_dot_product_attention(query[..., self._rows, :], key, value, mask, **recorded.options)
        self.max_value = float(self._exact.abs().max())

    def largest_difference(self, result: torch.Tensor) -> float:
        """Largest absolute difference of a result of the call from the reference; NaN if the result contains NaN."""
        import torch

        rows = result[..., self._rows.to(result.device), :]
        return float((rows.to("cpu", torch.float64) - self._exact).abs().max())


def sample_ms(call: Callable[[], object], device: torch.device, effort: Effort) -> list[float]:
    """Durations in milliseconds of repeated calls.

    On a GPU, the time between CUDA events around each call, with several calls queued so that launching overlaps computing as it does
    within
        a frame; a call shorter than its launch is measured as long as the launch. Elsewhere, wall time.
    """
    if device.type != "cuda":
        return sample_wall_ms(call, effort)
    import torch

    samples: list[float] = []
    while not effort.enough(samples):
        pairs = []
        stream = torch.cuda.current_stream(device)
        for _ in range(min(QUEUED, effort.repeats - len(samples))):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record(stream)
            call()
            end.record(stream)
            pairs.append((begin, end))
        torch.cuda.synchronize(device)
        samples += [begin.elapsed_time(end) for begin, end in pairs]
    return samples


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Peak memory in MiB that one call allocates, its result included."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before) / MIB
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    del result
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    events = [event for event in trace["traceEvents"] if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    held = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak / MIB


def sample_wall_ms(run: Callable[[], object], effort: Effort) -> list[float]:
    """Wall times in milliseconds of repeated runs, which must return with the device idle."""
    samples: list[float] = []
    while not effort.enough(samples):
        begun = time.perf_counter()
        run()
        samples.append((time.perf_counter() - begun) * 1e3)
    return samples
