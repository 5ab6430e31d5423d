"""Peaks that do not depend on what ran before, memory that does not grow with the clip, and a CPU arm that leaves the GPU alone."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch

from savbench.board.memory import MIB
from savbench.measure.memory import rss_mib
from savbench.selfcheck.laboratory import Laboratory
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from savbench.selfcheck.outcome import Outcome
    from savbench.selfcheck.recorded import Recorded

FRAMES = 128
CPU_FRAMES = 4
FULL_AT = 40
"""By this frame the model's memory of frames and pointers is full and allocators have what they need."""
PEAK_MIB = 2.0
"""What peaks may differ by: one block of torch's allocator."""
GPU_GROWTH_MIB = 0.01
"""Of a frame. Sizes are counted to the byte on a GPU."""
CPU_GROWTH_MIB = 0.1
"""Of a frame of the resident memory, which the C library rounds to its own blocks. An output of this model that is kept takes 0.5."""


def check_memory(laboratory: Laboratory, quick: bool) -> Iterator[Outcome]:
    """The checks of this module. The first one wants a process that has not used a GPU."""
    if not laboratory.is_gpu:
        yield not_applicable("memory: peaks do not depend on order", "GPU peaks are None on a CPU")
    else:
        alone = laboratory.track().measured.session.peaks
        laboratory.track(video=laboratory.large)
        after = laboratory.track().measured.session.peaks
        yield judge_peaks((alone.gpu_allocated, alone.gpu_reserved), (after.gpu_allocated, after.gpu_reserved))
    yield judge_growth(_in_use(laboratory, FULL_AT + 60 if quick else FRAMES), on_gpu=laboratory.is_gpu)


def check_cpu_arm(folder: Path, recorded: Recorded) -> Outcome:
    """Whether a model that runs on the CPU uses a GPU that is there. Wants a process of its own.

    Args:
        folder: as for `Laboratory`.
    """
    if not torch.cuda.is_available():
        return not_applicable("memory: a CPU arm leaves the GPU alone", f"torch {torch.__version__} sees no GPU")
    Laboratory("cpu", folder, recorded).track(frames=CPU_FRAMES)
    counts = [torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count())]
    return judge_cpu_arm(sum(counts))


def judge_cpu_arm(allocated_bytes: int) -> Outcome:
    return judged(
        "memory: a CPU arm leaves the GPU alone",
        allocated_bytes == 0,
        f"{allocated_bytes} bytes allocated on GPUs",
        meaning="frames of --device cpu wait for copies from the GPU, so that their latency is not the CPU's",
        remedy="measure --device cpu with CUDA_VISIBLE_DEVICES= in the environment, which hides the GPU",
        allocated_bytes=allocated_bytes,
    )


def judge_peaks(alone_mib: tuple[float | None, float | None], after_mib: tuple[float | None, float | None]) -> Outcome:
    """
    Args:
        alone_mib: allocated and reserved at their peak, of an object that ran first.
        after_mib: of the same object after a larger clip.
    """
    pairs = list(zip(alone_mib, after_mib, strict=True))
    is_known = all(a is not None and b is not None for a, b in pairs)
    return judged(
        "memory: peaks do not depend on order",
        is_known and all(abs((a or 0) - (b or 0)) <= PEAK_MIB for a, b in pairs),
        f"allocated and reserved: alone {_words(alone_mib)} MiB, after a larger clip {_words(after_mib)} MiB",
        meaning="a row's GPU peaks depend on the objects before it",
        remedy="compare peaks of the first object of each arm alone (--limit_videos 1 --limit_objects 1)",
        alone_MiB=list(alone_mib),
        after_MiB=list(after_mib),
    )


def judge_growth(in_use_mib: Sequence[float], *, on_gpu: bool) -> Outcome:
    """
    Args:
        in_use_mib: memory after each tracked frame: what tensors hold on a GPU, resident memory of the process on a CPU.
    """
    limit = GPU_GROWTH_MIB if on_gpu else CPU_GROWTH_MIB
    settled = in_use_mib[FULL_AT:]
    # both ends by the least of several frames: what is freed late is no growth
    span = max(1, len(settled) // 4)
    growth = (min(settled[-span:]) - min(settled[:span])) / max(1, len(settled) - span)
    return judged(
        "memory: flat over a long clip",
        growth <= limit,
        f"{growth * 1024:+.1f} KiB a frame over {len(settled)} frames (limit {limit * 1024:.0f}), {in_use_mib[-1]:.1f} MiB at the end",
        meaning="memory grows with the length of a clip, so that peaks compare clips and not models",
        remedy="cut clips alike (--max_frames) until this is mended, and report it with the versions of torch and sam2",
        growth_MiB_per_frame=growth,
        in_use_MiB=list(in_use_mib),
    )


def _in_use(laboratory: Laboratory, frames: int) -> list[float]:
    in_use: list[float] = []

    def note(done: int, total: int, frame: int) -> None:
        on = laboratory.torch_device
        in_use.append(torch.cuda.memory_allocated(on) / MIB if laboratory.is_gpu else rss_mib())

    gc.collect()
    laboratory.track(video=laboratory.longer(frames), on_frame=note)
    return in_use[-frames:]


def _words(sizes_mib: tuple[float | None, float | None]) -> str:
    return " and ".join("nothing" if size is None else f"{size:.1f}" for size in sizes_mib)
