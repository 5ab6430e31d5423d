"""The size of a session, which its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


BYTES_PER_PIXEL = 6
"""Two decoded RGB frames of 3 bytes a pixel: the one being tracked and the one being decoded."""


BYTES_PER_PIXEL_AND_OBJECT = 10
"""Float32 logits at video resolution and one copy of them (4 + 4), a boolean mask on the device and one on the host (1 + 1)."""


@dataclass(frozen=True)
class Extent:
    """Frames, pixels and objects of a session."""

    frames: int
    """Frames fed."""
    pixels: int
    """Pixels of a frame."""
    tracks: int = 1
    """Objects tracked together."""

    @property
    def frames_mib(self) -> float:
        """Memory in MiB of one frame with its logits and masks."""
        return self.pixels * (BYTES_PER_PIXEL + self.tracks * BYTES_PER_PIXEL_AND_OBJECT) / 2**20

    @staticmethod
    def largest(extents: Iterable[Extent]) -> Extent:
        """The maximum of each field over all extents."""
        every = list(extents)
        return Extent(*(max(getattr(extent, name) for extent in every) for name in ("frames", "pixels", "tracks")))
