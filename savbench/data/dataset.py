"""SA-V splits on disk, read lazily.

The layout is the published one of val and test (sav_dataset/README.md of facebookresearch/sam2):

    {split_dir}/{split}.txt                                            video ids, one a line
    {split_dir}/JPEGImages_24fps/{video}/{frame}.jpg                   00000.jpg, 00001.jpg, ...
    {split_dir}/Annotations_6fps/{video}/{object}/{frame}.png          00000.png, 00004.png, ...

A video's frames may also be one file, as SA-V's training videos are published, in place of their folder:

    {split_dir}/JPEGImages_24fps/{video}.mp4                           frame i of the file is 0000i.jpg; also .mov, .m4v, .mkv, .webm

A video that has both is refused, since the two do not hold the same pixels and a result should not depend on which was found first.

Opening a split reads the list of ids and nothing else; a video's folders are listed when it is asked for, and images are decoded one
at a time, frames by `savbench.data.frames` and masks by `read_mask`.

Frame indices. The index of a frame is its position among the video's JPEGs in numerical order, which is what trackers count in; the
number in its name may have gaps (00000, 00004, 00008). Annotations are matched to frames by that number, never by position. In a video
file number and index are the same.

Two kinds of failure: `DatasetError` means that the split cannot be used at all, `ClipError` that one video or one object cannot, while
the rest of the split can.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from savbench.data.frames import IMAGE_ERRORS, FrameSource, JpegFrames, unreadable
from savbench.data.frames import ClipError as ClipError
from savbench.data.video_file import VIDEO_SUFFIXES, open_video

FRAMES_DIR = "JPEGImages_24fps"
MASKS_DIR = "Annotations_6fps"
FRAME_SUFFIXES = ("jpg", "jpeg")
MASK_SUFFIXES = ("png",)

BoolMask = npt.NDArray[np.bool_]
"""Mask of one object, (height, width), bool."""

# Only the decoder that such files need: Pillow picks by content, and some of its others start outside programs.
_MASK_FORMATS = ("PNG",)


class DatasetError(RuntimeError):
    """The split as a whole cannot be used; the message says why and what to do."""


class NothingToTrackError(ClipError):
    """Nothing is wrong with the object, but it is on none of the frames that are to be tracked."""


@dataclass(frozen=True)
class SplitObject:
    """One annotated object of one video."""

    video: str
    object: str
    """Name of the object's folder, for example `000`."""
    annotations: tuple[tuple[int, Path], ...]
    """(index of the frame, path of its mask) in rising order; never empty."""
    left_out: int = 0
    """Number of annotations that `SplitVideo.take` left out."""

    @property
    def folder(self) -> Path:
        return self.annotations[0][1].parent


