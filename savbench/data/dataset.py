"""Reading SA-V splits from disk, lazily.

The layout is the published one of val and test (sav_dataset/README.md of facebookresearch/sam2):

    {split_dir}/{split}.txt                                            video ids, one a line
    {split_dir}/JPEGImages_24fps/{video}/{frame}.jpg                   00000.jpg, 00001.jpg, ...
    {split_dir}/Annotations_6fps/{video}/{object}/{frame}.png          00000.png, 00004.png, ...

In place of a folder of frames there may be one video file, as SA-V's training videos are published:

    {split_dir}/JPEGImages_24fps/{video}.mp4                           frame i of the file is 0000i.jpg; also .mov, .m4v, .mkv, .webm

A video with both is refused, since their pixels differ and results must not depend on which one is found first.

Opening a split reads only the list of ids. A video's folders are listed when the video is requested, and images are decoded one at a time,
frames by `savbench.data.frames` and masks by `savbench.data.ground_truth.read_mask`.

Frame indices. The index of a frame is its position among the video's JPEGs in numerical order, which trackers use; the numbers in the names
may have gaps (00000, 00004, 00008). Annotations are matched to frames by that number, never by position. In a video file, number and index
are equal.

There are two kinds of failure: `DatasetError` means that the whole split cannot be used, `ClipError` that one video or object cannot.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from savbench.data.frames import ClipError as ClipError
from savbench.data.frames import FrameSource, JpegFrames
from savbench.data.listing import (
    FRAMES_DIR,
    MASKS_DIR,
    beside_them,
    composed,
    entry_named,
    find_list,
    folders_in,
    is_writable,
    names_in,
    numbered_files,
    read_list,
    recognised,
    refuse_blanks,
    visible_name,
)
from savbench.data.listing import DatasetError as DatasetError
from savbench.data.video_file import OTHER_VIDEO_SUFFIXES, VIDEO_SUFFIXES, ffmpeg_to_frames, open_video

FRAME_SUFFIXES = ("jpg", "jpeg")
MASK_SUFFIXES = ("png",)


class NothingToTrackError(ClipError):
    """The object is valid, but it is visible on none of the frames to track."""


@dataclass(frozen=True)
class SplitObject:
    """One annotated object of one video."""

    video: str
    object: str
    """Name of the object's folder, for example `000`."""
    annotations: tuple[tuple[int, Path], ...]
    """(frame index, path of its mask) in ascending order; never empty."""
    left_out: int = 0
    """Number of annotations that `SplitVideo.take` left out."""

    @property
    def folder(self) -> Path:
        return self.annotations[0][1].parent


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
        """Names of all objects, usable or not, sorted."""
        return sorted([*(obj.object for obj in self.objects), *self.defects, *self.cut_off])

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
            kept = tuple((index, path) for index, path in obj.annotations if index < len(frames))
            if kept:
                objects.append(replace(obj, annotations=kept, left_out=obj.left_out + len(obj.annotations) - len(kept)))
            else:
                cut_off[obj.object] = (
                    f"{obj.folder}: none of its {len(obj.annotations)} annotated frames is among the first {len(frames)} frames; "
                    "raise --max_frames"
                )
        return replace(self, frames=frames, objects=tuple(objects), cut_off=MappingProxyType(cut_off))


@dataclass(frozen=True)
class Target:
    """The subject of one row: an object of a video, or a whole video that cannot be used."""

    video: str
    object: str
    """Folder name of the object; empty if the whole video is unusable."""
    defect: str | None = None
    """Why it cannot be run; None if no reason is known."""


