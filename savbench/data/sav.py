"""SA-V's layout of val and test (sav_dataset/README.md of facebookresearch/sam2).

    {root}/{split}.txt                                            video ids, one a line
    {root}/JPEGImages_24fps/{video}/{frame}.jpg                   00000.jpg, 00001.jpg, ...
    {root}/Annotations_6fps/{video}/{object}/{frame}.png          00000.png, 00004.png, ...

In place of a folder of frames there may be one video file, as SA-V's training videos are published:

    {root}/JPEGImages_24fps/{video}.mp4                           frame i of the file is 0000i.jpg; also .mov, .m4v, .mkv, .webm

A video with both is refused, since their pixels differ and results must not depend on which one is found first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from savbench.data.annotation import MaskFile
from savbench.data.frames import ClipError
from savbench.data.layout import MASK_SUFFIXES, Layout, list_frames, without_frame
from savbench.data.listing import (
    FRAMES_DIR,
    MASKS_DIR,
    DatasetError,
    Listed,
    beside_them,
    find_list,
    folders_in,
    is_writable,
    numbered_files,
    read_list,
    visible_name,
)
from savbench.data.video import SplitObject, SplitVideo
from savbench.data.video_file import VIDEO_SUFFIXES


class SavLayout(Layout):
    """A folder of PNGs per object."""

    name = "sav"
    in_pictures = False
    protocol = "sav"
    frames_per_s = 24.0

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (root / FRAMES_DIR).is_dir() or (root / MASKS_DIR).is_dir()

    def __init__(self, root: Path, split_name: str | None) -> None:
        missing = [name for name in (FRAMES_DIR, MASKS_DIR) if not (root / name).is_dir()]
        if missing:
            raise DatasetError(f"{root}: no folder {' and no folder '.join(missing)}; SA-V splits have both, extract them there")
        self.folders = (root / FRAMES_DIR, root / MASKS_DIR)
        list_path = find_list(root, split_name)
        self.split_name = list_path.stem
        self.videos = read_list(list_path, VIDEO_SUFFIXES)
        self._listed = Listed()

    def video(self, name: str) -> SplitVideo:
        frames_dir, all_masks_dir = self.folders
        frames, numbers = list_frames(self._listed[frames_dir], name, f"remove {name} from {self.split_name}.txt")
        self._listed[all_masks_dir].refuse_blanks(name)
        masks_dir = self._listed[all_masks_dir].named(name)
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
        return SplitVideo(name, frames, tuple(objects), MappingProxyType(defects))


def _list_object(video: str, folder: Path, index_of_number: Mapping[int, int]) -> SplitObject:
    names = numbered_files(folder, MASK_SUFFIXES)
    if not names:
        raise ClipError(f"{folder}: no .png masks{beside_them(folder)}; extract the annotations again or remove the folder")
    missing = [name for number, name in names.items() if number not in index_of_number]
    if missing:
        raise ClipError(without_frame(folder / missing[0], len(missing) - 1))
    annotations = tuple((index_of_number[number], MaskFile(folder, name)) for number, name in names.items())
    return SplitObject(video, folder.name, annotations, str(folder))
