"""COCO's run-length encoding of masks, as in SA-V's training set.

Pixels are counted column by column. Runs alternate between 0 and 1, the first is of zeros. A text holds each run as a signed number in
groups of five bits, lowest first, as characters from code 48 on; bit 5 of a character says that another follows, and bit 4 of the last one
is the sign. From the third run on, the number is the difference to the run two places before (rleFrString in common/maskApi.c of
cocodataset/cocoapi). Reading this takes thirty lines; pycocotools would have to be compiled on a board for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_FIRST = 48
_MORE, _SIGN, _BITS = 0x20, 0x10, 5


class RleError(ValueError):
    """The text is not an encoded mask of the stated size."""


@dataclass(frozen=True)
class Rle:
    """An encoded mask."""

    size_hw: tuple[int, int]
    counts: str

    @classmethod
    def of(cls, mask_hw: npt.NDArray[np.bool_]) -> Rle:
        """Encode a mask, (height, width), bool."""
        pixels = mask_hw.reshape(-1, order="F")
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        edges = np.concatenate([[0], changes, [pixels.size]])
        runs = np.diff(edges).tolist()
        if pixels.size and pixels[0]:
            runs.insert(0, 0)
        text = []
        for index, run in enumerate(runs):
            text.append(_encoded(run - runs[index - 2] if index > 2 else run))
        return cls((mask_hw.shape[0], mask_hw.shape[1]), "".join(text))

    def decode(self) -> npt.NDArray[np.bool_]:
        """The mask, (height, width), bool.

        Raises:
            RleError: the text is damaged, or its runs do not fill the mask.
        """
        height, width = self.size_hw
        runs = _runs(self.counts)
        if min(runs, default=0) < 0 or sum(runs) != height * width:
            raise RleError(f"the runs of the mask do not add up to {width}x{height} pixels")
        values = np.zeros(len(runs), np.bool_)
        values[1::2] = True
        return np.asarray(np.repeat(values, runs).reshape((height, width), order="F"))

    def is_empty(self) -> bool:
        """Whether no pixel is in the mask. Raises RleError as `decode`."""
        return not any(_runs(self.counts)[1::2])


def _runs(counts: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for char in counts:
        code = ord(char) - _FIRST
        if not 0 <= code < 2 * _MORE:
            raise RleError(f"{char!r} is not a character of an encoded mask")
        value |= (code & (_MORE - 1)) << shift
        shift += _BITS
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise RleError("the encoded mask is cut off")
    return runs


def _encoded(value: int) -> str:
    text = []
    while True:
        code = value & (_MORE - 1)
        value >>= _BITS
        is_last = value == (-1 if code & _SIGN else 0)
        text.append(chr((code if is_last else code | _MORE) + _FIRST))
        if is_last:
            return "".join(text)
