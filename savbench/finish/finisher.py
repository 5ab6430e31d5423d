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

from savbench.arguments.compound import AllOrWorst
from savbench.data.dataset import ClipError
from savbench.data.feed import PromptMaker
from savbench.data.masks import in_one_picture
from savbench.finish.agreement import add_agreement, keep_reference
from savbench.finish.attributes import ObjectAttributes
from savbench.finish.saving import save_masks, save_overlay, save_pictures_of
from savbench.finish.scoring import FrameFacts, Scored, TruthMasks, score_object
from savbench.finish.worst import WorstObjects
from savbench.plan.arms import Arm
from savbench.plan.protocols import protocol_named
from savbench.plan.settings import RunConfig
from savbench.plan.split import split_of
from savbench.results.csv_rows import ResultsError, read_rows
from savbench.results.delivery import Delivery
from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import SUMMARY
from savbench.results.spool import read_masks
from savbench.results.systems import whole_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from savbench.data.dataset import SplitVideo
    from savbench.data.layout import Layout
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
            deliveries = [Delivery.from_event(event) for event in task["deliveries"]]
            answers.write(json.dumps([one.to_json() for one in finisher.finish(Arm(**task["arm"]), deliveries)]) + "\n")
            answers.flush()
    return 0


class Finisher:
    """Finishes rows of one run, one at a time or a video at a time."""

    def __init__(self, config: RunConfig, split_name: str) -> None:
        self._config = config
        self._split = split_of(config, split_name)
        self._protocol = protocol_named(config.protocol, self._split.layout.protocol)
        self._truths = TruthMasks()
        self._attributes = ObjectAttributes(self._truths, self._split.layout.frames_per_s)
        self._video: SplitVideo | None = None
        self._worst: WorstObjects | None = None

    def finish(self, arm: Arm, deliveries: Sequence[Delivery]) -> list[Finished]:
        """Score rows and write the outputs that the settings ask for. A failure is reported in the answer, not raised.

        Args:
            deliveries: one, or with `scores_together` those of all objects of a video in the order of their labels.
        """
        try:
            spooled = [{} if one.masks_file is None else read_masks(one.masks_file) for one in deliveries]
            masks, known = ([of.get(name, {}) for of in spooled] for name in ("masks", "known"))
            if self._protocol.in_one_picture:
                masks, known = in_one_picture(masks), in_one_picture(known)
        except OSError as error:
            return [self._failed(one, error) for one in deliveries]
        finished = [self._finish_one(arm, *one) for one in zip(deliveries, masks, known, strict=True)]
        try:
            self._save_pictures(
                arm, {one.row.object: of for one, of in zip(finished, masks, strict=True) if not one.error}, deliveries[0].row
            )
        except (ClipError, OSError) as error:
            return [self._failed(one, error) for one in deliveries]
        return finished

    def _finish_one(
        self, arm: Arm, delivery: Delivery, masks: Mapping[int, CompressedMask], known: Mapping[int, CompressedMask]
    ) -> Finished:
        row, frames, streaming = delivery.row, delivery.frames, delivery.streaming
        try:
            self._score(row, frames, masks)
            if streaming:
                self._score_streaming(row, streaming, known)
            row.attributes = self._attributes.of(self._opened(row.video), row.object, _size_of(row))
            self._compare_with_reference(row, delivery.masks_file)
            self._save(arm, row, frames, masks)
        except (ClipError, ResultsError, OSError) as error:
            return self._failed(delivery, error)
        return Finished(row, frames, streaming)

    def _compare_with_reference(self, row: SummaryRow, masks_file: Path | None) -> None:
        """With --agreement, keep the masks of the reference arm, and compare those of another with them. Raises OSError."""
        out_dir, reference = self._config.out_dir, self._config.agreement
        if out_dir is None or reference is None or masks_file is None:
            return
        if whole_id(row.arm_id) == reference:
            keep_reference(out_dir, row, masks_file)
        else:
            add_agreement(out_dir, reference, row, read_masks(masks_file).get("masks", {}))

    def _failed(self, delivery: Delivery, error: ClipError | ResultsError | OSError) -> Finished:
        """The answer about a row that could not be finished. To be called while the error is handled."""
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            where = error.filename or self._config.out_dir
            return Finished(delivery.row, delivery.frames, delivery.streaming, unwritten=str(where), errno=error.errno)
        return Finished(delivery.row, delivery.frames, delivery.streaming, f"the masks could not be scored or written: {error}")

    def _score(self, row: SummaryRow, frames: list[FrameRow], masks: Mapping[int, CompressedMask]) -> None:
        begun = time.perf_counter()
        scored = self._scored(row, masks)
        for frame in frames:
            if not frame.repeat and frame.frame in scored.frames:
                _put(scored.frames[frame.frame], frame)
        row.frames_scored, row.failure, score = 0, scored.failure, scored.score
        if row.keyframe:
            row.between_frames_scored = sum(frame.J is not None and frame.frame_kind == "between" for frame in frames)
        if score is not None:
            row.J, row.F, row.JandF, row.frames_scored = score.J, score.F, score.JandF, score.frames_scored
        row.score_ms = (time.perf_counter() - begun) * 1e3

    def _score_streaming(self, row: SummaryRow, streaming: list[StreamingRow], known: Mapping[int, CompressedMask]) -> None:
        """Score the mask known at the moment of each annotated frame against the ground truth of that frame."""
        scored = self._scored(row, known)
        for frame in streaming:
            if frame.frame in scored.frames:
                _put(scored.frames[frame.frame], frame)
        row.streaming_failure, score = scored.failure, scored.score
        if score is not None:
            row.streaming_J, row.streaming_F, row.streaming_JandF = score.J, score.F, score.JandF

    def _scored(self, row: SummaryRow, masks: Mapping[int, CompressedMask]) -> Scored:
        video = self._opened(row.video)
        return score_object(video, row.object, masks, _size_of(row), self._truths, row.prompt_frame or 0, self._protocol)

    def _save_pictures(self, arm: Arm, predictions: Mapping[str, Mapping[int, CompressedMask]], row: SummaryRow) -> None:
        if self._config.save_masks and self._split.layout.in_pictures and self._config.out_dir is not None and predictions:
            save_pictures_of(self._config.out_dir, arm, self._opened(row.video), predictions, _size_of(row))

    def _save(self, arm: Arm, row: SummaryRow, frames: list[FrameRow], masks: Mapping[int, CompressedMask]) -> None:
        config, video = self._config, self._opened(row.video)
        if config.out_dir is None:
            raise ValueError("set out_dir in the settings before saving")
        obj = video.object(row.object)
        if config.save_masks and not self._split.layout.in_pictures:
            save_masks(config.out_dir, arm, obj, masks, _size_of(row))
        if config.save_overlays is None:
            return
        worst = self._worst_so_far(config.out_dir)
        if worst is not None and not worst.takes(row):
            return
        prompts = PromptMaker(video, config.num_points, config.frame_stride)
        path = save_overlay(config.out_dir, arm, video, obj, masks, frames, prompts, self._truths)
        if worst is None:
            row.overlay = path
        else:
            worst.add(row)

    def _worst_so_far(self, out_dir: Path) -> WorstObjects | None:
        """The objects with the lowest J&F of each arm; None if the settings ask for the videos of all."""
        count = AllOrWorst.count(self._config.save_overlays)
        if self._worst is None and count is not None:
            summary = out_dir / SUMMARY
            self._worst = WorstObjects(count, out_dir, read_rows(SummaryRow, summary, cut_off=True) if summary.exists() else [])
        return self._worst

    def _opened(self, name: str) -> SplitVideo:
        """The clip, cut to --max_frames; the last clip opened is cached."""
        if self._video is None or self._video.name != name:
            self._video = self._split.video(name).take(self._config.max_frames)
        return self._video


def _put(facts: FrameFacts, row: FrameRow | StreamingRow) -> None:
    row.J, row.F = facts.J, facts.F
    row.truth_px, row.mask_px, row.on_object = facts.truth_px, facts.mask_px, facts.on_object


def scores_together(config: RunConfig, layout: Layout) -> bool:
    """Whether the objects of a video are finished together: they are scored or saved in one picture."""
    return layout.in_pictures or protocol_named(config.protocol, layout.protocol).in_one_picture


def _size_of(row: SummaryRow) -> tuple[int, int]:
    return row.video_height or 0, row.video_width or 0


if __name__ == "__main__":
    sys.exit(main())
