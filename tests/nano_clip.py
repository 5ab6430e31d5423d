"""Tracks the objects of a split and scores them, in this process: what a run of the benchmark does, without its processes and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runners.base import Clip, Frame, PromptKind, VideoRunner
from savbench.data.listing import FRAMES_DIR, MASKS_DIR
from savbench.data.prompts import make_prompt
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.results.scores import ObjectScore, dataset_means

Truth = dict[int, NDArray[np.bool_]]
"""Masks of an object by frame."""


def score_split(runner: VideoRunner, split_dir: Path, kind: PromptKind) -> float:
    """J&F of a split, the objects of a video tracked in one session."""
    videos = sorted(path.name for path in (split_dir / FRAMES_DIR).iterdir())
    return dataset_means(score for video in videos for score in score_video(runner, split_dir, video, kind).values()).JandF


def score_video(runner: VideoRunner, split_dir: Path, video: str, kind: PromptKind) -> Mapping[str, ObjectScore]:
    """Scores of every object of a video by name."""
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((split_dir / FRAMES_DIR / video).iterdir())]
    folders = sorted((split_dir / MASKS_DIR / video).iterdir())
    truths = {folder.name: {int(path.stem): np.asarray(Image.open(path)) > 0 for path in sorted(folder.iterdir())} for folder in folders}
    masks = _track(runner, frames, truths, kind)
    return {name: _score(masks[name], truth) for name, truth in truths.items()}


def _track(runner: VideoRunner, frames: list[Frame], truths: Mapping[str, Truth], kind: PromptKind) -> dict[str, Truth]:
    """Predicted masks by object and frame, from the first frame on that shows the object."""
    starts = {name: next(index for index, mask_hw in truth.items() if mask_hw.any()) for name, truth in truths.items()}
    tracked: list[str] = []
    predicted: dict[str, Truth] = {name: {} for name in truths}
    runner.open(Clip("clip", len(frames), *frames[0].shape[:2]), frames[0])
    for index in range(min(starts.values()), len(frames)):
        new = [name for name, start in starts.items() if start == index]
        prompts = [make_prompt(kind, truths[name][index], object_id=len(tracked) + place) for place, name in enumerate(new, 1)]
        tracked += new
        masks_nhw = runner.prompt(index, frames[index], prompts) if new else runner.track(index, frames[index])
        assert runner.inspect().finite
        for name, mask_hw in zip(tracked, masks_nhw, strict=True):
            predicted[name][index] = mask_hw
    runner.close()
    return predicted


def _score(masks: Truth, truth: Truth) -> ObjectScore:
    scorer = ObjectScorer()
    for index in frames_to_score(list(truth)):
        scorer.feed_frame(masks.get(index, np.zeros_like(truth[index])), truth[index])
    score = scorer.conclude()
    assert score is not None
    return score
