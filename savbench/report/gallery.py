"""Pictures of the best and worst objects and of the errors there, from saved masks and the split, else from overlays."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from savbench.data.dataset import ClipError, DatasetError, Split, SplitObject, open_split
from savbench.data.masks import read_saved, saved_mask
from savbench.finish.overlay import draw_errors, overlay_path
from savbench.finish.saving import MASKS_DIR
from savbench.report.arms import numbers
from savbench.results.attributes import BY_NAME, hardships
from savbench.results.beside import leads_out
from savbench.results.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt
    import pandas as pd

    from runners.base import Frame
    from savbench.data.annotation import Annotation
    from savbench.report.arms import Arm
    from savbench.report.runs import Run

MOST_ARMS = 4
WIDTH_PX, TALLEST_PX = 360, 720
JPEG_QUALITY = 80
ASPECT = 4 / 3
SURROUNDINGS = 0.5
"""Margin shown on each side of the object, as a fraction of its size."""
SMALLEST_PX = 120
"""Minimum width of a crop; a narrower one would only show blocks."""
REMEDY = "Run with --save_masks (pictures are then drawn from the masks and the split) or --save_overlays."


@dataclass(frozen=True)
class Picture:
    """An object as tracked by an arm.

    Attributes:
        data_uri: a JPEG; empty if there is none.
        alt: description of the picture.
        score: J&F of the object, empty if it has none.
        says: caption, or why there is no picture.
    """

    arm: str
    data_uri: str
    alt: str
    score: str
    says: str


@dataclass(frozen=True)
class Shown:
    """An object, with one picture per arm."""

    object: str
    says: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """
    Attributes:
        ranked_by: label of the arm whose scores rank the objects.
        reason: why there are no pictures; empty if there are any.
    """

    ranked_by: str
    best: tuple[Shown, ...]
    worst: tuple[Shown, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()

    @staticmethod
    def scores(shown: Sequence[Shown]) -> Grid:
        """Return J&F of the objects under each arm, without pictures."""
        header = ["object", *(picture.arm for picture in shown[0].pictures)]
        return Grid(header, [[entry.object, *(picture.score for picture in entry.pictures)] for entry in shown])


def make_gallery(arms: Sequence[Arm], rows: pd.DataFrame, runs: Sequence[Run], split_dir: Path | None, count: int) -> Gallery:
    """Choose the objects by the scores of the most accurate trained arm, else of another with scores, and draw them.

    Args:
        split_dir: folder of the split; None draws nothing from masks. The path recorded in a run is not followed: a run's folder may come
            from anyone, and the page shows what is read.
        count: number of best objects, and of worst objects.
    """
    scored = sorted((arm for arm in arms if arm.JandF is not None), key=lambda arm: (arm.is_random, arm.is_floor, -(arm.JandF or 0.0)))
    if not scored:
        return Gallery("", (), (), "No row has J&F, so that there are no best and worst objects.")
    first = scored[0]
    own = rows.iloc[first.scored]
    own = own[np.isfinite(numbers(own, "JandF"))]
    scores = zip(numbers(own, "JandF").tolist(), own["video"].astype(str), own["object"].astype(str), strict=True)
    order = sorted(scores)
    # a single object is best, never worst
    count = min(count, len(order) // 2)
    chosen = [*order[:count], *order[::-1][: max(count, 1)]]
    artist = _Artist({run.label: run for run in runs}, rows, split_dir)
    shown = [artist.show(video, name, score, scored[:MOST_ARMS], first) for score, video, name in chosen]
    worst, best = tuple(shown[:count]), tuple(shown[count:])
    has_pictures = any(picture.data_uri for entry in shown for picture in entry.pictures)
    notes = [*dict.fromkeys(artist.notes)]
    if len(scored) > MOST_ARMS:
        notes.append(f"Shown are {MOST_ARMS} of {len(scored)} arms, the most accurate ones.")
    return Gallery(first.shown, best, worst, "" if has_pictures else f"There are no pictures. {REMEDY}", tuple(notes))


_Window = tuple[int, int, int, int]
"""Top, bottom, left and right."""


@dataclass(frozen=True)
class _View:
    """A frame of the clip as an arm tracked it."""

    index: int
    picture: Frame
    prediction_hw: npt.NDArray[np.bool_]
    truth_hw: npt.NDArray[np.bool_]

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Where either mask is."""
        return self.prediction_hw | self.truth_hw


