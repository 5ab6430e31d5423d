"""SA-V as released for training: a video file and JSON files of masklets, encoded by runs, on every fourth frame (6 of 24 a second).

    {root}/[{part}/]{video}.mp4                  or a folder {video} of JPEGs
    {root}/[{part}/]{video}_manual.json          objects 000, 001, ...
    {root}/[{part}/]{video}_auto.json            objects auto_000, auto_001, ...
    {root}/{split}.txt                           optional: video ids, one a line; without it every video with a JSON file

The format is that of sav_dataset/README.md of facebookresearch/sam2: `masklet` is a list over annotated frames of lists over objects of
masks, `masklet_id` has the objects' numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

from savbench.data.annotation import Masklet
from savbench.data.frames import ClipError
from savbench.data.layout import Layout, list_frames
from savbench.data.listing import DatasetError, Listed, find_list, folders_in, is_hidden, names_in, read_list
from savbench.data.rle import Rle
from savbench.data.video import SplitObject, SplitVideo
from savbench.data.video_file import VIDEO_SUFFIXES

KINDS = {"_manual.json": "", "_auto.json": "auto_"}
"""What comes before an object's number, by the end of the file's name."""
ANNOTATED_EVERY = 4


class MaskletsLayout(Layout):
    """JSON files beside videos."""

    name = "sav-json"
    in_pictures = False
    protocol = "sav"
    frames_per_s = 24.0

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return bool(_json_files(root))

    def __init__(self, root: Path, split_name: str | None) -> None:
        files = _json_files(root)
        if not files:
            raise DatasetError(f"{root}: no file VIDEO_manual.json or VIDEO_auto.json; SA-V's training set has them beside the videos")
        self._files: dict[str, list[Path]] = {}
        for path in files:
            end = next(end for end in KINDS if path.name.endswith(end))
            self._files.setdefault(path.name.removesuffix(end), []).append(path)
        self.folders = tuple(dict.fromkeys(path.parent for path in files if path.parent != root))
        self._listed = Listed()
        if split_name not in (None, root.resolve().name) or any(root.glob("*.txt")):
            path = find_list(root, split_name)
            self.split_name = path.stem
            self.videos = read_list(path, VIDEO_SUFFIXES)
        else:
            self.split_name = root.resolve().name
            self.videos = list(self._files)

    def video(self, name: str) -> SplitVideo:
        files = self._files.get(name)
        if files is None:
            raise ClipError(f"{name}: neither {name}_manual.json nor {name}_auto.json is there; download them or remove it from the list")
        folder = files[0].parent
        frames, numbers = list_frames(self._listed[folder], name, f"download {name}.mp4")
        if list(numbers) != list(range(len(numbers))):
            raise ClipError(f"{folder / name}: its frames are not numbered from 00000 without gaps; extract them again at 24 a second")
        objects: list[SplitObject] = []
        defects: dict[str, str] = {}
        for path in files:
            _list_objects(name, path, len(frames), objects, defects)
        return SplitVideo(name, frames, tuple(objects), MappingProxyType(defects))


def _json_files(root: Path) -> list[Path]:
    """Manual before automatic ones of a video, in the folder and its subfolders."""
    folders = [root, *(root / name for name in folders_in(root))]
    return [folder / name for folder in folders for end in KINDS for name in names_in(folder) if name.endswith(end) and not is_hidden(name)]


def _list_objects(video: str, path: Path, frames: int, objects: list[SplitObject], defects: dict[str, str]) -> None:
    """Add the objects of a file. Raises ClipError if it cannot be read."""
    prefix = next(prefix for end, prefix in KINDS.items() if path.name.endswith(end))
    try:
        about = json.loads(path.read_bytes())
        size_hw = int(about["video_height"]), int(about["video_width"])
        ids, annotated = list(about["masklet_id"]), list(about["masklet"])
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror}); download it again") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ClipError(f"{path}: not a file of masklets ({type(error).__name__}: {error}); download it again") from error
    last = ANNOTATED_EVERY * (len(annotated) - 1)
    for place, number in enumerate(ids):
        name = f"{prefix}{int(number):03d}"
        where = f"{path}, masklet {number}"
        if last >= frames:
            defects[name] = f"{where}: annotated up to frame {last}, but the video has {frames} frames; download both again"
            continue
        try:
            masks = [_rle(of_frame[place], size_hw) for of_frame in annotated]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            defects[name] = f"{where}: a mask is missing or damaged ({type(error).__name__}: {error}); download the file again"
            continue
        annotations = tuple(
            (ANNOTATED_EVERY * index, Masklet(path, ANNOTATED_EVERY * index, mask, size_hw)) for index, mask in enumerate(masks)
        )
        if annotations:
            objects.append(SplitObject(video, name, annotations, where))
        else:
            defects[name] = f"{where}: no annotated frame; download the file again"


def _rle(entry: Any, size_hw: tuple[int, int]) -> Rle | None:
    """A frame's mask of one object; None where it is not visible."""
    if entry is None:
        return None
    height, width = entry["size"]
    counts = entry["counts"]
    if not isinstance(counts, str) or (height, width) != size_hw:
        raise ValueError(f"a mask of {width}x{height} in a video of {size_hw[1]}x{size_hw[0]}")
    return Rle((int(height), int(width)), counts)
