"""What the tracker carries from frame to frame: prompts of masks, and masks moved along optical flow."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from sam1_reference import HEIGHT, WIDTH, rectangle  # noqa: E402

from runners.sam1.motion import Motion  # noqa: E402
from runners.sam1.preprocessing import InputFrame  # noqa: E402
from runners.sam1.tracked_object import ModelPrompt, TrackedObject, prompt_of_mask  # noqa: E402


@pytest.mark.parametrize(
    ("prompt", "ambiguous"),
    [
        (ModelPrompt(points_n2=np.zeros((1, 2), np.float32)), True),
        (ModelPrompt(points_n2=np.zeros((2, 2), np.float32)), False),
        (ModelPrompt(box_4=np.zeros(4, np.float32)), False),
        (ModelPrompt(points_n2=np.zeros((1, 2), np.float32), box_4=np.zeros(4, np.float32)), False),
    ],
)
def test_which_prompts_are_ambiguous(prompt: ModelPrompt, ambiguous: bool) -> None:
    assert prompt.is_ambiguous == ambiguous


def test_prompt_of_a_mask_by_hand() -> None:
    ring_hw = rectangle(10, 20, 9, 9)
    ring_hw[22:27, 12:17] = False
    ring_hw[20:29, 17:22] = True  # 5 columns thick at the right: x 17..21
    prompt = prompt_of_mask(ring_hw, torch.zeros(1, 32, 32))
    assert prompt.box_4 is not None
    assert prompt.points_n2 is not None
    assert prompt.box_4.tolist() == [10, 20, 21, 28]
    x, y = prompt.points_n2[0].astype(int)
    assert (ring_hw[y - 2 : y + 3, x - 2 : x + 3]).all()
    corner = prompt_of_mask(rectangle(0, 0, 1, 1), torch.zeros(1, 32, 32))
    assert corner.points_n2 is not None
    assert corner.points_n2.tolist() == [[0, 0]]


def test_motion_moves_logits_with_the_pixels() -> None:
    background = np.random.default_rng(3).integers(0, 255, (18, 44, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    where, motion = InputFrame(144, 256, 256), Motion()
    mask_hw = np.zeros((144, 256), np.bool_)
    mask_hw[40:100, 60:140] = True
    logits_1hw = where.logits_of_mask(torch.from_numpy(mask_hw))
    motion.feed(np.ascontiguousarray(background[:, 40:296]), where)
    assert motion.move(logits_1hw) is logits_1hw
    motion.feed(np.ascontiguousarray(background[:, 24:280]), where)  # all moves 16 pixels to the right
    moved_hw = (where.enlarge(motion.move(logits_1hw)[None])[0, 0] > 0).numpy()
    expected_hw = np.roll(mask_hw, 16, axis=1)
    assert (moved_hw & expected_hw).sum() / (moved_hw | expected_hw).sum() > 0.8  # 0.67 without a move


def test_a_mask_moved_out_of_the_frame_stays() -> None:
    obj = TrackedObject(ModelPrompt())
    obj.see(rectangle(5, 5, 10, 10), torch.zeros(1, 32, 32), 0.9)
    obj.move(np.zeros((HEIGHT, WIDTH), np.bool_), torch.zeros(1, 32, 32))
    assert obj.next_prompt().box_4.tolist() == [5, 5, 14, 14]  # type: ignore[union-attr]
