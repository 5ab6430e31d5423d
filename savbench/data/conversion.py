"""Writing a data set in another layout, without loss: what one layout cannot hold is refused, video by video.

Frames are copied byte for byte, masks keep every pixel. Object `000` of SA-V is label 1, `001` is label 2, and so on. Void, which SA-V does
not know, goes into a hidden folder beside the objects, `.void`, which every reader passes over and the way back takes up again. Where an
object is not in its video's first picture, a SPLIT_meta.json like YouTube-VOS's is written too, from which the layout `ytvos` reads all
objects.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from savbench.data.annotation import LabelInPicture, MaskFile
from savbench.data.frames import ClipError
from savbench.data.listing import FRAMES_DIR, MASKS_DIR, DatasetError
from savbench.data.masklets import ANNOTATED_EVERY
from savbench.data.masks import palette_png
from savbench.data.pictures import IMAGES, MASKS, SETS
from savbench.data.png import BACKGROUND, VOID
from savbench.data.rle import Rle
from savbench.data.video_file import VideoFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from savbench.data.annotation import Annotation
    from savbench.data.dataset import Split
    from savbench.data.png import BoolMask, Labels
    from savbench.data.video import SplitObject, SplitVideo

TARGETS = ("sav", "davis", "ytvos", "sav-json")
VOID_DIR = ".void"
RESOLUTION = "480p"
YEAR = "2017"


@dataclass(frozen=True)
class Converted:
    """What became of a data set.

    Attributes:
        videos: that were written.
        problems: why the others were not, by video.
    """

    videos: tuple[str, ...]
    problems: Mapping[str, str]


def convert(split: Split, out: Path, to: str) -> Converted:
    """Write a split into a new folder.

    Args:
        to: one of `TARGETS`.

    Raises:
        DatasetError: the folder is not empty or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out}: not an empty folder; give a new one, nothing is overwritten")
    if out.resolve().is_relative_to(split.root.resolve()):
        raise DatasetError(f"{out}: is inside {split.root}; give a folder outside the data set")
    writer = _WRITERS[to](out)
    written: list[str] = []
    problems: dict[str, str] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in split.videos:
            problem = _converted(split, name, writer)
            if problem:
                problems[name] = problem
            else:
                written.append(name)
        writer.conclude(split.name.rpartition("/")[2], written)
    except OSError as error:
        where = error.filename2 or error.filename or out
        raise DatasetError(f"{where}: cannot be written ({error.strerror}); give another folder, or mend that and remove {out}") from error
    return Converted(tuple(written), problems)


def _converted(split: Split, name: str, writer: _Writer) -> str:
    """Write a video. Returns why it was not; empty if it was."""
    try:
        video = split.video(name)
        if video.defects:
            raise ClipError("; ".join(video.defects.values()))
        writer.check(video)
        writer.write(video)
    except ClipError as error:
        writer.forget(name)
        return str(error)
    return ""