@dataclass(frozen=True)
class SplitVideo:
    """One video: its frames and objects, as listed on disk, with nothing decoded."""

    name: str
    frames: FrameSource
    """Its frames, by frame index."""
    objects: tuple[SplitObject, ...]
    """Usable objects, by name."""
    defects: Mapping[str, str] = field(default_factory=dict)
    """Unusable objects: name -> what is wrong and what to do."""
    cut_off: Mapping[str, str] = field(default_factory=dict)
    """Objects that `take` left no annotation of: name -> what to do."""

    @property
    def object_names(self) -> list[str]:
        """Names of all objects, usable or not, sorted."""
        return sorted([*(obj.object for obj in self.objects), *self.defects, *self.cut_off])

    def object(self, name: str) -> SplitObject:
        """The object of this name.

        Raises:
            ClipError: its annotations cannot be used, or there is no such object.
            NothingToTrackError: it is annotated only after the cut that `take` made.
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
        """The video cut after its first `max_frames` frames, annotations too; an object that keeps none has nothing to track.

        Raises:
            ValueError: a number below 1.
        """
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames is 1 or more, not {max_frames}")
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
    """One row to be written: an object of a video, or a whole video that cannot be used."""

    video: str
    object: str
    """Folder name of the object; empty where the video as a whole is unusable."""
    defect: str | None = None
    """Why it cannot be run, or None where nothing is known against it."""


class Split:
    """A split whose folders and list of videos were found in order. Made by `open_split`."""

    def __init__(self, root: Path, name: str, videos: Sequence[str]) -> None:
        self.root = root
        self.name = name
        self.videos = list(videos)
        """Video ids in the order of the list file."""

    def video(self, name: str) -> SplitVideo:
        """List the frames and annotations of a video.

        Objects with a defect are named in the result's `defects`, so that one bad folder does not hide the others.

        Raises:
            ClipError: no frames or no objects at all, or frames whose order cannot be told.
        """
        masks_dir = self.root / MASKS_DIR / name
        frames, numbers = _list_frames(self.root / FRAMES_DIR / name, self.name)
        try:
            with os.scandir(masks_dir) as entries:
                object_names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
        except OSError as error:
            raise ClipError(_no_folder(masks_dir, error)) from error
        if not object_names:
            raise ClipError(
                f"{masks_dir}: no folder of an object; SA-V keeps one folder of masks per object "
                f"({masks_dir / '000' / '00000.png'}), extract the annotations again"
            )
        index_of_number = {number: index for index, number in enumerate(numbers)}
        objects: list[SplitObject] = []
        defects: dict[str, str] = {}
        for object_name in object_names:
            try:
                objects.append(_list_object(name, masks_dir / object_name, index_of_number))
            except ClipError as error:  # noqa: PERF203 - one bad folder must not hide the others
                defects[object_name] = str(error)
        return SplitVideo(
            name=name,
            frames=frames,
            objects=tuple(objects),
            defects=MappingProxyType(defects),
        )

    def targets(self, video: str) -> list[Target]:
        """Every object of a video, usable or not, by name; a single `Target` without object where the video is unusable."""
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
        """Choose what to run. Lists the folders of the chosen videos only.

        Args:
            limit_videos: keep this many videos, from the top of the (shuffled) list.
            limit_objects: keep this many objects of each video, by name.
            shuffle: order the videos by a hash of `seed` and id: the same on every machine and Python, and the order of two videos
                does not depend on which others are listed.
            seed: used only with `shuffle`.

        Raises:
            ValueError: a limit below 1.
        """
        for limit in (limit_videos, limit_objects):
            if limit is not None and limit < 1:
                raise ValueError(f"a limit is 1 or more, not {limit}")
        videos = self.videos
        if shuffle:
            videos = sorted(videos, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        return [target for name in videos[:limit_videos] for target in self.targets(name)[:limit_objects]]


def open_split(split_dir: str | os.PathLike[str], split_name: str | None = None) -> Split:
    """Check the folders of a split and read its list of videos.

    Args:
        split_dir: folder that holds JPEGImages_24fps, Annotations_6fps and the list.
        split_name: stem of the list, for example `sav_val`; None takes the one .txt file in the folder.

    Raises:
        DatasetError: a folder or the list is missing, the list is ambiguous, empty, holds an id twice or one that is no folder name.
    """
    root = Path(split_dir)
    if not root.is_dir():
        raise DatasetError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; give the SA-V split's folder as --split_dir")
    missing = [name for name in (FRAMES_DIR, MASKS_DIR) if not (root / name).is_dir()]
    if missing:
        inside = sorted(child.parent.name for child in root.glob(f"*/{FRAMES_DIR}"))
        hint = f"; did you mean --split_dir {root / inside[0]}?" if inside else "; SA-V splits have both, extract them there"
        raise DatasetError(f"{root}: no folder {' and no folder '.join(missing)}{hint}")
    list_path = _find_list(root, split_name)
    return Split(root, list_path.stem, _read_list(list_path))


def read_mask(path: Path, size_hw: tuple[int, int] | None = None) -> BoolMask:
    """Decode a mask: (height, width), bool, True where the stored value is above 0.

    Single-channel PNGs of any depth and palette PNGs (by index) are taken, with at most two distinct values: the official evaluator
    refuses more, because a file holds one object.

    Args:
        size_hw: size of the video's frames; None accepts any.

    Raises:
        ClipError: missing, unreadable, truncated, of another size, in colour, or with more than two values.
    """
    try:
        with Image.open(path, formats=_MASK_FORMATS) as image:
            if size_hw is not None and (image.height, image.width) != size_hw:
                raise ClipError(
                    f"{path}: the mask is {image.width}x{image.height}, the video {size_hw[1]}x{size_hw[0]}; "
                    "masks have the size of the frames, extract the annotations again"
                )
            values = np.array(image)
    except IMAGE_ERRORS as error:
        raise ClipError(unreadable("mask", path, error)) from error
    if values.ndim != 2:
        raise ClipError(f"{path}: a colour image with {values.shape[2]} channels; a mask has one channel (or a palette)")
    if values.dtype == np.bool_:
        # Pillow gives 1-bit images as bools whose byte for True is 255; what counts bits in masks relies on 1
        return np.asarray(values.view(np.uint8) > 0)
    low, high = values.min(), values.max()
    if np.any((values != low) & (values != high)):
        raise ClipError(
            f"{path}: more than two values in the mask (between {low} and {high}); SA-V has one object per file, "
            "split masks of several objects into one folder per object"
        )
    return np.asarray(values > 0)


def first_prompt(obj: SplitObject, size_hw: tuple[int, int]) -> tuple[int, BoolMask]:
    """Find where an object is first seen: (frame index, mask) of its first non-empty annotation.

    Masks are decoded in order until one marks a pixel, usually the first.

    Args:
        obj: the object, already reduced by `SplitVideo.take` where that applies.
        size_hw: (height, width) of the video.

    Raises:
        ClipError: a mask on the way is unusable, or none marks any pixel.
        NothingToTrackError: none marks any pixel before the cut that `SplitVideo.take` made.
    """
    for index, path in obj.annotations:
        mask_hw = read_mask(path, size_hw)
        if mask_hw.any():
            return index, mask_hw
    message = f"{obj.folder}: none of its {len(obj.annotations)} masks marks any pixel, so that there is nothing to prompt with"
    if obj.left_out:
        raise NothingToTrackError(f"{message}; {obj.left_out} more were left out by --max_frames, raise it")
    raise ClipError(f"{message}; remove the object's folder or extract the annotations again")


def _list_frames(folder: Path, list_name: str) -> tuple[FrameSource, Sequence[int]]:
    """A video's frames and their numbers: those of a folder of JPEGs, or of the video file of its name."""
    beside = (folder.with_name(f"{folder.name}.{suffix}") for suffix in VIDEO_SUFFIXES)
    files = [path for path in beside if path.is_file()]
    if files and folder.is_dir():
        files.insert(0, folder)
    if len(files) > 1:
        raise ClipError(
            f"{' and '.join(map(str, files))}: the frames of one video more than once, with different pixels; keep one of them and move "
            "the others away"
        )
    if files:
        video = open_video(files[0])
        return video, range(len(video))
    names = _numbered_files(folder, FRAME_SUFFIXES)
    if not names:
        raise ClipError(f"{folder}: no .jpg frames; extract the video's frames again or take {folder.name} out of {list_name}.txt")
    return JpegFrames(tuple(folder / name for name in names.values())), tuple(names)


