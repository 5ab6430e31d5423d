"""A video of several objects with everything that a scorer may get wrong, the same on every machine: made by arithmetic, without chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tiny_split import rectangle

SIZE = (90, 120)
FRAMES = 9

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


def _step(seed: int, low: int, high: int) -> int:
    return low + (seed * 2_654_435_761 % 4_294_967_296 >> 7) % (high - low)


def truth(video: int, objects: int = 4) -> list[Labels]:
    """A picture per frame. Objects lie over one another, leave and return; some pixels are void; one fills the image once."""
    pictures = []
    for frame in range(FRAMES):
        picture = np.zeros(SIZE, np.uint8)
        for label in range(1, objects + 1):
            seed = 1_000 * video + 37 * label
            if frame and _step(seed + 7 * frame, 0, 5) == 0:
                continue  # it has left
            top, left = _step(seed, 0, 50) + 2 * frame, _step(seed + 1, 0, 80) + frame
            picture[rectangle(top, left, _step(seed + 2, 3, 40), _step(seed + 3, 3, 40), SIZE)] = label
        if video % 2 and frame == 5:
            picture[:] = 2
        picture[rectangle(_step(frame, 0, 80), _step(frame + 1, 0, 100), 6, 9, SIZE)] = 255
        pictures.append(picture)
    # every object is there on the first frame, so that tools which count them there agree on their number
    for label in range(1, objects + 1):
        pictures[0][3 * label, :5] = label
    return pictures


def predictions(video: int, objects: int = 4) -> list[list[Mask]]:
    """Masks of each object by frame: near the truth, and overlapping each other; some empty, some full, some single pixels."""
    pictures = truth(video, objects)
    found: list[list[Mask]] = []
    for label in range(1, objects + 1):
        found.append([])
        for frame in range(FRAMES):
            seed = 10_000 * video + 101 * label + 13 * frame
            mask = np.roll(pictures[frame] == label, (_step(seed, 0, 5), _step(seed + 1, 0, 5)), (0, 1))
            kind = _step(seed + 2, 0, 8)
            if kind == 0:
                mask[:] = False
            elif kind == 1:
                mask = mask | rectangle(_step(seed + 3, 0, 60), _step(seed + 4, 0, 80), 25, 30, SIZE)
            elif kind == 2:
                mask = rectangle(_step(seed + 3, 0, 89), _step(seed + 4, 0, 119), 1, 1, SIZE)
            elif kind == 3 and label == objects:
                mask[:] = True
            found[-1].append(mask)
    return found
