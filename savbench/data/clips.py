"""Videos without ground truth: a folder of video files, or of folders of JPEGs, and prompts from outside.

    {root}/{video}.mp4                also .mov, .m4v, .mkv, .webm, or a folder {video} of JPEGs
    {root}/{video}.png                optional: the objects on the first frame, a mask or a picture of labels

The prompts of a video are, in this order: its entry in the file of --prompts; the picture beside it; the click of --click, on frame 0. The
file of --prompts is JSON, by video and label of the object (1 to 254); coordinates are pixels of the video, x then y:

    {"walk.mp4": {"1": {"points": [[412, 300]]}, "2": {"box": [10, 20, 90, 200], "frame": 48}, "3": {"mask": "walk_3.png"}}}

A mask can be prompted with in every way, points and a box only as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from savbench.data.annotation import Annotation, GivenPrompt, LabelInPicture, MaskFile
from savbench.data.frames import ClipError
from savbench.data.layout import FRAME_SUFFIXES, Layout, has_suffix, list_frames
from savbench.data.listing import DatasetError, Entries, folders_in, names_in
from savbench.data.png import BACKGROUND, VOID, read_labels
from savbench.data.video import SplitObject, SplitVideo, in_order
from savbench.data.video_file import VIDEO_SUFFIXES

CLICKED = "1"
"""Label of the object of --click."""
FORMS = ("points", "box", "mask")


@dataclass(frozen=True)
class Given:
    """Prompts from outside of a data set."""

    prompts: Path | None = None
    click: tuple[int, int] | None = None
    """x and y."""

    def __bool__(self) -> bool:
        return self.prompts is not None or self.click is not None


class ClipsLayout(Layout):
    """Videos in one folder."""

    name = "clips"
    in_pictures = True
    protocol = "sav"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any(has_suffix(name, VIDEO_SUFFIXES) for name in names_in(root))

    def __init__(self, root: Path, split_name: str | None, given: Given = Given()) -> None:
        self.folders = ()
        self.split_name = root.resolve().name
        if split_name not in (None, self.split_name):
            raise DatasetError(f"{root}: a folder of videos has no lists, so --split_name {split_name} names nothing; leave it out")
        self._entries = Entries(root)
        stems = {name.rpartition(".")[0] for name in names_in(root) if has_suffix(name, VIDEO_SUFFIXES)}
        stems |= {name for name in folders_in(root) if _has_frames(root / name)}
        self.videos = sorted(stems)
        if not self.videos:
            raise DatasetError(f"{root}: no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of JPEGs; give the folder that has them")
        self._click = given.click
        self._prompts_file = given.prompts
        self._prompts = {} if given.prompts is None else _read_prompts(given.prompts, self.videos)

    def video(self, name: str) -> SplitVideo:
        frames, _ = list_frames(self._entries, name, f"remove the folder {name}")
        objects: list[SplitObject] = []
        defects: dict[str, str] = {}
        if name in self._prompts:
            for label, entry in sorted(self._prompts[name].items(), key=lambda item: in_order(item[0])):
                where = f"{self._prompts_file}, {name}, object {label}"
                try:
                    frame, prompt = self._given(where, label, entry, len(frames))
                    objects.append(SplitObject(name, label, ((frame, prompt),), where, has_truth=False))
                except ClipError as error:
                    defects[label] = str(error)
        elif (picture := self._entries.named(f"{name}.png")).is_file():
            for number in read_labels(picture):
                annotation = LabelInPicture(picture.parent, picture.name, number)
                objects.append(SplitObject(name, str(number), ((0, annotation),), f"{picture}, object {number}", has_truth=False))
        elif self._click is not None:
            prompt = GivenPrompt(f"--click on {name}", "00000", points=((float(self._click[0]), float(self._click[1])),))
            objects.append(SplitObject(name, CLICKED, ((0, prompt),), f"--click on {name}", has_truth=False))
        if not objects and not defects:
            raise ClipError(
                f"{self._entries.folder / name}: nothing says what to track; put it into the file of --prompts, put a mask of the first "
                f"frame beside it as {name}.png, or give --click x,y"
            )
        return SplitVideo(name, frames, tuple(objects), MappingProxyType(defects))

    def _given(self, where: str, label: str, entry: Any, frames: int) -> tuple[int, Annotation]:
        """An entry of the file of prompts. Raises ClipError if it is no prompt."""
        if not (label.isascii() and label.isdecimal() and BACKGROUND < int(label) < VOID and label == str(int(label))):
            raise ClipError(f"{where}: the label of an object is a number from 1 to {VOID - 1}")
        forms = [form for form in FORMS if isinstance(entry, dict) and form in entry]
        if len(forms) != 1 or set(entry) - {*FORMS, "frame"}:
            raise ClipError(f"{where}: give exactly one of points, box and mask, and a frame if it is not the first")
        frame = entry.get("frame", 0)
        if not isinstance(frame, int) or not 0 <= frame < frames:
            raise ClipError(f"{where}: frame {frame} is not one of the video, which has frames 0 to {frames - 1}")
        value, name = entry[forms[0]], f"{frame:05d}"
        if forms[0] == "mask":
            assert self._prompts_file is not None  # it holds the entry
            if not isinstance(value, str) or not value:
                raise ClipError(f"{where}: mask is the name of a PNG, relative to the file of prompts")
            path = self._prompts_file.parent / value
            return frame, MaskFile(path.parent, path.name)
        try:
            numbers_n2 = np.array(value, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise ClipError(f"{where}: points are [[x, y], ...] and a box is [x_min, y_min, x_max, y_max]") from error
        if not len(numbers_n2) or not np.isfinite(numbers_n2).all() or (forms[0] == "box" and numbers_n2.shape != (2, 2)):
            raise ClipError(f"{where}: points are [[x, y], ...] and a box is [x_min, y_min, x_max, y_max]")
        pairs = tuple((float(x), float(y)) for x, y in numbers_n2)
        if forms[0] == "points":
            return frame, GivenPrompt(where, name, points=pairs)
        if (numbers_n2[0] > numbers_n2[1]).any():
            raise ClipError(f"{where}: a box is [x_min, y_min, x_max, y_max], but its end lies before its start")
        return frame, GivenPrompt(where, name, box=(*pairs[0], *pairs[1]))


def _has_frames(folder: Path) -> bool:
    return any(has_suffix(name, FRAME_SUFFIXES) for name in names_in(folder))


def _read_prompts(path: Path, videos: list[str]) -> dict[str, dict[str, Any]]:
    """The file of --prompts, by video id.

    Raises:
        DatasetError: it cannot be read, is no such file, or names a video that is not there.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give the file of prompts as --prompts") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error}); see docs/data.md for the file of prompts") from error
    if not isinstance(found, dict) or not all(isinstance(objects, dict) for objects in found.values()):
        raise DatasetError(f"{path}: not a file of prompts, which has objects by video; see docs/data.md")
    prompts = {}
    for name, objects in found.items():
        stem, _, suffix = name.rpartition(".")
        video = stem if suffix.lower() in VIDEO_SUFFIXES else name
        if video not in videos:
            raise DatasetError(f"{path}: {name} is not there; the videos are {', '.join(videos[:8])}{', ...' * (len(videos) > 8)}")
        prompts[video] = objects
    return prompts
