"""Shared by the runners on PyTorch: devices, masks to the host, part clocks, reversible replacement of functions."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from runners import nvtx
from runners.base import PARTS, RunnerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from runners.base import Masks

_ABSENT = object()


def resolve_device(name: str) -> torch.device:
    """The device to run on, a GPU with its index; `auto` means CUDA if it works, else the CPU.

    Raises:
        RunnerError: CUDA was requested and this torch cannot use it, or the name is not a device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise RunnerError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise RunnerError(
            f"--device {name}: torch {torch.__version__} ({built}) sees no GPU; use --device cpu, or install the torch of your "
            "JetPack release and check the driver with `nvidia-smi` (desktop) or `tegrastats` (Jetson)"
        )
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise RunnerError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s), counted from cuda:0")
    # Some PyTorch functions need the GPU's index, for example `mem_get_info` in NVIDIA's 2.5 for JetPack 6.1.
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device


@contextlib.contextmanager
def building_on(device: torch.device) -> Iterator[None]:
    """Build a model in the block whose code uses `cuda` whenever there is a GPU, regardless of the device that it will run on.

    SAM 2 and EdgeTAM create their position tables this way: a model on the CPU would copy them from the GPU on every frame, a model on a
    second GPU from the first. A GPU stays the process' current one after the block, because a process serves one model.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        yield
    else:
        with replaced(torch.cuda, "is_available", lambda: False):
            yield


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished everything queued; does nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def float16_autocast(device: torch.device) -> bool:
    """Whether the caller runs under autocast to float16, which cannot be mixed with bfloat16 tensors."""
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16


class Staging:
    """Pinned host memory, kept from frame to frame, which a GPU reads and writes while the host continues.

    Users must wait for the device before the next frame, as a runner does at the end of its calls.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._buffer = torch.empty(0, dtype=dtype)

    def of(self, shape: Sequence[int]) -> torch.Tensor:
        """A tensor of this shape in the memory. It overlaps the previous one, and its content is undefined."""
        size = math.prod(shape)
        if self._buffer.numel() < size:
            self._buffer = _pinned(size, self._dtype)
        return self._buffer[:size].view(*shape)


def _pinned(size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(size, dtype=dtype, pin_memory=True)


class MaskDownload:
    """Turns logits on the device into masks in host memory, with one wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._staging = Staging(torch.bool)
        self._masks_nhw = torch.empty(0, 0, 0, dtype=torch.bool)

    def begin(self, logits_n1hw: torch.Tensor) -> None:
        """Threshold logits at video resolution, (objects, 1, height, width), at 0 and start the copy; does not wait for a GPU."""
        masks_nhw = logits_n1hw[:, 0] > 0
        if self._device.type == "cuda":
            self._masks_nhw = self._staging.of(masks_nhw.shape).copy_(masks_nhw, non_blocking=True)
        else:
            self._masks_nhw = masks_nhw

    def wait(self) -> Masks:
        """Wait until the device is idle. Returns the masks, (objects, height, width) bool, which the caller owns."""
        synchronize(self._device)
        masks_nhw: Masks = self._masks_nhw.numpy()
        return masks_nhw.copy() if self._device.type == "cuda" else masks_nhw


class PartClock:
    """Times the parts of one call: with CUDA events on a GPU, which add no synchronisation, else with the wall clock.

    Each part is an NVTX range too, see `runners.nvtx`.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._device = device
        self._stamps: list[Any] = []
        self._pool: list[Any] = []
        """One event per stamp of a call, recorded again in every call: creating one costs more than recording it."""
        self._nvtx = nvtx.ranges()
        self._range_open = False

    def start(self) -> None:
        self._close_range()  # left open if the last call raised
        self._stamps = []
        self._stamps.append(self._stamp())
        self._open_range()

    def mark(self, name: str) -> None:
        """End the part that began at the last mark."""
        if name != PARTS[len(self._stamps) - 1]:
            raise ValueError(f"{name} was marked where {PARTS[len(self._stamps) - 1]} is due")
        self._close_range()
        self._stamps.append(self._stamp())
        self._open_range()

    def parts_ms(self) -> dict[str, float]:
        """Milliseconds of each marked part; call it when the device is idle."""
        spans = zip(self._stamps, self._stamps[1:], strict=False)
        lengths = [float(a.elapsed_time(b)) if self._on_cuda else (b - a) * 1e3 for a, b in spans]
        return dict(zip(PARTS, lengths, strict=False))

    def _open_range(self) -> None:
        if self._nvtx is not None and len(self._stamps) <= len(PARTS):
            self._nvtx.range_push(PARTS[len(self._stamps) - 1].removesuffix("_ms"))
            self._range_open = True

    def _close_range(self) -> None:
        if self._nvtx is not None and self._range_open:
            self._nvtx.range_pop()
            self._range_open = False

    def _stamp(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        if len(self._pool) == len(self._stamps):
            self._pool.append(torch.cuda.Event(enable_timing=True))
        event = self._pool[len(self._stamps)]
        event.record(torch.cuda.current_stream(self._device))
        return event


def replaced(owner: Any, name: str, value: Any) -> AbstractContextManager[None]:
    """`all_replaced` of one attribute."""
    return all_replaced(((owner, name, value),))


@contextlib.contextmanager
def all_replaced(replacements: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Replace attributes of modules and objects inside the block; restores them afterwards, also after an error.

    Writes namespaces directly: `torch.nn.Module.__setattr__` refuses a function in place of a submodule and may take longer than a stage,
    and an object does not keep what was its class'.

    Args:
        replacements: owner, name and value of each. A value may be made from the one that an earlier replacement put there.
    """
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for owner, name, value in replacements:
            space = vars(owner)
            before.append((space, name, space.get(name, _ABSENT)))
            space[name] = value
        yield
    finally:
        for space, name, value in reversed(before):
            if value is _ABSENT:
                del space[name]
            else:
                space[name] = value


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
