"""Lets a runtime work on a GPU in a stream of its own, in order with torch's, while the host waits for neither."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class SideStream:
    """A stream of one device; on the CPU there is none, and nothing to order."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def handle(self) -> int:
        """CUDA's pointer to the stream, for a runtime; 0 without one."""
        return 0 if self._stream is None else int(self._stream.cuda_stream)

    @contextlib.contextmanager
    def after_torch(self, tensors: Sequence[torch.Tensor]) -> Iterator[None]:
        """What the block queues in the stream runs after what torch has queued, and before what torch queues next.

        Args:
            tensors: those that it reads, whose memory torch must not reuse meanwhile.
        """
        if self._stream is None:
            yield
            return
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        yield
        current.wait_stream(self._stream)
        for tensor in tensors:
            tensor.record_stream(self._stream)
