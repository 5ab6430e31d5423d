"""Losses of masks that are right, wrong and of nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs the sam2 package")

from training.losses import frame_loss  # noqa: E402
from training.model import FrameOutput  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def output(logit: float, mask_hw: Any, presence: float) -> FrameOutput:
    logits = (logit * (2 * mask_hw - 1)).expand(1, 4, *mask_hw.shape).clone()
    return FrameOutput(logits, torch.ones(1, 4), torch.tensor([presence]), logits[:, 0])


def test_losses_of_right_and_absent_objects() -> None:
    mask_hw = torch.zeros(16, 16)
    mask_hw[:, :8] = 1
    target_nss = mask_hw.repeat_interleave(4, 0).repeat_interleave(4, 1)[None]
    # certain to either side of the boundary, where alone bilinear logits pass through 0; the IoU it expects is the one it has
    assert frame_loss(output(40.0, mask_hw, 40.0), target_nss).item() == pytest.approx(0, abs=0.15)
    wrong = frame_loss(output(-40.0, mask_hw, 40.0), target_nss).item()
    assert wrong > 100  # cross-entropy of 40 at almost every pixel, five times, for the single mask and the best candidate
    # whatever the masks of an absent object, its presence alone counts
    absent = frame_loss(output(40.0, mask_hw, -3.0), torch.zeros_like(target_nss)).item()
    assert absent == pytest.approx(1.5 * math.log1p(math.exp(-3)), abs=1e-6)
