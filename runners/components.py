"""Filling small holes in masks, as the official predictors do on every frame, with or without their compiled extension.

SAM 2, EdgeTAM and EfficientTAM turn components of the background of up to 8 pixels, at the decoder's resolution (imgsz / 4), into
foreground. They label the components with an optional CUDA extension, `_C` of their package. Where it is missing or broken, or the tensors
are not on a GPU, upstream warns on every frame and returns the mask unfilled: other masks, and a warning that costs time.
`provide_components` puts OpenCV in its place then, so that the masks are the same everywhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch

from runners.base import RunnerError
from runners.torch_common import synchronize

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HOLE_AREA = 8
"""Largest hole to fill, in pixels of the low-resolution mask: `fill_hole_area` of the official predictors."""

FILLED_LOGIT = 0.1
"""Mask logit of a filled pixel, as in the official predictors."""


def connected_components(mask_n1hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Label the 8-connected components of binary masks with OpenCV.

    Copies only the mask, one byte per pixel, to the host and only the areas, int32, back; the labels are derived from them on the device.

    Args:
        mask_n1hw: (n, 1, height, width), bool or uint8, any device; nonzero is foreground.

    Returns:
        Labels, 1 on components and 0 elsewhere; unlike the extension's they do not distinguish components, which no caller needs. And
        the area in pixels of each pixel's component, 0 outside components. Both int32, of the mask's shape, on its device.
    """
    mask_host = (mask_n1hw != 0).to(torch.uint8).cpu().numpy()
    areas_host = np.zeros(mask_host.shape, np.int32)
    for mask_hw, areas_hw in zip(mask_host[:, 0], areas_host[:, 0], strict=True):
        _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw, connectivity=8, ltype=cv2.CV_32S)
        area_of_label = stats[:, cv2.CC_STAT_AREA].astype(np.int32)
        area_of_label[0] = 0
        np.take(area_of_label, labels_hw, out=areas_hw)
    areas_n1hw = torch.from_numpy(areas_host).to(mask_n1hw.device)
    return (areas_n1hw > 0).to(torch.int32), areas_n1hw


def fill_holes(logits_n1hw: torch.Tensor) -> torch.Tensor:
    """Mask logits with their holes filled, for models without a step of their own.

    A hole is an 8-connected component of pixels with logit <= 0 and at most `HOLE_AREA` pixels.

    Args:
        logits_n1hw: (n, 1, height, width), floating point, any device; not modified.
    """
    _, areas_n1hw = connected_components(logits_n1hw <= 0)
    return logits_n1hw.masked_fill((areas_n1hw > 0) & (areas_n1hw <= HOLE_AREA), FILLED_LOGIT)


def provide_components(misc: ModuleType, device: torch.device) -> Literal["cuda", "opencv"]:
    """Make sure that an official predictor on `device` can fill holes. Returns what labels them: its own extension or OpenCV.

    Keeps the extension if it labels a known mask correctly on the device: it is compiled for one architecture and one torch, and only a
    call shows whether it fits. Otherwise replaces the function that calls it, in the module and for the rest of the process: upstream looks
    it up there on each frame, and a worker process serves one model.

    Args:
        misc: the module `utils.misc` of the package in use.
        device: where the predictor runs.
    """
    extension = _import_extension(misc.__name__.partition(".")[0])
    if extension is not None and _usable_on(device) and labels_correctly(extension.get_connected_componnets, device):
        return "cuda"
    misc.get_connected_components = connected_components  # type: ignore[attr-defined]
    return "opencv"


def _import_extension(package: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"{package}._C")
    except ImportError:  # not built, or built for another torch ("undefined symbol")
        return None


def _usable_on(device: torch.device) -> bool:
    """Whether the extension can run on the device: it takes only CUDA tensors and launches kernels only on the current GPU."""
    return device.type == "cuda" and device.index in (None, torch.cuda.current_device())


def labels_correctly(label: Callable[[torch.Tensor], Any], device: torch.device) -> bool:
    """Whether a function with the extension's interface returns the right areas for the components of a known mask.

    Raises:
        RunnerError: the call left the GPU in a state in which nothing runs any more.
    """
    # components that touch at corners, a ring with an empty middle, a pair and a single pixel at the border
    areas_of_rows = ("55....22", "55......", "..5.....", "........", "....888.", "1...8.8.", "....888.", "........")
    expected_11hw = torch.tensor([[0 if cell == "." else int(cell) for cell in row] for row in areas_of_rows])[None, None]
    try:
        labels, areas = label((expected_11hw > 0).to(device, torch.uint8))
        _launch(device)
        return bool(torch.equal(areas.cpu().long(), expected_11hw) and torch.equal(labels.cpu() > 0, expected_11hw > 0))
    except RuntimeError:  # "no kernel image is available": built for another GPU
        pass
    try:
        _launch(device)
    except RuntimeError as error:
        raise RunnerError(
            f"the extension _C has broken CUDA in this process ({next(iter(str(error).splitlines()), 'no message')}); it was built for "
            "another GPU or torch: build it again with update_sam2_optional_cuda.sh, or uninstall it"
        ) from error
    return False


def _launch(device: torch.device) -> None:
    """Launch a PyTorch kernel and wait for it. It raises CUDA's error of an earlier launch, which clears that error.

    The extension does not check whether its kernels were launched, so the next PyTorch kernel would report their errors.
    """
    torch.ones(1, device=device).add_(1)
    synchronize(device)