class _Writer:
    """Writes one layout."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self, video: SplitVideo) -> None:
        """Raises ClipError if the layout cannot hold the video; nothing is written yet."""

    def write(self, video: SplitVideo) -> None:
        """Raises ClipError if a mask cannot be read or the layout cannot hold it."""
        raise NotImplementedError

    def forget(self, name: str) -> None:
        """Remove what was written of a video."""
        for folder in self.folders():
            shutil.rmtree(folder / name, ignore_errors=True)
            # no pattern: `walk.*` is also `walk.two.mp4` of another video, and names may have brackets
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.is_file() and path.stem == name:
                    path.unlink()

    def folders(self) -> tuple[Path, ...]:
        """Where videos have a folder each."""
        raise NotImplementedError

    def conclude(self, split_name: str, videos: list[str]) -> None:
        """Write the list of videos."""
        raise NotImplementedError


class _SavWriter(_Writer):
    def folders(self) -> tuple[Path, ...]:
        return self.root / FRAMES_DIR, self.root / MASKS_DIR

    def write(self, video: SplitVideo) -> None:
        _copy_frames(video, self.root / FRAMES_DIR)
        for obj in video.objects:
            folder = self.root / MASKS_DIR / video.name / _folder_name(obj)
            for _, annotation in obj.annotations:
                _save_mask(folder / f"{annotation.frame_name}.png", annotation.read(video.read_size()))
        for frame_name, void in _void(video):
            _save_mask(self.root / MASKS_DIR / video.name / VOID_DIR / f"{frame_name}.png", void)

    def conclude(self, split_name: str, videos: list[str]) -> None:
        _write_list(self.root / f"{split_name}.txt", videos)


class _PicturesWriter(_Writer):
    def __init__(self, root: Path, *, always_meta: bool) -> None:
        super().__init__(root)
        self._always_meta = always_meta
        self._meta: dict[str, Any] = {}
        self._needs_meta = always_meta

    def folders(self) -> tuple[Path, ...]:
        resolution = "" if self._always_meta else RESOLUTION
        return self.root / IMAGES / resolution, self.root / MASKS / resolution

    def check(self, video: SplitVideo) -> None:
        for obj in video.objects:
            _label(obj)
        frames = {obj.object: [frame for frame, _ in obj.annotations] for obj in video.objects}
        (first, of_first), *others = frames.items()
        for name, of_other in others:
            if of_other != of_first and not self._always_meta:
                raise ClipError(
                    f"{video.name}: object {name} is annotated on other frames than {first}, which one picture per frame cannot tell; "
                    "convert to ytvos"
                )

    def write(self, video: SplitVideo) -> None:
        size_hw = video.read_size()
        frames_dir, masks_dir = self.folders()
        _copy_frames(video, frames_dir)
        annotated: dict[int, list[tuple[SplitObject, Annotation]]] = {}
        for obj in video.objects:
            for frame, annotation in obj.annotations:
                annotated.setdefault(frame, []).append((obj, annotation))
        void = dict(_void(video))
        entries: dict[str, list[str]] = {str(_label(obj)): [] for obj in video.objects}
        for frame in sorted(annotated):
            name = annotated[frame][0][1].frame_name
            picture = _picture(video.name, annotated[frame], size_hw)
            for obj, _ in annotated[frame]:
                entries[str(_label(obj))].append(name)
            self._needs_meta |= frame == min(annotated) and not {_label(obj) for obj in video.objects} <= set(np.unique(picture).tolist())
            if name in void:
                picture[void[name] & (picture == BACKGROUND)] = VOID
            path = masks_dir / video.name / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_grey_png(picture) if list(entries) == [str(VOID)] else palette_png(picture))
        self._meta[video.name] = {"objects": {label: {"frames": names} for label, names in entries.items()}}

    def conclude(self, split_name: str, videos: list[str]) -> None:
        if self._needs_meta:
            meta = {"videos": {name: self._meta[name] for name in videos}}
            (self.root / f"{split_name}_meta.json").write_text(json.dumps(meta))
        if not self._always_meta:
            _write_list(self.root / SETS / YEAR / f"{split_name}.txt", videos)


class _MaskletsWriter(_Writer):
    def folders(self) -> tuple[Path, ...]:
        return (self.root,)

    def check(self, video: SplitVideo) -> None:
        for obj in video.objects:
            number = _folder_name(obj)
            frames = [frame for frame, _ in obj.annotations]
            if not (number.isdecimal() and frames == [ANNOTATED_EVERY * place for place in range(len(frames))]):
                raise ClipError(f"{obj.where}: not annotated on every fourth frame from the first on, as masklets are; convert to sav")
        if len({len(obj.annotations) for obj in video.objects}) > 1:
            raise ClipError(f"{video.name}: its objects have different numbers of annotated frames; convert to sav")

    def write(self, video: SplitVideo) -> None:
        size_hw = video.read_size()
        _copy_frames(video, self.root)
        masks = [[Rle.of(annotation.read(size_hw)) for _, annotation in obj.annotations] for obj in video.objects]
        entries = [[{"size": list(size_hw), "counts": rle.counts} for rle in of_frame] for of_frame in zip(*masks, strict=True)]
        about = {
            "video_id": video.name, "video_frame_count": float(len(video.frames)), "video_height": float(size_hw[0]),
            "video_width": float(size_hw[1]), "masklet": entries, "masklet_id": [int(_folder_name(obj)) for obj in video.objects],
            "masklet_num": len(video.objects),
        }  # fmt: skip
        if dict(_void(video)):
            raise ClipError(f"{video.name}: has void pixels, which masklets cannot tell; convert to sav")
        (self.root / f"{video.name}_manual.json").write_text(json.dumps(about))

    def forget(self, name: str) -> None:
        super().forget(name)
        (self.root / f"{name}_manual.json").unlink(missing_ok=True)

    def conclude(self, split_name: str, videos: list[str]) -> None:
        _write_list(self.root / f"{split_name}.txt", videos)


_WRITERS = {
    "sav": _SavWriter,
    "davis": lambda root: _PicturesWriter(root, always_meta=False),
    "ytvos": lambda root: _PicturesWriter(root, always_meta=True),
    "sav-json": _MaskletsWriter,
}


def _folder_name(obj: SplitObject) -> str:
    """The object's folder in SA-V's layout."""
    is_label = isinstance(obj.annotations[0][1], LabelInPicture)
    return f"{int(obj.object) - 1:03d}" if is_label else obj.object


def _label(obj: SplitObject) -> int:
    """The object's label in pictures. Raises ClipError if it can have none, or not the same on the way back."""
    name = _folder_name(obj)
    if not (name.isascii() and name.isdecimal() and name == f"{int(name):03d}" and int(name) < VOID):
        raise ClipError(f"{obj.where}: objects in pictures have labels from 1 on, made of names 000, 001, ...; rename the folder")
    return int(name) + 1


