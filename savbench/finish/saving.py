"""Optional outputs of a run: overlays to look at and masks for the official evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from savbench.data.feed import PromptMaker
from savbench.data.masks import CompressedMask, save_object_masks, save_pictures
from savbench.finish.overlay import OverlayWriter, overlay_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runners.base import PromptKind
    from savbench.data.png import Labels
    from savbench.data.video import SplitObject, SplitVideo
    from savbench.finish.scoring import TruthMasks
    from savbench.plan.arms import Arm
    from savbench.results.frame_rows import FrameRow
    from savbench.results.rows import SummaryRow

FRAMES_PER_SECOND = 24
MASKS_DIR = "masks"


def has_masks(out_dir: Path, row: SummaryRow, *, in_pictures: bool) -> bool:
    """Whether an object's predictions are saved, in pictures of all objects or alone; the folder exists only once it is complete."""
    of_video = out_dir / MASKS_DIR / row.arm_id / row.video
    return (of_video if in_pictures else of_video / row.object).is_dir()


def overlay_of(row: SummaryRow) -> Path:
    """Path of an object's overlay relative to the run's folder, whether or not the row tells it."""
    return Path(row.overlay) if row.overlay else overlay_path(row.video, row.object, row.arm_id)


def has_overlay(out_dir: Path, row: SummaryRow) -> bool:
    """Whether an object's overlay is saved and told by its row."""
    return bool(row.overlay) and (out_dir / row.overlay).is_file()


def save_masks(out_dir: Path, arm: Arm, obj: SplitObject, masks: Mapping[int, CompressedMask], size_hw: tuple[int, int]) -> None:
    """Write an object's predictions for the official evaluator, with an empty mask for an annotated frame without a prediction.

    Args:
        out_dir: the run's folder.
        masks: by frame of the clip.

    Raises:
        OSError: a file cannot be written.
    """
    nothing = CompressedMask.of(np.zeros(size_hw, np.bool_))
    named = {annotation.frame_name: masks.get(frame, nothing) for frame, annotation in obj.annotations}
    save_object_masks(out_dir / MASKS_DIR, arm.arm_id, obj.video, obj.object, named)


def save_pictures_of(
    out_dir: Path, arm: Arm, video: SplitVideo, masks_of: Mapping[str, Mapping[int, CompressedMask]], size_hw: tuple[int, int]
) -> None:
    """Write a picture of all objects for every frame of a clip, for the data set's official tool or server.

    Args:
        masks_of: by object and frame of the clip; no two objects of a frame share a pixel, or the later one keeps it.

    Raises:
        OSError: a file cannot be written.
    """

    def pictures() -> Iterator[tuple[str, Labels]]:
        for frame in range(len(video.frames)):
            picture_hw = np.zeros(size_hw, np.uint8)
            for name, masks in masks_of.items():
                if frame in masks:
                    picture_hw[masks[frame].unpack()] = int(name)
            yield video.frame_name(frame), picture_hw

    save_pictures(out_dir / MASKS_DIR, arm.arm_id, video.name, pictures())


def save_overlay(
    out_dir: Path,
    arm: Arm,
    video: SplitVideo,
    obj: SplitObject,
    masks: Mapping[int, CompressedMask],
    frames: Sequence[FrameRow],
    prompts: PromptMaker,
    truths: TruthMasks,
) -> str:
    """Write a video of an object with its masks drawn in. Returns the video's path relative to the run's folder.

    Args:
        out_dir: the run's folder.
        masks: by frame of the clip.
        frames: the object's timed frames with their scores.

    Raises:
        ClipError: a frame or a ground-truth mask cannot be read.
        OSError: the video cannot be written.
    """
    size_hw = video.read_size()
    path = overlay_path(obj.video, obj.object, arm.arm_id)
    truth_of = dict(obj.annotations) if obj.has_truth else {}
    prompted = prompts.track(obj, cast("PromptKind", arm.prompt))
    nothing = np.zeros(size_hw, np.bool_)
    told = _Captions(frames)
    with OverlayWriter(out_dir / path, *size_hw, FRAMES_PER_SECOND) as writer, video.frames.reader(size_hw) as reader:
        for index in range(len(video.frames)):
            writer.add(
                reader.read(index),
                masks[index].unpack() if index in masks else nothing,
                truth_hw=truths.read(truth_of[index], size_hw) if index in truth_of else None,
                prompt=prompted.prompt if index == prompted.prompt_frame else None,
                texts=(f"frame {index}", told.of(index), f"{obj.video}/{obj.object}  {arm.label}"),
            )
    return str(path)


class _Captions:
    """Latency and scores of an object's frames, in the order of the clip."""

    def __init__(self, frames: Sequence[FrameRow]) -> None:
        self._frames = {frame.frame: frame for frame in frames if not frame.repeat}
        self._scores: list[float] = []
        self._newest = ""

    def of(self, index: int) -> str:
        """Return the text of the next frame: its latency, J&F of the newest scored frame, and its mean up to there."""
        row = self._frames.get(index)
        if row is not None and row.J is not None and row.F is not None:
            self._scores.append((row.J + row.F) / 2)
            mean = sum(self._scores) / len(self._scores)
            self._newest = f"  J&F {self._scores[-1]:.3f}, mean so far {mean:.3f}"
        return ("not timed" if row is None or row.latency_ms is None else f"latency {row.latency_ms:.1f} ms") + self._newest
