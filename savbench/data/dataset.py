"""Opening a data set on disk, in any layout, lazily.

Layouts are `savbench.data.sav` (SA-V's val and test), `pictures` (DAVIS, MOSE, YouTube-VOS, LVOS), `masklets` (SA-V's training set) and
`clips` (videos without ground truth).
Opening a split reads only the list of ids. A video's folders are listed when the video is requested, and images are decoded one at a time,
frames by `savbench.data.frames` and masks by `savbench.data.annotation`. Listing a video decodes nothing, but for `davis`, whose objects
are in the first picture of each.

Frame indices. The index of a frame is its position among the video's frames in numerical order, which trackers use; the numbers in the
names may have gaps (00000, 00004, 00008). Annotations are matched to frames by that number, never by position. In a video file, number and
index are equal.

There are two kinds of failure: `DatasetError` means that the whole split cannot be used, `ClipError` that one video or object cannot.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from savbench.data.clips import ClipsLayout, Given
from savbench.data.frames import ClipError as ClipError
from savbench.data.listing import DatasetError as DatasetError
from savbench.data.listing import folders_in, visible_name
from savbench.data.masklets import MaskletsLayout
from savbench.data.pictures import DavisLayout, YoutubeVosLayout
from savbench.data.sav import SavLayout
from savbench.data.video import NothingToTrackError as NothingToTrackError
from savbench.data.video import SplitObject as SplitObject
from savbench.data.video import SplitVideo as SplitVideo
from savbench.data.video import Target as Target

if TYPE_CHECKING:
    from savbench.data.layout import Layout

_LAYOUTS: tuple[type[Layout], ...] = (SavLayout, DavisLayout, YoutubeVosLayout, MaskletsLayout, ClipsLayout)
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}
"""By the value of --layout, in the order in which they are tried."""
AUTO = "auto"


class Split:
    """A split with valid folders and list of videos. Made by `open_split`."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root = root
        self.layout = layout
        self.name = layout.split_name
        self.videos = list(layout.videos)
        """Video ids in the order of the list."""

    def video(self, name: str) -> SplitVideo:
        """List the frames and annotations of a video.

        Objects with a defect are in the result's `defects`, so that one bad object does not hide the others.

        Raises:
            ClipError: there are no frames or no objects, or the order of frames is unknown.
        """
        return self.layout.video(name)

    def targets(self, video: str) -> list[Target]:
        """Every object of a video, usable or not, by name; one `Target` without object if the video is unusable."""
        try:
            listed = self.video(video)
        except ClipError as error:
            return [Target(video, "", str(error))]
        first = {obj.object: obj.annotations[0][0] for obj in listed.objects}
        usable = {name: Target(video, name, None, frame, len(listed.frames)) for name, frame in first.items()}
        return [usable.get(name) or Target(video, name, listed.defects.get(name)) for name in listed.object_names]

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


def open_split(
    split_dir: str | os.PathLike[str],
    split_name: str | None = None,
    layout: str = AUTO,
    given: Given = Given(),  # noqa: B008 - immutable
) -> Split:
    """Check the folders of a split and read its list of videos.

    Args:
        split_dir: folder of the data set.
        split_name: stem of the list, for example `sav_val`; None: the only one.
        layout: one of `LAYOUTS`; `auto`: the first that the folder has.
        given: prompts for clips without ground truth.

    Raises:
        DatasetError: a folder or the list is missing, or the list is ambiguous, empty, has an id twice or an id that is not a folder name.
    """
    root = Path(split_dir)
    try:
        if not root.is_dir():
            raise DatasetError(f"{root}: {_not_a_folder(root)}; give the folder of a data set as --split_dir")
        chosen = _recognised(root) if layout == AUTO else LAYOUTS[layout]
        if chosen is None:
            raise DatasetError(f"{root}: {_what_is_there(root)}")
        if chosen is ClipsLayout:
            return Split(root, ClipsLayout(root, split_name, given))
        if given:
            raise DatasetError(f"{root}: has ground truth to prompt with (--layout {chosen.name}); leave out --prompts and --click")
        return Split(root, chosen(root, split_name))
    except ClipError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{error.filename or root}: cannot be read ({error.strerror}); check its permissions and --split_dir") from error
    except ValueError as error:  # no file can have this name: it has a zero byte, or characters that the locale's encoding lacks
        raise DatasetError(f"{visible_name(str(root))}: cannot be the name of a folder ({error}); give another --split_dir") from error


def _recognised(root: Path) -> type[Layout] | None:
    return next((layout for layout in LAYOUTS.values() if layout.recognises(root)), None)


def _not_a_folder(root: Path) -> str:
    if not root.exists():
        return "no such folder"
    return "a file of annotations, not a folder" if root.suffix.lower() == ".json" else "not a folder"


def _what_is_there(root: Path) -> str:
    """For messages: what a folder without any layout seems to be, and what to do."""
    for name in folders_in(root):
        if _recognised(root / name) is not None:
            return f"did you mean --split_dir {root / name}?"
    return (
        "no layout that is known: SA-V has JPEGImages_24fps and Annotations_6fps there, DAVIS, MOSE, YouTube-VOS and LVOS JPEGImages and "
        "Annotations, SA-V's training set VIDEO_manual.json beside VIDEO.mp4; give the folder that has them"
    )
