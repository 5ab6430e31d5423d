"""The processor that runs the model, as a session sees it: autocast and attention contexts, memory peaks, a name."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from attention import AttentionError
from runners.base import RunnerError
from savbench.board.memory import unified_memory
from savbench.measure.memory import gpu_memory, reset_torch_peaks, torch_peaks
from savbench.plan.settings_models import NOT_APPLICABLE
from savbench.results.environment import cpu_name, gpu_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from savbench.measure.memory import GpuMemory


class AttentionCounts(Protocol):
    """Counts of attention calls, as `attention.choice.AttentionState` keeps them."""

    @property
    def fell_back(self) -> int | None:
        """Calls that no native kernel could serve and that were computed manually; None unless the choice is `fallback`."""

    @property
    def reasons(self) -> Mapping[str, int]:
        """Number of such calls by reason."""


class Device(Protocol):
    """What a session needs of the processor."""

    name: str
    """Name of the processor, for the row."""
    torch_version: str
    """Empty if the model does not use torch."""
    shares_memory: bool
    """Whether the model and the CPU use the same memory, as on a Jetson."""

    def autocast(self, dtype: str) -> AbstractContextManager[object]:
        """The context in which the session makes every call of the runner."""

    def notes(self, dtype: str) -> tuple[str, ...]:
        """How the context changes torch's default computation, for the row."""

    def attention(self, choice: str) -> AbstractContextManager[AttentionCounts]:
        """The context in which attention is computed as `choice` says."""

    def observe(self, function: Callable[[], object]) -> Mapping[str, int]:
        """Call the function once, untimed. Returns the number of attention calls by the kernel that served them."""

    def warming_up(self) -> AbstractContextManager[object]:
        """The context of the warm-up."""

    def release_memory(self) -> None:
        """Release unused GPU memory that torch's allocator holds, so that a peak does not depend on what ran before."""

    def reset_peaks(self) -> None:
        """Reset the peaks of GPU memory."""

    def peaks_mib(self) -> tuple[float | None, float | None]:
        """Peaks of allocated and reserved GPU memory since the reset, in MiB; None without a GPU."""

    def gpu_memory_mib(self) -> GpuMemory | None:
        """GPU memory in use now; None without a GPU."""

    def allocations(self) -> int | None:
        """How often torch has asked the GPU's driver for memory in this process; None without a GPU."""


class _NoAttention:
    fell_back: int | None = None
    reasons: Mapping[str, int] = MappingProxyType({})


