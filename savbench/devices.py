"""What a session needs of the processor that runs the model: the autocast context, peaks of memory, a name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from runners.base import RunnerError
from savbench.config import NOT_APPLICABLE
from savbench.environment import cpu_name
from savbench.memory import reset_torch_peaks, torch_peaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class Device(Protocol):
    """The processor as a session sees it."""

    name: str
    """Name of the processor, for the row."""
    torch_version: str
    """Empty where torch is not used."""

    def autocast(self, dtype: str) -> AbstractContextManager[object]:
        """The context that every call of the runner is made in."""

    def warming_up(self) -> AbstractContextManager[object]:
        """The context of the warm-up."""

    def reset_peaks(self) -> None:
        """Forget the peaks of GPU memory so far."""

    def peaks_mib(self) -> tuple[float | None, float | None]:
        """Peaks of allocated and reserved GPU memory since the reset, in MiB; None where there is no GPU."""


class PlainCpu:
    """The CPU, for models that do without torch."""

    torch_version = ""

    def __init__(self) -> None:
        self.name = cpu_name()

    def autocast(self, dtype: str) -> AbstractContextManager[object]:
        if dtype != NOT_APPLICABLE:
            raise ValueError(f"a model without torch knows no autocast to {dtype}")
        return contextlib.nullcontext()

    def warming_up(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def reset_peaks(self) -> None:
        pass

    def peaks_mib(self) -> tuple[float | None, float | None]:
        return None, None


class TorchDevice:
    """A device of torch, which this class is given so that importing this module does not load it."""

    def __init__(self, torch: Any, device: str) -> None:
        """`device` as the built model reports it, for example `cpu` or `cuda:0`."""
        self._torch = torch
        self._device = torch.device(device)
        self.torch_version = str(torch.__version__)
        self.name = str(torch.cuda.get_device_name(self._device)) if self._device.type == "cuda" else cpu_name()

    @contextlib.contextmanager
    def autocast(self, dtype: str) -> Iterator[None]:
        """`torch.amp.autocast` to float16 or bfloat16; float32 is no autocast.

        Raises:
            RunnerError: this device cannot autocast to the dtype, which torch itself may pass over with a warning.
        """
        if dtype == "float32":
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
    def warming_up(self) -> Iterator[None]:
        """torch gives many of its warnings once per process; in the warm-up it repeats them, so that every object's row has its own."""
        before = self._torch.is_warn_always_enabled()
        self._torch.set_warn_always(True)
        try:
            yield
        finally:
            self._torch.set_warn_always(before)

    def reset_peaks(self) -> None:
        reset_torch_peaks(self._torch, self._device)

    def peaks_mib(self) -> tuple[float | None, float | None]:
        return torch_peaks(self._torch, self._device)
