"""The size of a session, as far as its memory depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


BYTES_PER_PIXEL = 6
"""The decoded frame, 3 bytes, and the one that is decoded while it is tracked."""


BYTES_PER_PIXEL_AND_OBJECT = 10
"""Logits at video resolution in float32 and a copy of them on the way there, the boolean mask on the device and on the host."""


@dataclass(frozen=True)
class Extent:
    """What the memory of a session depends on."""

    frames: int
    """Frames that are fed."""
    pixels: int
    """Of a frame."""
    tracks: int = 1
    """Objects that are tracked together."""

    @property
    def frames_mib(self) -> float:
        """Of one frame with its logits and masks."""
        return self.pixels * (BYTES_PER_PIXEL + self.tracks * BYTES_PER_PIXEL_AND_OBJECT) / 2**20

    @staticmethod
    def largest(extents: Iterable[Extent]) -> Extent:
        """The largest in each respect, which need not be one of them."""
        every = list(extents)
        return Extent(*(max(getattr(extent, name) for extent in every) for name in ("frames", "pixels", "tracks")))