class PlainCpu:
    """The CPU, for models that do not use torch."""

    torch_version = ""

    def __init__(self) -> None:
        self.name = cpu_name()
        self.shares_memory = unified_memory()

    def autocast(self, dtype: str) -> AbstractContextManager[object]:
        if dtype != NOT_APPLICABLE:
            raise ValueError(f"a model without torch cannot autocast to {dtype}; use {NOT_APPLICABLE}")
        return contextlib.nullcontext()

    def notes(self, dtype: str) -> tuple[str, ...]:
        return ()

    def attention(self, choice: str) -> AbstractContextManager[AttentionCounts]:
        if choice != NOT_APPLICABLE:
            raise ValueError(f"a model without torch has no attention {choice}; use {NOT_APPLICABLE}")
        return contextlib.nullcontext(_NoAttention())

    def observe(self, function: Callable[[], object]) -> Mapping[str, int]:
        function()
        return {}

    def warming_up(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def release_memory(self) -> None:
        pass

    def reset_peaks(self) -> None:
        pass

    def peaks_mib(self) -> tuple[float | None, float | None]:
        return None, None

    def gpu_memory_mib(self) -> GpuMemory | None:
        return None

    def allocations(self) -> int | None:
        return None


def check_attention(choice: str, dtype: str, device: str) -> None:
    """Check, before the model is built, that this machine can run a choice of attention. Imports torch.

    Args:
        device: as on the command line.

    Raises:
        RunnerError: the choice cannot run, or there is no such device.
    """
    from attention.choice import check
    from runners.torch_common import resolve_device

    with _refusals_as_runner_errors():
        check(choice, dtype, resolve_device(device))


@contextlib.contextmanager
def _refusals_as_runner_errors() -> Iterator[None]:
    try:
        yield
    except AttentionError as error:
        raise RunnerError(str(error)) from error


class TorchDevice:
    """A torch device. Takes the torch module as an argument, so that importing this module does not import torch."""

    def __init__(self, torch: Any, device: str) -> None:
        """
        Args:
            torch: the module.
            device: as the built model reports it, for example `cpu` or `cuda:0`.
        """
        self._torch = torch
        self._device = torch.device(device)
        self.torch_version = str(torch.__version__)
        if self._device.type == "cuda":
            self.name = gpu_name(str(torch.cuda.get_device_name(self._device)))
            self.shares_memory = bool(torch.cuda.get_device_properties(self._device).is_integrated)
        else:
            self.name = cpu_name()
            self.shares_memory = unified_memory()

    @contextlib.contextmanager
    def autocast(self, dtype: str) -> Iterator[None]:
        """`torch.amp.autocast` to float16 or bfloat16; for float32 no autocast and no TF32.

        By default torch computes float32 convolutions with a 10-bit mantissa on GPUs with TF32, which a reference for accuracy must not.

        Raises:
            RunnerError: this device cannot autocast to the dtype; torch itself may only warn.
        """
        if dtype == "float32":
            with self._without_tf32():
                yield
            return
        kind, wanted = self._device.type, getattr(self._torch, dtype)
        refused = f"--autocast_dtype {dtype}: torch {self.torch_version} cannot autocast to it on {self.name}; use another dtype"
        try:
            context = self._torch.amp.autocast(kind, dtype=wanted)
        except RuntimeError as error:
            raise RunnerError(f"{refused} ({error})") from error
        with context:
            if not self._torch.is_autocast_enabled(kind) or self._torch.get_autocast_dtype(kind) != wanted:
                raise RunnerError(refused)
            yield

    @contextlib.contextmanager
    def _without_tf32(self) -> Iterator[None]:
        # PyTorch 2.9 and newer have a second set of switches; setting one of those makes reading these an error for all other code.
        switches = (self._torch.backends.cudnn, self._torch.backends.cuda.matmul)
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = False
            yield
        finally:
            for switch, allowed in zip(switches, before, strict=True):
                switch.allow_tf32 = allowed

    def notes(self, dtype: str) -> tuple[str, ...]:
        return ("float32 without TF32",) if dtype == "float32" and self._device.type == "cuda" else ()

    @contextlib.contextmanager
    def attention(self, choice: str) -> Iterator[AttentionCounts]:
        """As `attention.choice.using_attention`.

        Raises:
            RunnerError: a forced kernel cannot serve a call inside.
        """
        from attention.choice import using_attention

        with _refusals_as_runner_errors(), using_attention(choice, self._device) as counts:
            yield counts

    def observe(self, function: Callable[[], object]) -> Mapping[str, int]:
        from attention.kernels import observe

        return observe(function).counts

    @contextlib.contextmanager
    def warming_up(self) -> Iterator[None]:
        """Marks a range in an Nsight Systems profile, and has torch repeat warnings that it otherwise gives once per process, so that every
        object's row counts its own."""
        from runners.nvtx import nvtx_range

        before = self._torch.is_warn_always_enabled()
        self._torch.set_warn_always(True)
        try:
            with nvtx_range("warm-up"):
                yield
        finally:
            self._torch.set_warn_always(before)

    def release_memory(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def reset_peaks(self) -> None:
        reset_torch_peaks(self._torch, self._device)

    def peaks_mib(self) -> tuple[float | None, float | None]:
        return torch_peaks(self._torch, self._device)

    def gpu_memory_mib(self) -> GpuMemory | None:
        return gpu_memory(self._torch, self._device)

    def allocations(self) -> int | None:
        if self._device.type != "cuda":
            return None
        # older releases of torch do not count the requests, but what they led to
        stats = self._torch.cuda.memory_stats(self._device)
        return int(stats.get("num_device_alloc", stats.get("segment.all.allocated", 0)))