class _Artist:
    def __init__(self, runs: dict[str, Run], rows: pd.DataFrame, split_dir: Path | None) -> None:
        self._runs = runs
        self._rows = rows
        self._split_dir = split_dir
        self._splits: dict[tuple[str, str], Split | None] = {}
        self.notes: list[str] = []

    def show(self, video: str, name: str, score: float, arms: Sequence[Arm], ranking: Arm) -> Shown:
        frame = self._typical_frame(ranking, video, name)
        rows = {arm.label: row for arm in arms if (row := self._row(arm, video, name)) is not None}
        views = {arm.label: view for arm in arms if arm.label in rows and (view := self._view(arm, video, name, frame, rows[arm.label]))}
        # one window for all arms, so that their pictures can be compared
        window = _window(np.logical_or.reduce([view.masks for view in views.values()])) if _are_alike(views.values()) else None
        pictures = tuple(self._picture(arm, video, name, frame, rows.get(arm.label), views.get(arm.label), window) for arm in arms)
        row = rows.get(ranking.label)
        hard = [] if row is None else hardships({name: float(row.get(of.column, np.nan)) for name, of in BY_NAME.items()})
        said = [f"J&F {score:.3f} under {ranking.shown}", *([f"hard: {', '.join(hard)}"] if hard else [])]
        return Shown(f"{video}/{name}", "; ".join(said), pictures)

    def _row(self, arm: Arm, video: str, name: str) -> Any:
        own = self._rows.iloc[arm.scored]
        own = own[(own["video"] == video) & (own["object"] == name)]
        return own.iloc[0] if len(own) else None

    def _typical_frame(self, arm: Arm, video: str, name: str) -> int | None:
        """Return the scored frame with the object's median J: neither its best nor its worst moment."""
        frames = self._runs[arm.run].frames
        if not len(frames):
            return None
        mine = frames[(frames["arm_id"] == arm.arm_id) & (frames["video"] == video) & (frames["object"] == name)]
        mine = mine[mine["J"].notna() & mine["frame"].notna()]
        if not len(mine):
            return None
        ordered = mine.sort_values("J", kind="stable")
        return int(ordered["frame"].iloc[(len(ordered) - 1) // 2])

    def _picture(self, arm: Arm, video: str, name: str, frame: int | None, row: Any, view: _View | None, window: _Window | None) -> Picture:
        if row is None:
            return Picture(arm.shown, "", "", "", "no figures of this object")
        JandF = float(numbers(row.to_frame().T, "JandF")[0])
        score = f"{JandF:.3f}" if np.isfinite(JandF) else ""
        said = f"J&F {score}" if score else "not scored"
        if view is not None:
            drawn, index = cut_out(view.picture, view.prediction_hw, view.truth_hw, window), view.index
        else:
            shown = self._from_overlay(arm, video, name, frame, row)
            if shown is None:
                return Picture(arm.shown, "", "", score, f"{said}; neither masks nor an overlay are there")
            drawn, index = shown
        where = f", frame {index}"
        alt = f"{video}/{name} under {arm.shown}{where}: ground truth outlined, false positives orange, false negatives blue; {said}"
        return Picture(arm.shown, _jpeg(drawn), alt, score, f"{said}{where}")

    def _view(self, arm: Arm, video: str, name: str, frame: int | None, row: Any) -> _View | None:
        """Read a frame of the split with its ground truth and the saved mask; None if one of them is not there."""
        folder = self._runs[arm.run].folder
        if any(Path(part).name != part for part in (arm.arm_id, video, name)):
            # names come from an untrusted file
            return None
        if folder is None or not (masks := folder / MASKS_DIR / arm.arm_id / video).is_dir() or self._leads_out(folder, masks):
            return None
        split = self._split(arm.run)
        if split is None:
            return None
        max_frames = row.get("max_frames", "")
        try:
            clip = split.video(video).take(int(max_frames) if str(max_frames).isdecimal() else None)
            obj = clip.object(name)
            index, truth = _annotation(obj, frame)
            in_pictures = split.layout.in_pictures
            saved = saved_mask(masks if in_pictures else masks / name, truth.frame_name)
            if not saved.parent.is_dir() or self._leads_out(folder, saved):
                return None
            truth_hw = truth.read()
            size_hw = (truth_hw.shape[0], truth_hw.shape[1])
            prediction_hw = read_saved(masks.parent, obj, truth.frame_name, size_hw, in_pictures=in_pictures)
            with clip.frames.reader(size_hw) as frames:
                picture = frames.read(index)
        except ClipError as error:
            self.notes.append(str(error))
            return None
        return _View(index, picture, prediction_hw, truth_hw)

    def _leads_out(self, folder: Path, path: Path) -> bool:
        if leads_out(folder, path):
            self.notes.append(f"{path}: a link out of the run's folder, not followed.")
            return True
        return False

    def _split(self, label: str) -> Split | None:
        about = self._runs[label].about
        if self._split_dir is None:
            told = f" (it was {about['split_dir']})" if about.get("split_dir") else ""
            self.notes.append(f"Pictures from the masks of {label} need the split: say where it is with --split_dir{told}.")
            return None
        path, name = self._split_dir, str(about.get("split_name", ""))
        if (str(path), name) not in self._splits:
            try:
                self._splits[str(path), name] = open_split(path, name or None)
            except DatasetError as error:
                self._splits[str(path), name] = None
                self.notes.append(f"The split of {label} cannot be used ({error}); say where it is with --split_dir.")
        return self._splits[str(path), name]

    def _from_overlay(self, arm: Arm, video: str, name: str, frame: int | None, row: Any) -> tuple[Frame, int] | None:
        folder, relative = self._runs[arm.run].folder, str(row.get("overlay", ""))
        if not relative and arm.arm_id and "/" not in video + name + arm.arm_id:
            # --save_overlays worst:N tells no path in the row
            relative = str(overlay_path(video, name, arm.arm_id))
        if folder is None or not relative or Path(relative).is_absolute() or ".." in Path(relative).parts:
            return None
        path = folder / relative
        if not path.is_file() or self._leads_out(folder, path):
            return None
        try:
            import av
        except ImportError as error:
            self.notes.append(f"Overlays cannot be read without the Python package av: pip install av ({error})")
            return None
        try:
            with av.open(str(path)) as container:
                wanted = frame if frame is not None else container.streams.video[0].frames // 2
                for index, decoded in enumerate(container.decode(video=0)):
                    if index == wanted:
                        return _scaled(np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8), WIDTH_PX), index
        except (av.error.FFmpegError, IndexError) as error:
            self.notes.append(f"{path}: cannot be read ({error})")
        return None


def _are_alike(views: Collection[_View]) -> bool:
    """Whether there are views, all of frames of one size: runs of copies of a split may differ."""
    return len({view.picture.shape for view in views}) == 1


def cut_out(picture: Frame, prediction_hw: npt.NDArray[np.bool_], truth_hw: npt.NDArray[np.bool_], window: _Window | None = None) -> Frame:
    """Crop a frame, scale it to `WIDTH_PX`, and draw the ground truth and the errors.

    Args:
        picture: (height, width, 3), RGB, uint8; not changed.
        prediction_hw, truth_hw: (height, width), bool.
        window: part to show; None: around both masks, at 4:3 if the video allows.

    Returns:
        (height, WIDTH_PX, 3), RGB, uint8; narrower if it would be taller than `TALLEST_PX`.
    """
    top, bottom, left, right = _window(prediction_hw | truth_hw) if window is None else window
    part = np.s_[top:bottom, left:right]
    scaled = _scaled(picture[part], WIDTH_PX)
    size = (scaled.shape[1], scaled.shape[0])
    masks = [cv2.resize(mask[part].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (prediction_hw, truth_hw)]
    draw_errors(scaled, masks[0], masks[1], 1)
    return scaled


def _window(mask_hw: npt.NDArray[np.bool_]) -> _Window:
    """Return top, bottom, left, right of the part to show; the whole frame if there is no mask."""
    height, width = mask_hw.shape
    if not mask_hw.any():
        return 0, height, 0, width
    x, y, w, h = cv2.boundingRect(mask_hw.astype(np.uint8))
    wide = max(w * (1 + 2 * SURROUNDINGS), h * (1 + 2 * SURROUNDINGS) * ASPECT, SMALLEST_PX)
    wide = min(wide, width)
    # a narrow video has room only above and below
    high = min(max(wide / ASPECT, h * (1 + 2 * SURROUNDINGS)), height)
    left = min(max(x + w / 2 - wide / 2, 0), width - wide)
    top = min(max(y + h / 2 - high / 2, 0), height - high)
    return int(top), max(int(top + high), int(top) + 1), int(left), max(int(left + wide), int(left) + 1)


def _annotation(obj: SplitObject, frame: int | None) -> tuple[int, Annotation]:
    """Return the annotation at a frame, or the middle one."""
    middle = obj.annotations[len(obj.annotations) // 2]
    return next((annotated for annotated in obj.annotations if annotated[0] == frame), middle)


def _scaled(picture: Frame, width: int) -> Frame:
    """Scale to the requested width, or to fit `TALLEST_PX`."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if height > TALLEST_PX:
        width, height = max(1, round(width * TALLEST_PX / height)), TALLEST_PX
    how = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def _jpeg(picture: Frame) -> str:
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise OSError(f"OpenCV {cv2.__version__} cannot write a JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
