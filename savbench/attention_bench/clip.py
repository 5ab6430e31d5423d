"""A clip tracked with full memory, without the time that filling the memory takes.

The cost of attention depends on the number of memories and object pointers, and SAM 2 and EdgeTAM have all of them from the 16th frame on.
Until then, each frame is tracked at the real input size, but the image encoder and memory attention (95% of a frame) return their outputs
of the first tracked frame. The mask decoder, the memory encoder and the predictor's bookkeeping run, so the memory bank has its real shapes
and dtypes, though not its real values. Recorded and timed frames run completely.
"""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from runners.base import Clip, Prompt, RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runners.base import Frame, VideoRunner

HEIGHT, WIDTH = 720, 1280
FRAMES = 1_000_000
"""More frames than are ever tracked; predictors read the number but allocate nothing for it."""

FILLING_FRAMES = 15
"""Tracked frames until memory is full: 15 object pointers and 6 memories in addition to those of the prompted frame."""

REPEATED = ("image_encoder", "vision_encoder", "memory_attention")
"""Names, in the official packages and transformers, of the modules that take nearly all of a frame's time."""


def model_of(runner: VideoRunner) -> Any:
    """The torch module that a runner holds.

    Raises:
        RunnerError: it holds no module, or several.
    """
    import torch

    found = [value for value in vars(runner).values() if isinstance(value, torch.nn.Module)]
    if len(found) != 1:
        raise RunnerError(f"{type(runner).__name__} holds {len(found)} torch modules; attention can be recorded from exactly one")
    return found[0]


class FullMemoryClip:
    """A synthetic clip of one object: opened, prompted, and tracked until memory is full."""

    def __init__(self, runner: VideoRunner) -> None:
        """Call the constructor and `track` in the contexts of attention and autocast to measure.

        Raises:
            RunnerError: the model cannot track the clip.
        """
        self._runner = runner
        self._frame_hwc, mask_hw = _scene()
        self._index = 0
        runner.open(Clip("attention", FRAMES, HEIGHT, WIDTH), self._frame_hwc)
        runner.prompt(0, self._frame_hwc, [Prompt(1, "mask", mask_hw=mask_hw)])
        model = model_of(runner)
        # A model without memory needs no filling frames.
        with repeating(model, REPEATED):
            for _ in range(FILLING_FRAMES if hasattr(model, "memory_attention") else 1):
                self.track()

    def track(self) -> None:
        """Track one more frame."""
        self._index += 1
        self._runner.track(self._index, self._frame_hwc)


@contextlib.contextmanager
def repeating(model: Any, names: tuple[str, ...]) -> Iterator[None]:
    """Within the block, let these children of a model compute once and then return the same output again."""
    children = [child for name in names if (child := getattr(model, name, None)) is not None]
    for child in children:
        # An attribute of the instance hides the method, and nn.Module calls it.
        child.forward = _once(child.forward)
    try:
        yield
    finally:
        for child in children:
            del child.forward


def _once(forward: Callable[..., Any]) -> Callable[..., Any]:
    kept: list[Any] = []

    def repeated(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(forward(*args, **kwargs))
        # Callers change outputs in place.
        return copy.deepcopy(kept[0])

    return repeated


def _scene() -> tuple[Frame, Any]:
    """A frame of coarse texture with a bright disk, and the mask of the disk."""
    texture_hwc = np.random.default_rng(0).integers(0, 160, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    frame_hwc = texture_hwc.repeat(40, axis=0).repeat(40, axis=1)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    mask_hw = (rows - HEIGHT // 2) ** 2 + (columns - WIDTH // 2) ** 2 < (HEIGHT // 5) ** 2
    frame_hwc[mask_hw] = (250, 220, 90)
    return frame_hwc, mask_hw
