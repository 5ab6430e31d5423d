"""What a run may leave behind beside figures: overlays to look at and masks for the official evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.dataset import read_frame, read_mask
from savbench.masks import PackedMask, save_object_masks
from savbench.overlay import OverlayWriter, overlay_path

if TYPE_CHECKING:
    from pathlib import Path

    from savbench.config import Arm, RunConfig
    from savbench.dataset import SplitObject, SplitVideo
    from savbench.session import Tracked

FRAMES_PER_SECOND = 24
MASKS_DIR = "masks"


def save_products(config: RunConfig, arm: Arm, video: SplitVideo, obj: SplitObject, tracked: Tracked) -> str:
    """Write what --save_overlays and --save_masks ask for. Returns the overlay's path relative to the run's folder, or nothing.

    Raises:
        OSError: a file cannot be written.
    """
    if config.out_dir is None:
        raise ValueError("a run has a folder before it saves into it")
    if config.save_masks:
        _save_masks(config.out_dir / MASKS_DIR, arm, obj, tracked)
    if not config.save_overlays:
        return ""
    path = overlay_path(obj.video, obj.object, arm.arm_id)
    _write_overlay(config.out_dir / path, arm, video, obj, tracked)
    return str(path)


def _save_masks(folder: Path, arm: Arm, obj: SplitObject, tracked: Tracked) -> None:
    row = tracked.row
    nothing = PackedMask(np.zeros((row.video_height or 0, row.video_width or 0), np.bool_))
    masks = {path.stem: tracked.masks.get(frame, nothing) for frame, path in obj.annotations}
    save_object_masks(folder, arm.arm_id, obj.video, obj.object, masks)


def _write_overlay(path: Path, arm: Arm, video: SplitVideo, obj: SplitObject, tracked: Tracked) -> None:
    truths = dict(obj.annotations)
    scores = {frame.frame: frame.J for frame in tracked.frames if frame.J is not None}
    nothing = np.zeros((tracked.row.video_height or 0, tracked.row.video_width or 0), np.bool_)
    score = ""
    with OverlayWriter(path, nothing.shape[0], nothing.shape[1], FRAMES_PER_SECOND) as writer:
        for index, frame_path in enumerate(video.frame_paths):
            if index in scores:
                score = f"J {scores[index]:.3f}  "
            writer.add(
                read_frame(frame_path),
                tracked.masks[index].unpack() if index in tracked.masks else nothing,
                truth_hw=read_mask(truths[index]) if index in truths else None,
                prompt=tracked.prompt if index == tracked.row.prompt_frame else None,
                caption=f"frame {index}  {score}{obj.video}/{obj.object}  {arm.label}",
            )
