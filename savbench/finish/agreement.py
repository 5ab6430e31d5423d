"""How far the masks of an arm agree with those of a reference arm, which is no ground truth.

J and F are taken as between prediction and truth, on every tracked frame after the prompted one. The reference arm runs first, and its
masks are kept in a hidden folder of the run, a file per object, so that arms of a later command can be compared with them too.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from savbench.finish.metrics import score_frame
from savbench.results.spool import read_masks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from savbench.data.masks import CompressedMask
    from savbench.results.rows import SummaryRow

REFERENCES_DIR = ".reference_masks"


def reference_file(out_dir: Path, video: str, name: str) -> Path:
    """The file of an object's masks under the reference arm."""
    return out_dir / REFERENCES_DIR / video / f"{name}.masks"


def keep_reference(out_dir: Path, row: SummaryRow, masks_file: Path) -> None:
    """Copy the masks of the reference arm, whole or not at all. Raises OSError if they cannot be written."""
    path = reference_file(out_dir, row.video, row.object)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    shutil.copyfile(masks_file, part)
    part.replace(path)


def add_agreement(out_dir: Path, reference: str, row: SummaryRow, masks: Mapping[int, CompressedMask]) -> None:
    """Fill the row's columns of agreement; they stay empty where the reference arm has no masks of the object.

    Args:
        reference: id of the reference arm.
        masks: predictions by frame of the clip, as the model gave them.

    Raises:
        OSError: the masks of the reference cannot be read.
    """
    path = reference_file(out_dir, row.video, row.object)
    if not path.is_file():
        return
    theirs = read_masks(path).get("masks", {})
    frames = [frame for frame in sorted(masks.keys() & theirs.keys()) if frame > (row.prompt_frame or 0)]
    if not frames:
        return
    scores = [score_frame(masks[frame].unpack(), theirs[frame].unpack()) for frame in frames]
    row.agreement_J = float(np.mean([score.J for score in scores]))
    row.agreement_F = float(np.mean([score.F for score in scores]))
    row.agreement_JandF = (row.agreement_J + row.agreement_F) / 2
    row.agreement_frames = len(frames)
    row.identical_frames = sum(np.array_equal(masks[frame].bits, theirs[frame].bits) for frame in frames)
    row.agreement_with = reference
