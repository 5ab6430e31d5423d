"""PyTorch resize of 8-bit images, bit-identical to Pillow's: on a GPU, and on a CPU faster than Pillow.

SAM 2, EdgeTAM and SAM v1 were published with frames resized by Pillow, so its rounding is part of what a model sees. Pillow resamples one
axis after the other and widens the filter by the scale when shrinking. It rounds weights to integers in units of 2^-22; a pixel is the sum
of weights times bytes, rounded to a byte, and the second axis starts from those bytes.

PyTorch's `embedding_bag` computes weighted sums of rows. float32 holds integers below 2^24 exactly in any order of addition, so each weight
is split into its upper 14 bits and lower 8, and both sums are exact. The other axis uses the transposed image. A GPU computes the two sums
and adds them; on a CPU, where a sum is added up in a known order, one does (`OnHost`).

Pillow chooses which axis comes first; the choice differs between releases and changes the result. So for each new frame size, noise of
that size is resized both by Pillow and here, and a method whose result differs is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import Image
from torch.nn import functional

from runners.torch_common import Staging

if TYPE_CHECKING:
    from runners.base import Frame

Filter = Literal["bicubic", "bilinear"]
Axis = Literal["x", "y"]
Size = tuple[int, int]
"""Height and width in pixels."""

PILLOW = f"pillow {PIL.__version__}"
"""Name in the row."""

WEIGHT_BITS = 22
LOW_BITS = 8
"""Lower bits of a weight; the rest is its upper part."""
HIGH_UNIT = 2.0 ** (LOW_BITS - WEIGHT_BITS)
EXACT_BELOW = 1 << 24
"""float32 holds integers below this exactly."""

LOWER = 2.0**-WEIGHT_BITS * (1 - (1 << LOW_BITS)) / 2
"""Added to a sum of lower parts, it turns rounding to the nearest multiple of `HIGH_UNIT` into rounding down."""
BASE = 600.0
"""float32 numbers from 512 to 1024 are multiples of `HIGH_UNIT`; bytes resampled by cubic filters lie between -90 and 350."""

ORDERS: tuple[tuple[Axis, Axis], ...] = (("x", "y"), ("y", "x"))

ROWS_AT_A_TIME = 32
"""Output rows per step on a CPU, so that the sums stay in its cache."""
NOISE_FRAMES = 2
"""Noise images compared with Pillow before a size is used."""

SUPPORT = {"bicubic": 2, "bilinear": 1}
"""Filter radius in pixels when not shrinking."""


def weights(size_in: int, size_out: int, kind: Filter) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Source pixels and weights of each pixel of a resized line.

    Returns:
        Positions in the line, (size_out, taps), and weights in units of 2^-22 0 for unused taps.
    """
    scale = size_in / size_out
    widened = max(scale, 1.0)
    middles = (np.arange(size_out) + 0.5) * scale
    reach = SUPPORT[kind] * widened
    first = np.maximum((middles - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((middles + reach + 0.5).astype(np.int64), size_in) - first
    taps = np.arange(count.max())
    positions = first[:, None] + taps
    distances = np.abs((positions - middles[:, None] + 0.5) * (1.0 / widened))
    values = np.where(taps < count[:, None], _filter(distances, kind), 0.0)
    # Added in sequence: NumPy's `sum` uses another order and rounds differently.
    values /= np.cumsum(values, axis=1)[:, -1:]
    whole = np.trunc(values * (1 << WEIGHT_BITS) + np.copysign(0.5, values)).astype(np.int64)
    return np.minimum(positions, size_in - 1), whole


def _filter(x: npt.NDArray[np.float64], kind: Filter) -> npt.NDArray[np.float64]:
    """The triangle, or the cubic convolution of Keys (1981) with a = -0.5, at distances >= 0."""
    if kind == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    a = -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


class _Weights:
    """Weights of one axis, split into two parts whose sums float32 holds exactly."""

    def __init__(self, size_in: int, size_out: int, kind: Filter) -> None:
        """
        Raises:
            OverflowError: the image is shrunk so much that float32 cannot hold the sums exactly.
        """
        self.positions_nk, whole_nk = weights(size_in, size_out, kind)
        high_nk, low_nk = whole_nk >> LOW_BITS, whole_nk & ((1 << LOW_BITS) - 1)
        # `OnHost` adds `BASE` to the first, and half a unit to the second.
        high, low = (255 * int(np.abs(part).sum(axis=1).max()) for part in (high_nk, low_nk))
        if max(high + (BASE + 1) / HIGH_UNIT, 2 * low) >= EXACT_BELOW:
            raise OverflowError(f"{size_in} pixels to {size_out}: more taps than float32 can sum exactly")
        self.high_nk = (high_nk * HIGH_UNIT).astype(np.float32)
        """Their sum with the bytes is a multiple of `HIGH_UNIT`."""
        self.low_nk = (low_nk / (1 << LOW_BITS)).astype(np.float32)
        """Their sum with the bytes is in units of `HIGH_UNIT`; its whole units are added to the other sum."""


class OnHost:
    """Resize one axis on a CPU: part of the image at a time, with OpenCV where PyTorch has no fast code.

    One weighted sum per pixel does it all, because the operator adds in the order of its rows. It adds the lower parts of the weights, then
    `LOWER`, a little less than half of a unit of the upper parts, then `BASE`, where float32 has just this unit as its last bit: the sum
    is rounded down to whole units. The upper parts follow, exactly, and `BASE` is subtracted again.
    """

    def __init__(self, along: Axis, in_hw: tuple[int, int], size_out: int, kind: Filter, device: torch.device) -> None:
        """Raises as `_Weights`."""
        size_in, length = in_hw if along == "y" else in_hw[::-1]
        split = _Weights(size_in, size_out, kind)
        self._along = along
        self._out_nmc = np.empty((size_out, length, 3), np.uint8)
        self._turned_mnc = np.empty((length, size_out, 3), np.uint8)
        # The operator takes rows of bytes that end in the scale and the offset of the bytes. The last row is 1 everywhere, for constants.
        self._table = np.ones((size_in + 1, length * 3 + 8), np.uint8)
        self._table[:, -8:-4] = np.ones(1, np.float32).view(np.uint8)
        self._table[:, -4:] = 0
        self._lines_nmc = self._table[:-1, :-8].reshape(size_in, length, 3)

        def constants(*values: float) -> npt.NDArray[np.float32]:
            return np.tile(np.array(values, np.float32), (size_out, 1))

        ones_n2 = np.full((size_out, 2), size_in)
        rows_nk = np.hstack([split.positions_nk, ones_n2, split.positions_nk, ones_n2[:, :1]]).astype(np.int32)
        weights_nk = np.hstack([split.low_nk * HIGH_UNIT, constants(LOWER, BASE), split.high_nk, constants(-BASE)]).astype(np.float32)
        self._parts: list[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for start in range(0, size_out, ROWS_AT_A_TIME):
            part = slice(start, min(start + ROWS_AT_A_TIME, size_out))
            begins_n = np.arange(0, rows_nk[part].size, rows_nk.shape[1], dtype=np.int32)
            self._parts.append((part, *(torch.from_numpy(array) for array in (rows_nk[part].ravel(), begins_n, weights_nk[part].ravel()))))

    @staticmethod
    def is_faster() -> bool:
        """Whether this is faster than Pillow: if this torch has FBGEMM's vector code (x86, not ARM)."""
        return "fbgemm" in torch.backends.quantized.supported_engines and hasattr(torch.ops.quantized, "embedding_bag_byte_rowwise_offsets")

    def __call__(self, picture_hwc: torch.Tensor) -> torch.Tensor:
        """Resize (height, width, 3) uint8 along the axis. The next call overwrites the result."""
        if self._along == "x":
            cv2.transpose(picture_hwc.numpy(), dst=self._lines_nmc)
        else:
            self._lines_nmc[...] = picture_hwc.numpy()
        out_nm = self._out_nmc.reshape(len(self._out_nmc), -1)
        table = torch.from_numpy(self._table)
        for part, rows, begins, weights_n in self._parts:
            sums = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(table, rows, begins, per_sample_weights=weights_n)
            # Rounds to the nearest integer and saturates; half a unit more rounds halves up, as Pillow does.
            cv2.convertScaleAbs(sums.clamp_(min=0.0).numpy(), dst=out_nm[part], beta=HIGH_UNIT / 2)
        return torch.from_numpy(cv2.transpose(self._out_nmc, dst=self._turned_mnc) if self._along == "x" else self._out_nmc)


class OnDevice:
    """Resize one axis on a GPU: few launches, no synchronisation."""

    def __init__(self, along: Axis, in_hw: tuple[int, int], size_out: int, kind: Filter, device: torch.device) -> None:
        """Raises as `_Weights`."""
        split = _Weights(in_hw[0] if along == "y" else in_hw[1], size_out, kind)
        self._along = along
        self._positions_nk = torch.tensor(split.positions_nk, dtype=torch.int32, device=device)
        self._high_nk, self._low_nk = (torch.from_numpy(part).to(device) for part in (split.high_nk, split.low_nk))

    def __call__(self, picture_hwc: torch.Tensor) -> torch.Tensor:
        """Resize (height, width, 3) uint8 along the axis."""
        lines_nmc = picture_hwc.transpose(0, 1) if self._along == "x" else picture_hwc
        lines_nm = lines_nmc.reshape(len(lines_nmc), -1).float()
        high_nm, low_nm = (
            functional.embedding_bag(self._positions_nk, lines_nm, mode="sum", per_sample_weights=part)
            for part in (self._high_nk, self._low_nk)
        )
        out_nm = high_nm.add_(low_nm.floor_(), alpha=HIGH_UNIT).add_(0.5).clamp_(0, 255).to(torch.uint8)
        out_nmc = out_nm.view(len(out_nm), -1, 3)
        return out_nmc.transpose(0, 1).contiguous() if self._along == "x" else out_nmc


class Exact:
    """Resize frames of one size to another, one axis after the other."""

    def __init__(
        self, step: type[OnHost | OnDevice], in_hw: Size, out_hw: Size, kind: Filter, device: torch.device, order: tuple[Axis, Axis]
    ) -> None:
        """
        Raises:
            OverflowError: it cannot be computed exactly.
        """
        self._steps: list[OnHost | OnDevice] = []
        height, width = in_hw
        for axis in order:
            # As with Pillow, an axis that keeps its size is not resampled.
            if axis == "y" and height != out_hw[0]:
                self._steps.append(step("y", (height, width), out_hw[0], kind, device))
                height = out_hw[0]
            elif axis == "x" and width != out_hw[1]:
                self._steps.append(step("x", (height, width), out_hw[1], kind, device))
                width = out_hw[1]

    def __call__(self, picture_hwc: torch.Tensor) -> torch.Tensor:
        """Resize (height, width, 3) uint8 on the device."""
        for step in self._steps:
            picture_hwc = step(picture_hwc)
        return picture_hwc


class Resizer:
    """Resize frames in host memory to another size on a device."""

    def __init__(self, kind: Filter, device: torch.device) -> None:
        self._kind = kind
        self._device = device
        self._sizes: tuple[Size, Size] | None = None
        self._exact: Exact | None = None
        self._staging = Staging(torch.uint8)

    @property
    def way(self) -> str:
        """The method that resized the last frame, as text for the row; empty before the first."""
        if self._sizes is None:
            return ""
        return PILLOW if self._exact is None else f"exact on {self._device.type}, as {PILLOW}"

    def prepare(self, in_hw: Size, out_hw: Size) -> None:
        """Determine how to resize frames of this size, which takes about 100 ms; otherwise done on the first frame."""
        if self._sizes != (in_hw, out_hw):
            self._sizes, self._exact = (in_hw, out_hw), self._equal_to_pillow(in_hw, out_hw)

    def __call__(self, frame_hwc: Frame, out_hw: Size) -> torch.Tensor:
        """Resize (height, width, 3) uint8 in host memory.

        Returns:
            The frame on the device, overwritten by the next call.
        """
        self.prepare((frame_hwc.shape[0], frame_hwc.shape[1]), out_hw)
        if self._exact is None:
            return self._on_device(by_pillow(frame_hwc, out_hw, self._kind))
        return self._exact(self._on_device(frame_hwc))

    def _equal_to_pillow(self, in_hw: Size, out_hw: Size) -> Exact | None:
        """The exact resize for these sizes; None if Pillow has to be used."""
        step = OnHost if self._device.type == "cpu" else OnDevice
        if step is OnHost and not OnHost.is_faster():
            return None
        noise = np.random.default_rng(0).integers(0, 256, (NOISE_FRAMES, *in_hw, 3), np.uint8)
        expected = [torch.from_numpy(by_pillow(frame_hwc, out_hw, self._kind)) for frame_hwc in noise]
        for order in ORDERS:
            try:
                exact = Exact(step, in_hw, out_hw, self._kind, self._device, order)
            except OverflowError:
                return None
            if all(torch.equal(exact(self._on_device(a)).cpu(), b) for a, b in zip(noise, expected, strict=True)):
                return exact
        return None

    def _on_device(self, frame_hwc: Frame) -> torch.Tensor:
        if self._device.type != "cuda":
            # PyTorch warns about read-only arrays.
            return torch.from_numpy(frame_hwc if frame_hwc.flags.writeable else frame_hwc.copy()).to(self._device)
        staged_hwc = self._staging.of(frame_hwc.shape)
        staged_hwc.numpy()[...] = frame_hwc
        return staged_hwc.to(self._device, non_blocking=True)


def by_pillow(frame_hwc: Frame, out_hw: Size, kind: Filter) -> Frame:
    """Resize (height, width, 3) uint8 to another height and width."""
    height, width = out_hw
    return np.array(Image.fromarray(frame_hwc).resize((width, height), Image.Resampling[kind.upper()]))
