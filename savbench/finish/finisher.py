"""The process that finishes workers' rows: scores the masks, writes masks and overlays.

It serves every arm of a run, so that the ground truth is decoded once, and works at the lowest priority while the worker tracks the next
clip. It reads one task per line of JSON from standard input and writes one answer per line to the events' pipe, in the same order.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from savbench.data.dataset import ClipError, open_split
from savbench.data.feed import PromptMaker
from savbench.finish.saving import save_masks, save_overlay
from savbench.finish.scoring import FrameFacts, TruthMasks, score_object
from savbench.plan.arms import Arm
from savbench.plan.settings import RunConfig
from savbench.results.delivery import Delivery
from savbench.results.rows import FrameRow, StreamingRow, SummaryRow
from savbench.results.spool import read_masks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savbench.data.dataset import SplitVideo
    from savbench.data.masks import CompressedMask

LOWEST_PRIORITY = 19
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors that end the run instead of failing a row: every later row would fail the same way, and can run once the disk works again."""


@dataclass(frozen=True)
class Finished:
    """A row with its scores, or the reason why it has none."""

    row: SummaryRow
    frames: list[FrameRow]
    streaming: list[StreamingRow]
    error: str = ""
    unwritten: str = ""
    """File or folder that a full or failing disk could not store; the row must not be kept then."""
    errno: int = 0
    """Error number of the write that failed."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finished:
        frames, streaming = [FrameRow(**frame) for frame in data["frames"]], [StreamingRow(**frame) for frame in data["streaming"]]
        return cls(SummaryRow(**data["row"]), frames, streaming, data["error"], data["unwritten"], data["errno"])


def main(argv: list[str] | None = None) -> int:
    """Serve until standard input ends. The first line holds the run's settings and the name of its split."""
    parser = argparse.ArgumentParser(description="Scores what workers deliver; started by the supervisor.")
    parser.add_argument("--events", type=int, required=True)
    args = parser.parse_args(argv)
    os.nice(LOWEST_PRIORITY)
    with os.fdopen(args.events, "w", encoding="utf-8") as answers:
        run = json.loads(sys.stdin.readline())
        finisher = Finisher(RunConfig.from_json(run["config"]), run["split_name"])
        for line in sys.stdin:
            task = json.loads(line)
            answers.write(json.dumps(finisher.finish(Arm(**task["arm"]), Delivery.from_event(task["delivery"])).to_json()) + "\n")
            answers.flush()
    return 0


class Finisher:
    """Finishes rows of one run, one at a time."""

    def __init__(self, config: RunConfig, split_name: str) -> None:
        self._config = config
        self._split = open_split(config.split_dir, split_name, config.layout)
        self._truths = TruthMasks()
        self._video: SplitVideo | None = None

    def finish(self, arm: Arm, delivery: Delivery) -> Finished:
        """Score a row and write the outputs that the settings ask for. A failure is reported in the answer, not raised."""
        row, frames = delivery.row, delivery.frames
        try:
            spooled = {} if delivery.masks_file is None else read_masks(delivery.masks_file)
            masks = spooled.get("masks", {})
            self._score(row, frames, masks)
            if delivery.streaming:
                self._score_streaming(row, delivery.streaming, spooled.get("known", {}))
            self._save(arm, row, frames, masks)
        except (ClipError, OSError) as error:
            traceback.print_exc()
            if isinstance(error, OSError) and error.errno in DISK_FAULTS:
                where = error.filename or self._config.out_dir
                return Finished(row, frames, delivery.streaming, unwritten=str(where), errno=error.errno)
            return Finished(row, frames, delivery.streaming, f"the masks could not be scored or written: {error}")
        return Finished(row, frames, delivery.streaming)

    def _score(self, row: SummaryRow, frames: list[FrameRow], masks: Mapping[int, CompressedMask]) -> None:
        begun = time.perf_counter()
        scored = score_object(self._opened(row.video), row.object, masks, _size_of(row), self._truths, row.prompt_frame or 0)
        for frame in frames:
            if not frame.repeat and frame.frame in scored.frames:
                _put(scored.frames[frame.frame], frame)
        row.frames_scored, row.failure, score = 0, scored.failure, scored.score
        if score is not None:
            row.J, row.F, row.JandF, row.frames_scored = score.J, score.F, score.JandF, score.frames_scored
        row.score_ms = (time.perf_counter() - begun) * 1e3

    def _score_streaming(self, row: SummaryRow, streaming: list[StreamingRow], known: Mapping[int, CompressedMask]) -> None:
        """Score the mask known at the moment of each annotated frame against the ground truth of that frame."""
        scored = score_object(self._opened(row.video), row.object, known, _size_of(row), self._truths, row.prompt_frame or 0)
        for frame in streaming:
            if frame.frame in scored.frames:
                _put(scored.frames[frame.frame], frame)
        row.streaming_failure, score = scored.failure, scored.score
        if score is not None:
            row.streaming_J, row.streaming_F, row.streaming_JandF = score.J, score.F, score.JandF

    def _save(self, arm: Arm, row: SummaryRow, frames: list[FrameRow], masks: Mapping[int, CompressedMask]) -> None:
        config, video = self._config, self._opened(row.video)
        if config.out_dir is None:
            raise ValueError("set out_dir in the settings before saving")
        obj = video.object(row.object)
        if config.save_masks:
            save_masks(config.out_dir, arm, obj, masks, _size_of(row))
        if config.save_overlays:
            prompts = PromptMaker(video, config.num_points, config.frame_stride)
            row.overlay = save_overlay(config.out_dir, arm, video, obj, masks, frames, prompts, self._truths)

    def _opened(self, name: str) -> SplitVideo:
        """The clip, cut to --max_frames; the last clip opened is cached."""
        if self._video is None or self._video.name != name:
            self._video = self._split.video(name).take(self._config.max_frames)
        return self._video


def _put(facts: FrameFacts, row: FrameRow | StreamingRow) -> None:
    row.J, row.F = facts.J, facts.F
    row.truth_px, row.mask_px, row.on_object = facts.truth_px, facts.mask_px, facts.on_object


def _size_of(row: SummaryRow) -> tuple[int, int]:
    return row.video_height or 0, row.video_width or 0


if __name__ == "__main__":
    sys.exit(main())