def _numbered_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, str]:
    """Files with one of the suffixes: number in the name -> name, in numerical order. Hidden files are no part of a data set."""
    named: dict[int, str] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise ClipError(_no_folder(folder, error)) from error
    for name in names:
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() not in suffixes or name.startswith("."):
            continue
        if not (stem.isascii() and stem.isdecimal()):
            raise ClipError(f"{folder / name}: the name is not a frame number such as 00004.{suffix}; rename or remove it")
        number = int(stem)
        if number in named:
            raise ClipError(f"{folder}: {named[number]} and {name} have the same frame number; remove one of them")
        named[number] = name
    return dict(sorted(named.items()))


def _list_object(video: str, folder: Path, index_of_number: Mapping[int, int]) -> SplitObject:
    names = _numbered_files(folder, MASK_SUFFIXES)
    if not names:
        raise ClipError(f"{folder}: no .png masks; extract the annotations again or remove the folder")
    without_frame = [name for number, name in names.items() if number not in index_of_number]
    if without_frame:
        others = f" (and {len(without_frame) - 1} more)" if len(without_frame) > 1 else ""
        raise ClipError(f"{folder / without_frame[0]}{others}: no frame of this number among the video's; extract its frames again")
    return SplitObject(video, folder.name, tuple((index_of_number[number], folder / name) for number, name in names.items()))


def _find_list(root: Path, split_name: str | None) -> Path:
    try:
        found = sorted(path for path in root.iterdir() if path.suffix == ".txt" and not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise DatasetError(f"{root}: cannot be listed ({error.strerror}); check its permissions") from error
    names = ", ".join(path.stem for path in found)
    if split_name is not None:
        path = root / f"{split_name.removesuffix('.txt')}.txt"
        if path not in found:
            raise DatasetError(f"{path}: no such file; --split_name can be {names}" if found else f"{path}: no such file")
        return path
    if len(found) > 1:
        raise DatasetError(f"{root}: several lists of videos ({names}); choose one with --split_name")
    if not found:
        raise DatasetError(f"{root}: no list of videos; SA-V has sav_val.txt or sav_test.txt there, with one video id a line")
    return found[0]


def _read_list(path: Path) -> list[str]:
    try:
        lines: Iterable[str] = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of video ids ({error})") from error
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        if name in (".", "..") or any(char in name for char in "/\\\0"):
            raise DatasetError(f"{path}, line {number}: {name!r} is not a video id; ids are names of folders in {FRAMES_DIR}")
        if name in line_of:
            raise DatasetError(f"{path}, line {number}: {name} is already listed in line {line_of[name]}; remove one of the lines")
        line_of[name] = number
    if not line_of:
        raise DatasetError(f"{path}: lists no video; put one video id on each line")
    return list(line_of)


def _no_folder(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be listed ({error.strerror}); extract this video again or take it out of the list"
