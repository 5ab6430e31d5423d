"""Prepares decoded frames in host memory as a model's input on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from runners.resize import Resizer

if TYPE_CHECKING:
    import numpy.typing as npt

    from runners.base import Frame
    from runners.resize import Filter, Size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def tables_of_sam2() -> npt.NDArray[np.float32]:
    """The normalised value of every byte by channel, (3, 256): divided by 255 in float64, then normalised in float32, as upstream does."""
    unit = (np.arange(256) / 255.0).astype(np.float32)
    return np.stack([(unit - np.float32(mean)) / np.float32(std) for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])


def tables_of_sam1() -> npt.NDArray[np.float32]:
    """As `tables_of_sam2`, with mean and standard deviation in units of bytes."""
    byte = np.arange(256, dtype=np.float32)
    return np.stack(
        [(byte - np.float32(255 * mean)) / np.float32(255 * std) for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    )


class FramePreprocessor:
    """Converts frames to (3, imgsz, imgsz) float32 on the device, bit-identical to upstream's loaders, which use Pillow.

    Every step after the resize maps one of 256 values, so one table lookup per channel gives the same bits.
    """

    def __init__(
        self, imgsz: int, device: torch.device, kind: Filter = "bicubic", tables_c256: npt.NDArray[np.float32] | None = None
    ) -> None:
        """
        Args:
            tables_c256: value of every byte by channel, (3, 256) float32; None means `tables_of_sam2`.
        """
        self.imgsz = imgsz
        self._resizer = Resizer(kind, device)
        self._tables_c256 = tables_of_sam2() if tables_c256 is None else tables_c256
        self._tables = torch.from_numpy(self._tables_c256).to(device)
        self._image_chw = torch.zeros(3, imgsz, imgsz, device=device)
        self._filled_hw: Size = (imgsz, imgsz)

    @property
    def resize(self) -> str:
        """What resized the last frame, as `FrameReport.resize`."""
        return self._resizer.way

    def prepare(self, in_hw: Size, out_hw: Size | None = None) -> None:
        """Prepare for frames of a size, so that the first takes no longer than the others. Arguments as of a call."""
        self._resizer.prepare(in_hw, out_hw or (self.imgsz, self.imgsz))

    def __call__(self, frame_hwc: Frame, out_hw: Size | None = None) -> torch.Tensor:
        """The model's input, (3, imgsz, imgsz) float32. The next call overwrites it.

        Args:
            frame_hwc: (height, width, 3) RGB uint8.
            out_hw: size of the frame within the input, at its top left; the rest is 0. None fills the input.
        """
        filled_hw = out_hw or (self.imgsz, self.imgsz)
        resized_hwc = self._resizer(frame_hwc, filled_hw)
        if filled_hw != self._filled_hw:
            self._image_chw.zero_()
            self._filled_hw = filled_hw
        filled_chw = self._image_chw[:, : filled_hw[0], : filled_hw[1]]
        if resized_hwc.device.type == "cpu":
            planes = zip(cv2.split(resized_hwc.numpy()), self._tables_c256, filled_chw.numpy(), strict=True)
            for plane_hw, table_256, out_hw_ in planes:
                cv2.LUT(plane_hw, table_256[None], dst=out_hw_)
        else:
            bytes_cn = resized_hwc.permute(2, 0, 1).reshape(3, -1).long()
            filled_chw.copy_(self._tables.gather(1, bytes_cn).view(filled_chw.shape))
        return self._image_chw
