"""Layouts with the masks of all objects of a frame in one picture: DAVIS 2016 and 2017, MOSE, YouTube-VOS, LVOS.

    {root}/JPEGImages/[480p/]{video}/{frame}.jpg
    {root}/Annotations/[480p/]{video}/{frame}.png       palette index or grey value: the object's label; 0 background, 255 void
    {root}/ImageSets/{year}/{split}.txt                 DAVIS: video ids, one a line; without lists all folders of Annotations are videos
    {root}/meta.json, {root}/{split}_meta.json          YouTube-VOS, LVOS, MOSE v2: videos, their objects and the frames of each

`davis` takes the objects of a video from its first picture, as the official DAVIS tool does: an object that first appears later is not
tracked. `ytvos` takes them from the meta file, each from the first frame that it lists, so that objects may begin on different frames.

Validation splits publish only the pictures to prompt with. An object has ground truth to score if all frames that the meta file lists of it
have a picture, and without a meta file if its video has more pictures than the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from savbench.data.annotation import LabelInPicture
from savbench.data.frames import ClipError
from savbench.data.layout import MASK_SUFFIXES, Layout, list_frames, without_frame
from savbench.data.listing import DatasetError, Listed, beside_them, find_set, folders_in, numbered_files, read_set
from savbench.data.png import BACKGROUND, VOID, read_labels
from savbench.data.video import SplitObject, SplitVideo

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGES, MASKS, SETS = "JPEGImages", "Annotations", "ImageSets"
RESOLUTIONS = ("480p", "1080p", "Full-Resolution")
"""Folders between those of a kind and those of videos, the first found is used: published DAVIS scores are of 480p."""
LVOS_STEP = 5
"""LVOS annotates every fifth frame; its meta file has the range only."""


@dataclass(frozen=True)
class _Span:
    """Frames of an object, as a meta file lists them."""

    numbers: range | None
    """Numbers that its annotated frames may have; None: any."""
    count: int
    """Number of its annotated frames; 0: not stated."""


class PicturesLayout(Layout):
    """What `davis` and `ytvos` share."""

    in_pictures = True

    def __init__(self, root: Path, split_name: str | None) -> None:
        missing = [name for name in (IMAGES, MASKS) if not (root / name).is_dir()]
        if missing:
            raise DatasetError(f"{root}: no folder {' and no folder '.join(missing)}; DAVIS, MOSE and YouTube-VOS have both, extract them")
        self.folders = (root / IMAGES, root / MASKS)
        resolution = next((name for name in RESOLUTIONS if (root / IMAGES / name).is_dir()), "")
        self._frames_dir = root / IMAGES / resolution
        self._masks_dir = root / MASKS / resolution if (root / MASKS / resolution).is_dir() else root / MASKS
        self._listed = Listed()

    def video(self, name: str) -> SplitVideo:
        frames, numbers = list_frames(self._listed[self._frames_dir], name, f"remove {name} from {self.split_name}")
        self._listed[self._masks_dir].refuse_blanks(name)
        folder = self._listed[self._masks_dir].named(name)
        names = numbered_files(folder, MASK_SUFFIXES)
        if not names:
            raise ClipError(f"{folder}: no .png masks{beside_them(folder)}; extract the annotations again")
        index_of_number = {number: index for index, number in enumerate(numbers)}
        missing = [file for number, file in names.items() if number not in index_of_number]
        if missing:
            raise ClipError(without_frame(folder / missing[0], len(missing) - 1))
        files = [(number, index_of_number[number], file) for number, file in names.items()]
        objects: list[SplitObject] = []
        defects: dict[str, str] = {}
        for label, span in self._objects(name, folder / files[0][2]).items():
            of_object = [file for file in files if span.numbers is None or file[0] in span.numbers]
            if not of_object:
                defects[str(label)] = f"{folder}: no picture on any frame that the meta file lists of object {label}; extract them again"
                continue
            annotations = tuple((index, LabelInPicture(folder, file, label)) for _, index, file in of_object)
            has_truth = len(of_object) >= span.count if span.count else len(of_object) > 1
            objects.append(SplitObject(name, str(label), annotations, f"{folder}, object {label}", has_truth=has_truth))
        return SplitVideo(name, frames, tuple(objects), MappingProxyType(defects))

    def _objects(self, video: str, first: Path) -> Mapping[int, _Span]:
        """Objects of a video by label.

        Args:
            first: its first picture.

        Raises:
            ClipError: there are none, or they cannot be read.
        """
        raise NotImplementedError


class DavisLayout(PicturesLayout):
    """Objects are those of a video's first picture."""

    name = "davis"
    protocol = "davis2017"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return ((root / IMAGES).is_dir() or (root / MASKS).is_dir()) and not _meta_files(root)

    def __init__(self, root: Path, split_name: str | None) -> None:
        super().__init__(root, split_name)
        if (root / SETS).is_dir():
            path, self.split_name = find_set(root / SETS, split_name)
            self.videos = read_set(path)
            self.frames_per_s = 24.0  # DAVIS (Perazzi et al., CVPR 2016); MOSE has this layout without lists
        else:
            self.split_name = root.resolve().name
            if split_name not in (None, self.split_name):
                raise DatasetError(f"{root}: no folder {SETS} with lists, so --split_name {split_name} names nothing; leave it out")
            self.videos = folders_in(self._masks_dir)
        if not self.videos:
            raise DatasetError(f"{self._masks_dir}: no folder of a video; extract the annotations again")

    def _objects(self, video: str, first: Path) -> Mapping[int, _Span]:
        labels = read_labels(first)
        if not labels:
            raise ClipError(f"{first}: no object in the first picture of {video} (only background and void); extract the annotations again")
        return dict.fromkeys(labels, _Span(None, 0))


