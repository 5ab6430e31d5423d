"""Clips with known objects, and batches of them, for the tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")

from training import sampling
from training.pool import POOL_FRAMES, POOL_SIDE, ClipPool


def write_pictures(folder: Path) -> dict[str, str]:
    """A photograph of noise and a figure of two colours, as sources of a `PoolConfig`."""
    for name in ("photos", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(folder / "photos" / "noise.png"), noise)
    figure = np.zeros((60, 40, 4), np.uint8)
    figure[10:50, 5:35] = (30, 30, 220, 255)
    figure[10:30, 5:35] = (220, 60, 30, 255)
    cv2.imwrite(str(folder / "figures" / "two_colours.png"), figure)
    return {"photos": str(folder / "photos"), "figure_folder": str(folder / "figures")}


def square_pool(clips: int = 2, hidden: tuple[int, int] = (0, 0)) -> ClipPool:
    """Two squares, 40 pixels wide, on grey: the first in the upper left goes right a pixel a frame, the second stays in the lower right.

    Args:
        hidden: frames on which the first is out of sight, from and to.
    """
    frames = np.full((clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE, 3), 90, np.uint8)
    labels = np.zeros((clips, POOL_FRAMES, POOL_SIDE, POOL_SIDE), np.uint8)
    for t in range(POOL_FRAMES):
        if not hidden[0] <= t < hidden[1]:
            labels[:, t, 20:60, 20 + t : 60 + t] = 1
        labels[:, t, 180:220, 180:220] = 2
    frames[labels > 0] = (200, 60, 60)
    return ClipPool(frames, labels)


def draw(seed: int = 0, pool: ClipPool | None = None, **changed: object) -> sampling.Batch:
    """A small batch of clicked objects, of squares unless another pool is given."""
    arguments = {"side": 64, "frames": 3, "clips": 2, "prompt": "points", **changed}
    return sampling.draw_batch((pool or square_pool(),), np.random.default_rng(seed), **arguments)  # type: ignore[arg-type]