class Split:
    """A split with valid folders and list of videos. Made by `open_split`."""

    def __init__(self, root: Path, name: str, videos: Sequence[str]) -> None:
        self.root = root
        self.name = name
        self.videos = list(videos)
        """Video ids in the order of the list file."""
        self._names_of: dict[str, dict[str, None]] = {}

    def video(self, name: str) -> SplitVideo:
        """List the frames and annotations of a video.

        Objects with a defect are in the result's `defects`, so that one bad folder does not hide the others.

        Raises:
            ClipError: there are no frames or no objects, or the order of frames is unknown.
        """
        frames, numbers = _list_frames(self.root / FRAMES_DIR, name, self._names(FRAMES_DIR), self.name)
        masks_dir = entry_named(self.root / MASKS_DIR, name, self._names(MASKS_DIR))
        refuse_blanks(self.root / MASKS_DIR, name, self._names(MASKS_DIR))
        object_names = folders_in(masks_dir)
        if not object_names:
            raise ClipError(
                f"{masks_dir}: no folder of an object{beside_them(masks_dir)}; SA-V keeps one folder of masks per object "
                f"({masks_dir / '000' / '00000.png'}), extract the annotations again, or split masks of all objects in one file, as DAVIS "
                "has them, into a folder for each"
            )
        index_of_number = {number: index for index, number in enumerate(numbers)}
        objects: list[SplitObject] = []
        defects: dict[str, str] = {}
        for object_name in object_names:
            if not is_writable(object_name):
                shown = visible_name(object_name)
                defects[shown] = f"{masks_dir}/{shown}: this name cannot be written into a row; rename the folder to plain UTF-8 text"
                continue
            try:
                objects.append(_list_object(name, masks_dir / object_name, index_of_number))
            except ClipError as error:
                defects[object_name] = str(error)
        return SplitVideo(
            name=name,
            frames=frames,
            objects=tuple(objects),
            defects=MappingProxyType(defects),
        )

    def _names(self, folder: str) -> dict[str, None]:
        """Names in one of the split's two folders, listed once. Raises ClipError."""
        if folder not in self._names_of:
            self._names_of[folder] = dict.fromkeys(names_in(self.root / folder))
        return self._names_of[folder]

    def targets(self, video: str) -> list[Target]:
        """Every object of a video, usable or not, by name; one `Target` without object if the video is unusable."""
        try:
            listed = self.video(video)
        except ClipError as error:
            return [Target(video, "", str(error))]
        return [Target(video, name, listed.defects.get(name)) for name in listed.object_names]

    def select(
        self,
        *,
        limit_videos: int | None = None,
        limit_objects: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> list[Target]:
        """Select targets to run. Lists only the folders of the selected videos.

        Args:
            limit_videos: number of videos to keep, from the top of the (shuffled) list.
            limit_objects: number of objects to keep of each video, by name.
            shuffle: order the videos by a hash of `seed` and id: the same on every machine and Python, and the order of two videos
                does not depend on the other videos listed.
            seed: used only with `shuffle`.

        Raises:
            ValueError: a limit is below 1.
        """
        for limit in (limit_videos, limit_objects):
            if limit is not None and limit < 1:
                raise ValueError(f"a limit must be 1 or more, not {limit}")
        videos = self.videos
        if shuffle:
            videos = sorted(videos, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        return [target for name in videos[:limit_videos] for target in self.targets(name)[:limit_objects]]


def open_split(split_dir: str | os.PathLike[str], split_name: str | None = None) -> Split:
    """Check the folders of a split and read its list of videos.

    Args:
        split_dir: folder that holds JPEGImages_24fps, Annotations_6fps and the list.
        split_name: stem of the list, for example `sav_val`; None: the only .txt file in the folder.

    Raises:
        DatasetError: a folder or the list is missing, or the list is ambiguous, empty, has an id twice or an id that is not a folder name.
    """
    root = Path(split_dir)
    try:
        if not root.is_dir():
            raise DatasetError(f"{root}: {_not_a_folder(root)}; give the SA-V split's folder as --split_dir")
        missing = [name for name in (FRAMES_DIR, MASKS_DIR) if not (root / name).is_dir()]
        if missing:
            raise DatasetError(f"{root}: no folder {' and no folder '.join(missing)}; {recognised(root)}")
        list_path = find_list(root, split_name)
        return Split(root, list_path.stem, read_list(list_path, VIDEO_SUFFIXES))
    except OSError as error:
        raise DatasetError(f"{error.filename or root}: cannot be read ({error.strerror}); check its permissions and --split_dir") from error
    except ValueError as error:  # no file can have this name: it has a zero byte, or characters that the locale's encoding lacks
        raise DatasetError(f"{visible_name(str(root))}: cannot be the name of a folder ({error}); give another --split_dir") from error


def _not_a_folder(root: Path) -> str:
    if not root.exists():
        return "no such folder"
    return "a file of annotations, not a folder" if root.suffix.lower() == ".json" else "not a folder"


def _list_frames(folder: Path, video: str, names: Collection[str], list_name: str) -> tuple[FrameSource, Sequence[int]]:
    """A video's frames and their numbers, from its folder of JPEGs or its video file."""
    frames_dir = entry_named(folder, video, names)
    files = [folder / name for name in names if _is_video_of(video, name, VIDEO_SUFFIXES) and (folder / name).is_file()]
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
    other = next((folder / name for name in names if _is_video_of(video, name, OTHER_VIDEO_SUFFIXES)), None)
    if other is not None and not frames_dir.exists():
        raise ClipError(f"{other}: .{other.suffix[1:].lower()} is not read, {', '.join(VIDEO_SUFFIXES)} are; {ffmpeg_to_frames(other)}")
    refuse_blanks(folder, video, names)
    numbered = numbered_files(frames_dir, FRAME_SUFFIXES)
    if not numbered:
        raise ClipError(
            f"{frames_dir}: no .jpg frames{beside_them(frames_dir)}; extract the video's frames as JPEGs, or remove {video} from "
            f"{list_name}.txt"
        )
    return JpegFrames(tuple(frames_dir / name for name in numbered.values())), tuple(numbered)


def _is_video_of(video: str, name: str, suffixes: Collection[str]) -> bool:
    stem, _, suffix = name.rpartition(".")
    return suffix.lower() in suffixes and composed(stem) == composed(video)


def _list_object(video: str, folder: Path, index_of_number: Mapping[int, int]) -> SplitObject:
    names = numbered_files(folder, MASK_SUFFIXES)
    if not names:
        raise ClipError(f"{folder}: no .png masks{beside_them(folder)}; extract the annotations again or remove the folder")
    without_frame = [name for number, name in names.items() if number not in index_of_number]
    if without_frame:
        others = f" (and {len(without_frame) - 1} more)" if len(without_frame) > 1 else ""
        raise ClipError(f"{folder / without_frame[0]}{others}: the video has no frame of this number; extract its frames again")
    return SplitObject(video, folder.name, tuple((index_of_number[number], folder / name) for number, name in names.items()))
