"""Scores of a model on whole clips of a pool."""

from __future__ import annotations

from typing import Any

import torch

from training.model import Unroller
from training.pool import ClipPool
from training.sampling import PROMPT_TYPES, whole_clips

_CLIPS_AT_A_TIME = 4


def mean_j(model: Any, pool: ClipPool, side: int, clips: int, device: torch.device) -> dict[str, float]:
    """Mean J of each kind of prompt, at the input's size, over all frames after the first.

    As in the official evaluation, J is 1 where both masks are empty. A first guide only: the score that counts is the benchmark's, at
    video resolution.

    Returns:
        J of `points`, `bbox` and `mask`, and under `copied` that of the first mask left where it was.
    """
    was_training = model.training
    model.eval()
    unroll = Unroller(model)
    scores: dict[str, list[torch.Tensor]] = {name: [] for name in (*PROMPT_TYPES, "copied")}
    try:
        for prompt in PROMPT_TYPES:
            for first in range(0, clips, _CLIPS_AT_A_TIME):
                batch = whole_clips(pool, first, min(clips, first + _CLIPS_AT_A_TIME), side=side, prompt=prompt).to(device)
                truth = batch.targets_tnss > 0
                with torch.no_grad():
                    found = torch.stack([output.masks_nhw > 0 for output in unroll(batch)])
                scores[prompt].append(_j(found[1:], truth[1:]))
                if prompt == "mask":
                    scores["copied"].append(_j(truth[:1].expand_as(truth)[1:], truth[1:]))
    finally:
        unroll.detach()
        model.train(was_training)
    return {name: float(torch.cat(values).mean()) for name, values in scores.items()}


def _j(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    both = (found & truth).sum((2, 3))
    either = (found | truth).sum((2, 3))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean(0)
