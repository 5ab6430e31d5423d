"""What the model is trained for: masks, the IoU it expects of them, and whether the object is visible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from training.model import FrameOutput

_CROSS_ENTROPY, _DICE, _IOU, _PRESENCE = 5.0, 1.0, 1.0, 1.5
_OTHERS = 0.15
"""Share of the candidates that are not the best: which of them is passed on is for the expected IoU to say, and it errs."""


def clip_loss(outputs: Sequence[FrameOutput], targets_tnss: torch.Tensor) -> torch.Tensor:
    """Mean over frames and objects, a scalar. Masks count where the object is visible."""
    return torch.stack([frame_loss(output, target) for output, target in zip(outputs, targets_tnss, strict=True)]).mean()


def frame_loss(output: FrameOutput, target_nss: torch.Tensor) -> torch.Tensor:
    """Loss of one frame: masks are compared at half of the input's side, where a boundary still lies between two pixels of the logits."""
    half = target_nss.shape[-1] // 2
    logits = functional.interpolate(output.logits_n4hw.float(), size=(half, half), mode="bilinear", align_corners=False)
    target_n1hw = functional.avg_pool2d(target_nss[:, None], 2)
    visible_n = (target_nss.flatten(1).amax(1) > 0).float()
    cross_entropy_n4 = functional.binary_cross_entropy_with_logits(logits, target_n1hw.expand_as(logits), reduction="none").mean((2, 3))
    share = logits.sigmoid()
    overlap = (share * target_n1hw).sum((2, 3))
    dice_n4 = 1 - (2 * overlap + 1) / (share.sum((2, 3)) + target_n1hw.sum((2, 3)) + 1)
    masks_n4 = _CROSS_ENTROPY * cross_entropy_n4 + _DICE * dice_n4
    candidates_n3 = masks_n4[:, 1:]
    masks_n = masks_n4[:, 0] + (1 - _OTHERS) * candidates_n3.amin(1) + _OTHERS * candidates_n3.mean(1)
    with torch.no_grad():
        iou_n4 = _iou(logits > 0, target_n1hw > 0.5)
    iou_n = (output.ious_n4.float() - iou_n4).abs().mean(1)
    presence_n = functional.binary_cross_entropy_with_logits(output.presence_n.float(), visible_n, reduction="none")
    return (visible_n * (masks_n + _IOU * iou_n) + _PRESENCE * presence_n).mean()


def _iou(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    both = (predicted & target).sum((2, 3)).float()
    either = (predicted | target).sum((2, 3)).float()
    return both / either.clamp(min=1)
