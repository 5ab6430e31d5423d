"""Ground truth of one object on one frame, however a layout stores it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runners.base import Prompt
from savbench.data.frames import ClipError
from savbench.data.png import read_mask, read_picture
from savbench.data.rle import Rle, RleError

if TYPE_CHECKING:
    from runners.base import PromptKind
    from savbench.data.png import BoolMask


class Annotation(ABC):
    """Immutable; equal annotations have the same mask. Nothing is decoded before `read`."""

    __slots__ = ()

    @property
    @abstractmethod
    def frame_name(self) -> str:
        """Name of the frame's file without its suffix, for example `00004`: predictions are saved under it."""

    @abstractmethod
    def read(self, size_hw: tuple[int, int] | None = None) -> BoolMask:
        """The object's mask, (height, width), bool.

        Args:
            size_hw: size of the video's frames; None accepts any.

        Raises:
            ClipError: it is missing, damaged or of another size.
        """


@dataclass(frozen=True)
class _InFile(Annotation):
    """Stored in a PNG that is named after its frame."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def frame_name(self) -> str:
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class MaskFile(_InFile):
    """A PNG of this object alone, as in SA-V."""

    def read(self, size_hw: tuple[int, int] | None = None) -> BoolMask:
        return read_mask(self.path, size_hw)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class LabelInPicture(_InFile):
    """A label in a PNG of all objects, as in DAVIS."""

    label: int

    def read(self, size_hw: tuple[int, int] | None = None) -> BoolMask:
        return np.asarray(read_picture(self.path, size_hw) == self.label)

    def __str__(self) -> str:
        return f"{self.path}, label {self.label}"


@dataclass(frozen=True)
class GivenPrompt(Annotation):
    """Points or a box that a user gave in place of a mask."""

    where: str
    name: str
    points: tuple[tuple[float, float], ...] = ()
    """x then y, in pixels of the video."""
    box: tuple[float, ...] = ()
    """(x_min, y_min, x_max, y_max)."""

    @property
    def frame_name(self) -> str:
        return self.name

    @property
    def kind(self) -> PromptKind:
        return "points" if self.points else "bbox"

    def read(self, size_hw: tuple[int, int] | None = None) -> BoolMask:
        raise ClipError(f"{self}: {self.kind} are no mask; give a mask for what needs one")

    def to_prompt(self, kind: PromptKind, object_id: int, size_hw: tuple[int, int]) -> Prompt:
        """
        Raises:
            ClipError: another kind is asked for, or a coordinate lies outside of the video.
        """
        if kind != self.kind:
            raise ClipError(f"{self}: has {self.kind} only; run MODEL_{self.kind}, or give a mask, from which {kind} is taken")
        pairs = np.array(self.points or self.box, np.float32).reshape(-1, 2)
        if (pairs < 0).any() or (pairs > np.array(size_hw[::-1]) - 1).any():
            raise ClipError(f"{self}: lies outside of the video, which is {size_hw[1]}x{size_hw[0]}; x comes first, the first pixel is 0")
        return Prompt(object_id, kind, points_n2=pairs) if self.points else Prompt(object_id, kind, box_4=pairs.reshape(-1))

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True)
class Masklet(Annotation):
    """A run-length encoded mask in a JSON file, as in SA-V's training set; None where the object is not visible."""

    path: Path
    frame: int
    rle: Rle | None
    size_hw: tuple[int, int]

    @property
    def frame_name(self) -> str:
        return f"{self.frame:05d}"

    def read(self, size_hw: tuple[int, int] | None = None) -> BoolMask:
        if size_hw is not None and size_hw != self.size_hw:
            raise ClipError(
                f"{self}: the mask is {self.size_hw[1]}x{self.size_hw[0]} but the video {size_hw[1]}x{size_hw[0]}; download both again"
            )
        if self.rle is None:
            return np.zeros(self.size_hw, np.bool_)
        try:
            return self.rle.decode()
        except RleError as error:
            raise ClipError(f"{self}: {error}; download the file again") from error

    def __str__(self) -> str:
        return f"{self.path}, frame {self.frame_name}"
