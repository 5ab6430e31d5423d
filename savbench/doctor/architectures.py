"""Whether a build of torch has code that runs on a GPU.

Machine code runs on GPUs of the same major version and the same or a higher minor version (CUDA C++ Programming Guide, "Binary
Compatibility"): a build for 8.0 serves 8.6 and 8.9. Jetson GPUs are the exception: before CUDA 13.2 they do not run code compiled for
other GPUs of their generation, nor the reverse. PyTorch has the same table for its own warning (DEVICE_REQUIREMENT in
torch/cuda/__init__.py). So a build for only sm_80 and sm_90, such as PyPI's for aarch64, has no code for an Orin (8.7) unless it was built
with CUDA 13.2 or newer, although the major versions agree.

The driver compiles PTX (`compute_80`) at first use for any GPU of that or a higher version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from savbench.board.jetsons import chips

if TYPE_CHECKING:
    from collections.abc import Iterable

SAME_GPU = {(10, 1): (11, 0)}
"""Thor's number before and after CUDA 13."""

JETSON_GPUS = frozenset({*SAME_GPU, *(chip.capability for chip in chips())})
"""Compute capabilities of Jetson GPUs, Thor under both its numbers."""

CUDA_OF_UNIFICATION = (13, 2)
"""First CUDA release whose builds serve both servers and Jetson boards."""


@dataclass(frozen=True)
class Fit:
    """How a build of torch serves a GPU."""

    kind: Literal["native", "compatible", "ptx", "none"]
    """`native`: compiled for this GPU. `compatible`: for another whose code runs on it. `ptx`: the driver compiles it. `none`: no code."""
    arch: str = ""
    """The entry of the list that serves it, for example `sm_80`."""


@dataclass(frozen=True)
class _Target:
    arch: str
    is_ptx: bool
    capability: tuple[int, int]
    exact: bool
    """Whether the code runs only on this version, as `sm_90a` does."""


def fit(capability: tuple[int, int], archs: Iterable[str], cuda: str | None) -> Fit:
    """The best way in which a build of torch serves a GPU.

    Args:
        capability: of the GPU, (major, minor).
        archs: from `torch.cuda.get_arch_list`: `sm_87`, `sm_90a`, `compute_90`.
        cuda: version that torch was built with, for example `12.6`.
    """
    targets = [target for target in map(_parse, archs) if target is not None]
    code = [target for target in targets if not target.is_ptx and _runs(target, capability, _release(cuda))]
    for target in code:
        if _same(target.capability, capability):
            return Fit("native", target.arch)
    if code:
        return Fit("compatible", max(code, key=lambda target: target.capability).arch)
    ptx = [t for t in targets if t.is_ptx and (t.capability == capability if t.exact else t.capability <= capability)]
    if ptx:
        return Fit("ptx", max(ptx, key=lambda target: target.capability).arch)
    return Fit("none")


def _runs(target: _Target, capability: tuple[int, int], release: tuple[int, int]) -> bool:
    if _same(target.capability, capability):
        return True
    if target.exact or target.capability[0] != capability[0] or target.capability[1] > capability[1]:
        return False
    apart = target.capability in JETSON_GPUS or capability in JETSON_GPUS
    # Code compiled for a Jetson GPU runs on no other GPU.
    return not apart or (release >= CUDA_OF_UNIFICATION and target.capability not in JETSON_GPUS)


def _same(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return SAME_GPU.get(one, one) == SAME_GPU.get(other, other)


def _parse(arch: str) -> _Target | None:
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if match is None:
        return None
    return _Target(arch, match[1] == "compute", (int(match[2]), int(match[3])), match[4] == "a")


def _release(cuda: str | None) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", cuda or "")
    return (0, 0) if match is None else (int(match[1]), int(match[2]))