class YoutubeVosLayout(PicturesLayout):
    """Objects and their frames are those of a meta file."""

    name = "ytvos"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return ((root / IMAGES).is_dir() or (root / MASKS).is_dir()) and bool(_meta_files(root))

    def __init__(self, root: Path, split_name: str | None) -> None:
        super().__init__(root, split_name)
        files = _meta_files(root)
        names = {path.stem.removesuffix("meta").removesuffix("_") or root.resolve().name: path for path in files}
        if not names:
            raise DatasetError(f"{root}: no meta.json and no SPLIT_meta.json; YouTube-VOS and LVOS have one, or give --layout davis")
        if split_name is None and len(names) > 1:
            raise DatasetError(f"{root}: several meta files ({', '.join(names)}); choose one with --split_name")
        self.split_name = split_name or next(iter(names))
        if self.split_name not in names:
            raise DatasetError(f"{root / f'{split_name}_meta.json'}: no such file; --split_name can be {', '.join(names)}")
        self._meta = names[self.split_name]
        self._objects_of, self.protocol = _read_meta(self._meta)
        self.videos = list(self._objects_of)

    def _objects(self, video: str, first: Path) -> Mapping[int, _Span]:
        found = self._objects_of[video]
        if isinstance(found, str):
            raise ClipError(f"{self._meta}: video {video}: {found}; download the file again")
        return found


def _meta_files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*meta.json") if not path.name.startswith(".") and path.is_file())


def _read_meta(path: Path) -> tuple[dict[str, dict[int, _Span] | str], str]:
    """The objects of each video, or what is wrong with them; and the protocol of the data set that writes such files.

    Raises:
        DatasetError: the file is not a meta file.
        OSError: it cannot be read.
    """
    try:
        videos = json.loads(path.read_bytes())["videos"]
        if not isinstance(videos, dict) or not videos:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{path}: not a meta file of videos and their objects; download it again, or give --layout davis") from error
    objects: dict[str, dict[int, _Span] | str] = {}
    protocol = "davis2017"
    for name, about in videos.items():
        objects[name] = found = _spans(about)
        if isinstance(found, dict) and "length" in about:
            protocol = "mose"
        elif isinstance(found, dict) and any(span.numbers is not None and span.numbers.step > 1 for span in found.values()):
            protocol = "lvos"
    return objects, protocol


def _spans(about: Any) -> dict[int, _Span] | str:
    """Frames of a video's objects, by label; or what is wrong with them."""
    try:
        entries = about["objects"]
        length = int(about.get("length", 0))
        entry_of = dict(entries) if isinstance(entries, dict) else {label: {} for label in entries}
        spans = {int(label): _span(entry, length) for label, entry in entry_of.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return f"its objects cannot be read ({type(error).__name__}: {error})"
    if not spans:
        return "it has no objects"
    if not all(BACKGROUND < label < VOID for label in spans):
        return f"labels {', '.join(map(str, spans))}, which must be 1 to {VOID - 1}"
    return spans


def _span(entry: Any, length: int) -> _Span:
    if "frame_range" in entry:
        of = entry["frame_range"]
        return _Span(range(int(of["start"]), int(of["end"]), LVOS_STEP), int(of["frame_nums"]))
    if "frames" in entry:
        return _Span(range(int(entry["frames"][0]), int(entry["frames"][-1]) + 1), len(entry["frames"]))
    return _Span(None, length)
