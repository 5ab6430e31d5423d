"""Rescores saved masks against the ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from savbench.data.clips import Given
from savbench.data.dataset import AUTO, ClipError, DatasetError, Split, SplitObject, open_split
from savbench.data.masks import read_saved
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.finish.saving import MASKS_DIR
from savbench.plan.protocols import SAV, Protocol, protocol_named
from savbench.results.run_folder import RUN
from savbench.results.scores import ObjectScore

if TYPE_CHECKING:
    import numpy.typing as npt

    from savbench.validate.findings import Report, Table

TOLERANCE = 1e-9


def check_masks(
    folder: Path, about: dict[str, Any], split_dir: Path | None, rows: Table, ok: npt.NDArray[np.bool_], report: Report
) -> None:
    """Rescore the masks of every ok row and compare J, F and the number of scored frames with the row.

    Args:
        about: contents of run.json.
        split_dir: folder of the split; None means the path in run.json.
    """
    masks_dir = folder / MASKS_DIR
    if not masks_dir.is_dir():
        report.notes.append(f"no {MASKS_DIR}/: scores are not recomputed; run with --save_masks to check them")
        return
    path = split_dir or Path(str(about.get("split_dir", "")))
    settings = about.get("fingerprint") or {}
    given = Given(
        Path(settings["prompts"]) if settings.get("prompts") else None, tuple(settings["click"]) if settings.get("click") else None
    )
    try:
        split = open_split(path, about.get("split_name"), settings.get("layout", AUTO), given)
    except DatasetError as error:
        report.notes.append(f"scores are not recomputed: the split in {RUN} cannot be used ({error}); give its folder with --split_dir")
        return
    arms_with_masks = {arm.name for arm in masks_dir.iterdir() if arm.is_dir()}
    wanted = ok & np.isin(rows.text["arm_id"], sorted(arms_with_masks))
    found: dict[int, str] = {}
    for row in map(int, np.flatnonzero(wanted)):
        problem = _check_row(masks_dir, split, rows, row)
        if problem:
            found[row] = problem
    rows.flag(report, np.isin(np.arange(len(ok)), list(found)), lambda row: found[row])
    report.checked.append(f"scores of {int(wanted.sum())} objects from their masks")
    without = sorted(set(rows.text["arm_id"][ok]) - arms_with_masks)
    if without:
        report.notes.append(f"no masks of {', '.join(without)}: their scores are not recomputed")


def _check_row(masks_dir: Path, split: Split, rows: Table, row: int) -> str:
    """What is wrong with a row's masks; empty if nothing is."""
    video, name = rows.text["video"][row], rows.text["object"][row]
    max_frames = rows.numbers["max_frames"][row]
    try:
        obj = split.video(video).take(None if np.isnan(max_frames) else int(max_frames)).object(name)
        protocol = protocol_named(rows.text["protocol"][row] or SAV.name, split.layout.protocol)
        score = score_masks(masks_dir / rows.text["arm_id"][row], obj, protocol, in_pictures=split.layout.in_pictures)
    except ClipError as error:
        return f"its masks cannot be scored: {error}"
    scored = {"J": None, "F": None, "frames_scored": 0} if score is None else vars(score)
    for column in ("J", "F", "frames_scored"):
        given, again = rows.numbers[column][row], scored[column]
        if np.isnan(given) != (again is None) or (again is not None and abs(given - again) > TOLERANCE):
            return f"{column} {rows.text[column][row] or 'empty'}, its masks give {'none' if again is None else f'{again:.9g}'}"
    return ""


def score_masks(folder: Path, obj: SplitObject, protocol: Protocol, *, in_pictures: bool) -> ObjectScore | None:
    """Score the masks saved in an arm's folder against an object's annotations, as the protocol's tool does.

    Args:
        in_pictures: whether the masks of all objects are in one picture.

    Returns:
        None if the object is on no scored frame.

    Raises:
        ClipError: a mask is missing or unreadable.
    """
    scorer = ObjectScorer(protocol)
    for _, annotation in frames_to_score(obj.annotations) if obj.has_truth else ():
        truth_hw = annotation.read()
        size_hw = (truth_hw.shape[0], truth_hw.shape[1])
        scorer.feed_frame(read_saved(folder, obj, annotation.frame_name, size_hw, in_pictures=in_pictures), truth_hw)
    return scorer.conclude()
