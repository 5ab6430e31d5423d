"""Videos and objects of a split, as a layout lists them: nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from savbench.data.frames import ClipError

if TYPE_CHECKING:
    from savbench.data.annotation import Annotation
    from savbench.data.frames import FrameSource


class NothingToTrackError(ClipError):
    """The object is valid, but it is visible on none of the frames to track."""


@dataclass(frozen=True)
class SplitObject:
    """One annotated object of one video."""

    video: str
    object: str
    """Name of the object, for example the name of its folder, `000`, or its label, `1`."""
    annotations: tuple[tuple[int, Annotation], ...]
    """(frame index, its mask) in ascending order; never empty."""
    where: str
    """Where its annotations are, for messages."""
    left_out: int = 0
    """Number of annotations that `SplitVideo.take` left out."""
    has_truth: bool = True
    """Whether the annotations are ground truth to score with; otherwise they are there to prompt with only."""


@dataclass(frozen=True)
class SplitVideo:
    """One video: its frames and objects as listed on disk, without decoding."""

    name: str
    frames: FrameSource
    """Frames of the video, by index."""
    objects: tuple[SplitObject, ...]
    """Usable objects, by name."""
    defects: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with unusable objects and what to do, by name."""
    cut_off: Mapping[str, str] = field(default_factory=dict)
    """What to do about objects that have no annotation left after `take`, by name."""

    @property
    def object_names(self) -> list[str]:
        """Names of all objects, usable or not: numbers in numerical order, then other names."""
        return sorted([*(obj.object for obj in self.objects), *self.defects, *self.cut_off], key=in_order)

    def object(self, name: str) -> SplitObject:
        """The object of this name.

        Raises:
            ClipError: the object's annotations cannot be used, or there is no such object.
            NothingToTrackError: the object is annotated only on frames that `take` cut off.
        """
        if name in self.defects:
            raise ClipError(self.defects[name])
        if name in self.cut_off:
            raise NothingToTrackError(self.cut_off[name])
        for obj in self.objects:
            if obj.object == name:
                return obj
        raise ClipError(f"video {self.name} has no object {name}; it has {', '.join(self.object_names)}")

    def read_size(self) -> tuple[int, int]:
        """(height, width) of the first frame.

        Raises:
            ClipError: the file is unreadable.
        """
        return self.frames.read_size()

    def frame_name(self, index: int) -> str:
        """Name of a frame's file without its suffix; of a frame of a video file, its number in five digits."""
        files = self.frames.files
        return f"{index:05d}" if files is None else files[index].stem

    def take(self, max_frames: int | None = None) -> SplitVideo:
        """The video cut after its first `max_frames` frames, with its annotations; an object without annotations left goes to `cut_off`.

        Raises:
            ValueError: `max_frames` is below 1.
        """
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames must be 1 or more, not {max_frames}")
        frames = self.frames.take(max_frames)
        objects: list[SplitObject] = []
        cut_off = dict(self.cut_off)
        for obj in self.objects:
            kept = tuple((index, annotation) for index, annotation in obj.annotations if index < len(frames))
            if kept:
                objects.append(replace(obj, annotations=kept, left_out=obj.left_out + len(obj.annotations) - len(kept)))
            else:
                cut_off[obj.object] = (
                    f"{obj.where}: none of its {len(obj.annotations)} annotated frames is among the first {len(frames)} frames; "
                    "raise --max_frames"
                )
        return replace(self, frames=frames, objects=tuple(objects), cut_off=MappingProxyType(cut_off))


@dataclass(frozen=True)
class Target:
    """The subject of one row: an object of a video, or a whole video that cannot be used."""

    video: str
    object: str
    """Name of the object; empty if the whole video is unusable."""
    defect: str | None = None
    """Why it cannot be run; None if no reason is known."""
    first_frame: int = field(default=0, compare=False)
    """Frame of the object's first annotation."""
    clip_frames: int = field(default=0, compare=False)
    """Frames of the video; 0 if the object cannot be run."""


def in_order(name: str) -> tuple[int, int, str]:
    """Key that sorts numbers by their value, and before other names."""
    is_number = name.isascii() and name.isdecimal()
    return (0, int(name), name) if is_number else (1, 0, name)
