"""What a layout of a data set on disk is, and what layouts share.

A layout finds the videos of a split, lists the frames, objects and annotations of each, and says how predictions are saved for the data
set's own tools. Nothing outside `savbench.data` depends on which one it is. `savbench.data.dataset` names all layouts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from savbench.data.frames import ClipError, FrameSource, JpegFrames
from savbench.data.listing import Entries, beside_them, numbered_files
from savbench.data.video_file import OTHER_VIDEO_SUFFIXES, VIDEO_SUFFIXES, ffmpeg_to_frames, open_video

if TYPE_CHECKING:
    from savbench.data.video import SplitVideo

FRAME_SUFFIXES = ("jpg", "jpeg")
MASK_SUFFIXES = ("png",)


class Layout(ABC):
    """An opened data set. Making one reads its list of videos and nothing else."""

    name: ClassVar[str]
    """Value of --layout."""
    in_pictures: ClassVar[bool]
    """Whether masks of all objects of a frame are in one picture, in which predictions are saved too."""
    split_name: str
    """Name of the list of videos."""
    videos: Sequence[str]
    """Video ids in the order of the list."""
    folders: tuple[Path, ...]
    """Folders of frames and masks; results must not be written into them."""
    protocol: str
    """Name of the protocol by which results are scored if none is asked for."""
    frames_per_s: float | None = None
    """Rate of the frames that are numbered; None if the data set has no single one or does not tell."""

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder has this layout, by the names in it. Raises OSError if it cannot be listed."""

    @abstractmethod
    def __init__(self, root: Path, split_name: str | None) -> None:
        """
        Args:
            root: folder of the data set.
            split_name: of the list of videos; None: the only one.

        Raises:
            DatasetError: a folder or the list is missing, or the list is ambiguous, empty, or names an id twice.
            OSError: something cannot be read.
        """

    @abstractmethod
    def video(self, name: str) -> SplitVideo:
        """List the frames and annotations of a video.

        Objects with a defect are in the result's `defects`, so that one bad object does not hide the others.

        Raises:
            ClipError: there are no frames or no objects, or the order of frames is unknown.
        """


def list_frames(entries: Entries, video: str, remedy: str) -> tuple[FrameSource, Sequence[int]]:
    """A video's frames and their numbers, from its folder of JPEGs or its video file.

    Args:
        entries: of the folder that holds all videos' folders and files.
        remedy: for a video without frames: what to do besides extracting them.

    Raises:
        ClipError: there are none, or several copies.
    """
    frames_dir, beside = entries.named(video), entries.with_stem(video)
    files = [entries.folder / name for name in beside if has_suffix(name, VIDEO_SUFFIXES) and (entries.folder / name).is_file()]
    files.sort(key=lambda path: VIDEO_SUFFIXES.index(path.suffix[1:].lower()))
    if files and frames_dir.is_dir():
        files.insert(0, frames_dir)
    if len(files) > 1:
        raise ClipError(
            f"{' and '.join(map(str, files))}: several copies of the frames of one video, with different pixels; keep one and move "
            "the others away"
        )
    if files:
        opened = open_video(files[0])
        return opened, range(len(opened))
    other = next((entries.folder / name for name in beside if has_suffix(name, OTHER_VIDEO_SUFFIXES)), None)
    if other is not None and not frames_dir.exists():
        raise ClipError(f"{other}: .{other.suffix[1:].lower()} is not read, {', '.join(VIDEO_SUFFIXES)} are; {ffmpeg_to_frames(other)}")
    entries.refuse_blanks(video)
    numbered = numbered_files(frames_dir, FRAME_SUFFIXES)
    if not numbered:
        raise ClipError(f"{frames_dir}: no .jpg frames{beside_them(frames_dir)}; extract the video's frames as JPEGs, or {remedy}")
    return JpegFrames(tuple(f"{frames_dir}/{name}" for name in numbered.values())), tuple(numbered)


def has_suffix(name: str, suffixes: Collection[str]) -> bool:
    """Whether a file's name ends in one of the suffixes, in capitals or not."""
    return name.rpartition(".")[2].lower() in suffixes


def without_frame(where: Path, others: int) -> str:
    """The message about annotations whose frames are missing: the first, and how many more."""
    more = f" (and {others} more)" if others else ""
    return f"{where}{more}: the video has no frame of this number; extract its frames again"
