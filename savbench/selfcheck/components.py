"""Upstream's CUDA extension against OpenCV, on random masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from runners.components import connected_components
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.outcome import Outcome

CHECK = "components: sam2._C against OpenCV"
SIDES = (48, 64, 256)
DENSITIES = (0.1, 0.4, 0.6, 0.9)


def check_components(laboratory: Laboratory, quick: bool) -> Iterator[Outcome]:
    """The checks of this module."""
    if not laboratory.is_gpu:
        yield not_applicable(CHECK, "the extension runs on a GPU; on a CPU OpenCV labels components")
        return
    try:
        from sam2 import _C
    except ImportError as error:
        yield not_applicable(CHECK, f"there is none ({error}); OpenCV labels components")
        return
    yield compare_labels(_C.get_connected_componnets, laboratory.torch_device)


def compare_labels(label: Callable[[torch.Tensor], Any], device: torch.device) -> Outcome:
    """Label random masks by the extension and by OpenCV, then let torch compute.

    A hole is told by the area of its component, so areas are compared, and what belongs to a component at all.
    """
    generator = torch.Generator().manual_seed(0)
    wrong = total = 0
    error = ""
    try:
        for side in SIDES:
            for density in DENSITIES:
                masks_n1hw = (torch.rand((2, 1, side, side), generator=generator) < density).to(device, torch.uint8)
                labels, areas = label(masks_n1hw)
                expected_labels, expected_areas = connected_components(masks_n1hw)
                wrong += int(((areas != expected_areas) | ((labels > 0) != (expected_labels > 0))).sum())
                total += masks_n1hw.numel()
    except RuntimeError as raised:
        error = f"it raises: {next(iter(str(raised).splitlines()), type(raised).__name__)}"
    try:
        still_works = float(torch.ones(8, device=device).add_(1).sum()) == 16
    except RuntimeError as raised:
        still_works, error = False, f"{error}; torch raises after it: {next(iter(str(raised).splitlines()), '')}"
    return judged(
        CHECK,
        not wrong and not error and still_works,
        error or f"{wrong} of {total} pixels differ; torch {'works' if still_works else 'gives wrong results'} after it",
        meaning="with this extension masks differ from those of other machines, or every arm of SAM 2 fails",
        remedy="build it again for this GPU (./update_sam2_optional_cuda.sh), or uninstall it: OpenCV gives the same masks",
        pixels_wrong=wrong,
        pixels=total,
    )
