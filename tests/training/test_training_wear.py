"""What happens to clips on their way into the pool: cut-outs over them, and wear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.cutouts import cut_out, paste
from training.wear import worn


def red_disc(frames: int = 3) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A red disc of radius 30 on grey, and its masks."""
    y, x = np.mgrid[:120, :160]
    masks = np.repeat((((x - 80) ** 2 + (y - 60) ** 2) < 30**2)[None], frames, 0)
    images = np.full((frames, 120, 160, 3), 128, np.uint8)
    images[masks] = (255, 0, 0)
    return images, masks


def test_a_cutout_fills_its_patch_and_is_pasted_where_its_label_says() -> None:
    cutout = cut_out(*red_disc(), side=66)
    assert cutout is not None
    assert len(cutout.patches) == 3
    alpha = cutout.patches[0][..., 3]
    assert (alpha > 127).sum() == pytest.approx(np.pi * 30**2, rel=0.05)  # 60 of 66 pixels wide, as before
    for seed in range(8):
        frames = np.full((4, 240, 428, 3), 128, np.uint8)
        labels = np.zeros((4, 240, 428), np.uint8)
        labels[:, :20] = 1
        paste(frames, labels, cutout, 7, np.random.default_rng(seed))
        assert set(np.unique(labels)) <= {0, 1, 7}
        changed = (frames != 128).any(-1)
        assert not changed[labels == 1].all()
        # what is labelled is painted, but for colours that happen to be the ground's
        assert changed[labels == 7].mean() > 0.95 or not (labels == 7).any()


def test_what_no_frame_shows_is_not_cut_out() -> None:
    images, masks = red_disc()
    assert cut_out(images, np.zeros_like(masks), side=66) is None


def test_wear_is_a_function_of_its_seed_and_keeps_the_shape() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
    for seed in range(12):
        once, again = (worn(images, np.random.default_rng(seed)) for _ in range(2))
        assert once.shape == images.shape
        assert once.dtype == np.uint8
        assert np.array_equal(once, again)
    assert not np.array_equal(worn(images, np.random.default_rng(0)), worn(images, np.random.default_rng(1)))
