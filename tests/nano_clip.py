"""Tracks the objects of a split and scores them, in this process: what a run of the benchmark does, without its processes and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from runners.base import Clip, Frame, PromptKind, VideoRunner
from savbench.data.dataset import FRAMES_DIR, MASKS_DIR
from savbench.data.prompts import make_prompt
from savbench.finish.metrics import ObjectScorer, frames_to_score
from savbench.results.scores import ObjectScore, dataset_means


def score_split(runner: VideoRunner, split_dir: Path, kind: PromptKind) -> float:
    """J&F of a split, each object tracked in a session of its own."""
    videos = sorted(path.name for path in (split_dir / FRAMES_DIR).iterdir())
    return dataset_means(score for video in videos for score in score_video(runner, split_dir, video, kind).values()).JandF


def score_video(runner: VideoRunner, split_dir: Path, video: str, kind: PromptKind) -> Mapping[str, ObjectScore]:
    """Scores of every object of a video by name."""
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((split_dir / FRAMES_DIR / video).iterdir())]
    objects = sorted((split_dir / MASKS_DIR / video).iterdir())
    return {folder.name: _score_object(runner, frames, folder, kind) for folder in objects}


def _score_object(runner: VideoRunner, frames: list[Frame], folder: Path, kind: PromptKind) -> ObjectScore:
    truth = {int(path.stem): np.asarray(Image.open(path)) > 0 for path in sorted(folder.iterdir())}
    start = next(index for index, mask_hw in truth.items() if mask_hw.any())
    height, width = frames[0].shape[:2]
    runner.open(Clip(folder.name, len(frames), height, width), frames[0])
    masks = {start: runner.prompt(start, frames[start], [make_prompt(kind, truth[start], object_id=1)])[0]}
    for index in range(start + 1, len(frames)):
        masks[index] = runner.track(index, frames[index])[0]
        assert runner.inspect().finite
    runner.close()
    scorer = ObjectScorer()
    for index in frames_to_score(list(truth)):
        scorer.feed_frame(masks.get(index, np.zeros((height, width), np.bool_)), truth[index])
    score = scorer.conclude()
    assert score is not None
    return score
