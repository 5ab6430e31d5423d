"""Which sides of its square input a family can run: plain data, so that a wrong one is refused before anything heavy is imported."""

from __future__ import annotations

from runners.base import RunnerError

EDGETAM_SIZES = (256, 512, 768, 1024)
"""EdgeTAM's perceiver cuts the feature grid of imgsz / 16 into 16 x 16 equal windows."""
EDGETAM_STRIDE = 16
"""Pixels of EdgeTAM's input per cell of the feature grid that its memory attention works on."""
CUTIE_SIZE = 480
"""Shorter side in pixels that Cutie's evaluation and its example use."""
CUTIE_STRIDE = 16
"""Pixels of Cutie's input per cell of its memory."""
CUTIE_CELLS = 30
"""Cells of the memory that each cell of a frame reads, its `top_k`: a frame must have as many."""
STRIDES = {"sam1": 16, "sam2": 32, "sam3": 14, "cutie": CUTIE_STRIDE, "efficienttam": 16}
"""Sides must be multiples of this: patches of SAM v1, SAM 3 and EfficientTAM, SAM 2's coarsest features, Cutie's cells."""
SMALLEST = {"cutie": 96}
"""The least side of families that cannot run every multiple of their stride: 6 x 6 cells of Cutie's are the first square of enough."""
POOLED = ("_1.yaml", "_2.yaml")
"""Ends of EfficientTAM's configurations that average memories over 2 x 2 cells of the feature grid, which then needs an even side."""


def check_size(family: str, imgsz: int, config: str | None = None) -> None:
    """Check a size before anything is loaded.

    Args:
        config: the spec's name of the architecture, which may narrow the sizes of its family.

    Raises:
        RunnerError: the family cannot run at this size; the message names sizes that work.
    """
    if family == "edgetam" and imgsz not in EDGETAM_SIZES:
        *most, last = EDGETAM_SIZES
        raise RunnerError(f"edgetam: {imgsz} is not a size it can run; use {', '.join(map(str, most))} or {last}")
    stride = STRIDES.get(family)
    if stride is not None and family == "efficienttam" and config is not None and config.endswith(POOLED):
        stride *= 2
    smallest = SMALLEST.get(family, stride)
    if stride is not None and smallest is not None and (imgsz < smallest or imgsz % stride):
        near = max(smallest, round(imgsz / stride) * stride)
        least = f" from {smallest} on" if smallest != stride else ""
        raise RunnerError(f"{family}: {imgsz} is not a size it can run; use a multiple of {stride}{least}, for example {near}")