def _picture(video: str, annotated: list[tuple[SplitObject, Annotation]], size_hw: tuple[int, int]) -> Labels:
    """All objects of a frame. Raises ClipError where two share a pixel."""
    picture = np.zeros(size_hw, np.uint8)
    for obj, annotation in annotated:
        mask_hw = annotation.read(size_hw)
        if picture[mask_hw].any():
            raise ClipError(
                f"{video}, frame {annotation.frame_name}: object {obj.object} shares pixels with another, which a picture with one label "
                "per pixel cannot hold"
            )
        picture[mask_hw] = _label(obj)
    return picture


def _void(video: SplitVideo) -> Iterator[tuple[str, BoolMask]]:
    """Void pixels by the frame's name, where there are any."""
    if any(obj.object == str(VOID) for obj in video.objects):
        return  # the object of DAVIS 2016
    seen: set[str] = set()
    for obj in video.objects:
        for _, annotation in obj.annotations:
            name = annotation.frame_name
            void: Annotation | None = None
            if isinstance(annotation, LabelInPicture):
                void = LabelInPicture(annotation.folder, annotation.name, VOID)
            elif isinstance(annotation, MaskFile) and (annotation.folder.parent / VOID_DIR / annotation.name).is_file():
                void = MaskFile(annotation.folder.parent / VOID_DIR, annotation.name)
            if void is not None and name not in seen and (mask_hw := void.read()).any():
                yield name, mask_hw
            seen.add(name)


def _copy_frames(video: SplitVideo, folder: Path) -> None:
    frames = video.frames
    if isinstance(frames, VideoFile):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(frames.path, folder / f"{video.name}{frames.path.suffix}")
        return
    (folder / video.name).mkdir(parents=True, exist_ok=True)
    for path in frames.files or ():
        shutil.copyfile(path, folder / video.name / path.name)


def _save_mask(path: Path, mask_hw: BoolMask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_grey_png(mask_hw.astype(np.uint8) * np.uint8(255)))


def _grey_png(values_hw: Labels) -> bytes:
    return cv2.imencode(".png", values_hw)[1].tobytes()


def _write_list(path: Path, videos: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in videos), encoding="utf-8")
