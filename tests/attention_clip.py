"""Which kernels serve a tracked frame under each attention choice; run as a script, for the official EdgeTAM.

The official package is called `sam2` like SAM 2's, so it cannot share a process with tests of SAM 2.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from edgetam_clip import HEIGHT, WIDTH, make_frames, make_prompt
from torch.nn import functional

from attention import AttentionError
from attention.choice import using_attention
from attention.kernels import observe
from runners.base import BuildOptions, Clip
from runners.implementations import build_edgetam as build

ON_CPU = {"auto": "flash_cpu", "flash": "flash_cpu", "math": "math", "manual": "manual", "fallback": "flash_cpu"}
"""Choices that a CPU can run, with the kernel that serves them there."""


def kernels_of_a_frame(runner: Any, choice: str, dtype: str) -> dict[str, int]:
    """Prompt on frame 0, track frame 1, and tell what served frame 2."""
    lower: Any = contextlib.nullcontext() if dtype == "float32" else torch.autocast("cpu", getattr(torch, dtype))
    frames = make_frames(3)
    with using_attention(choice, "cpu") as state, lower:
        runner.open(Clip("square", 3, HEIGHT, WIDTH), frames[0])
        runner.prompt(0, frames[0], [make_prompt("mask")])
        runner.track(1, frames[1])
        before = state.calls
        report = observe(lambda: runner.track(2, frames[2]))
        if before is not None:
            assert state.calls is not None
            assert state.calls - before == report.calls
    runner.close()
    return dict(report.counts)


def refused(runner: Any) -> str:
    """Let PyTorch have no kernel from frame 1 on, under a forced one, and return what the caller is told."""
    native = functional.scaled_dot_product_attention
    frames = make_frames(2)
    missing = False

    def attention(*args: Any, **kwargs: Any) -> Any:
        if missing:
            raise RuntimeError("No available kernel. Aborting execution.")
        return native(*args, **kwargs)

    functional.scaled_dot_product_attention = attention
    try:
        with using_attention("flash", "cpu"):
            runner.open(Clip("square", 2, HEIGHT, WIDTH), frames[0])
            runner.prompt(0, frames[0], [make_prompt("mask")])
            missing = True
            runner.track(1, frames[1])
    except AttentionError as error:
        return str(error)
    finally:
        functional.scaled_dot_product_attention = native
        runner.close()
    return ""


def official_main(source_dir: str, out: str) -> None:
    torch.set_num_threads(1)
    runner = build(BuildOptions(imgsz=256, source_dir=Path(source_dir), seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report: dict[str, Any] = {choice: kernels_of_a_frame(runner, choice, "bfloat16") for choice in ON_CPU}
        report["refused"] = refused(runner)
        report["after"] = kernels_of_a_frame(runner, "math", "float32")
    Path(out).write_text(json.dumps(report))


if __name__ == "__main__":
    official_main(*sys.argv[1:])
