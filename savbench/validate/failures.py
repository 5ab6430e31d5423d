"""Checks that the measures of failure follow from the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.results.failure_measures import FAILURE_MEANINGS, JudgedFrame, failure_measures
from savbench.validate.findings import close, keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.validate.findings import Flags, Numbers, Positions, Report, Table


def check_failures(
    frames: Table, inside: Mapping[tuple[str, str, str], Positions], rows: Table, ok: Flags, report: Report, prefix: str = ""
) -> None:
    """Compute the measures again from the scored frames of frames.csv or streaming.csv, and compare them with the rows.

    A row is checked if the file has all of its judged frames: in a shared session, a frame on which another object is prompted is scored
    but has no line, nor has with --frame_stride a frame that was not fed.

    Args:
        inside: lines of `frames` by the row's key.
        prefix: of the values' names in a row.
    """
    n = rows.numbers
    expected: dict[str, Numbers] = {name: n[prefix + name].copy() for name in FAILURE_MEANINGS}
    for row, key in enumerate(keys_of(rows)):
        if not ok[row]:
            continue
        prompt_frame, clip_frames = n["prompt_frame"][row], n["clip_frames"][row]
        judged = _judged(frames, inside.get(key, np.zeros(0, np.int64)), prompt_frame)
        if not judged or len(judged) != n[f"{prefix}judged_frames"][row]:
            continue
        image_px = n["video_height"][row] * n["video_width"][row]
        again = failure_measures(
            judged, rows.text["object"][row], prompt_frame=int(prompt_frame), clip_frames=int(clip_frames), image_px=int(image_px)
        )
        for name, values in expected.items():
            values[row] = again.get(name, np.nan)
    for name, values in expected.items():
        rows.flag(
            report, ok & ~close(n[prefix + name], values),
            lambda row, name=name, values=values: f"{prefix}{name} {n[prefix + name][row]:g}, {frames.path.name} gives {values[row]:g}",  # type: ignore[misc]
        )  # fmt: skip


def _judged(frames: Table, of: Positions, prompt_frame: float) -> list[JudgedFrame]:
    n, text = frames.numbers, frames.text
    return [
        JudgedFrame(int(n["frame"][line]), float(n["J"][line]), int(n["truth_px"][line]), int(n["mask_px"][line]), text["on_object"][line])
        for line in of
        if n["frame"][line] > prompt_frame and not np.isnan([n[name][line] for name in ("J", "truth_px", "mask_px")]).any()
    ]
