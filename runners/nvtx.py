"""NVTX ranges for Nsight Systems (`scripts/profile_nsys.sh`): with SAVBENCH_NVTX=1 in the environment and a GPU, nothing otherwise."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_NOTHING = contextlib.nullcontext()


@functools.cache
def ranges() -> Any:
    """torch's module with `range_push` and `range_pop`; None without SAVBENCH_NVTX=1 or without a GPU. Decided once per process."""
    if os.environ.get("SAVBENCH_NVTX") != "1":
        return None
    import torch

    return torch.cuda.nvtx if torch.cuda.is_available() else None


def nvtx_range(name: str) -> AbstractContextManager[object]:
    """A context that marks a range of this name in the profile. Ranges nest; each thread has its own."""
    nvtx = ranges()
    return _NOTHING if nvtx is None else _range(nvtx, name)


@contextlib.contextmanager
def _range(nvtx: Any, name: str) -> Any:
    nvtx.range_push(name)
    try:
        yield
    finally:
        nvtx.range_pop()
