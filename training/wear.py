"""What cameras and codecs do to a clip: shake blur, defocus, changing light, noise, lost resolution, compression."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.demo.motion import waves
from training.photos import Image


def worn(frames_tssc: Image, rng: np.random.Generator) -> Image:
    """The clip, each kind of wear with a probability and a strength of its own; strengths change smoothly from frame to frame.

    Args:
        frames_tssc: (frames, height, width, 3), RGB, uint8.
    """
    count, height, width = frames_tssc.shape[:3]
    seconds = np.arange(count) / 8
    gains_t = 1 + waves(rng, seconds, rng.uniform(0.1, 0.45), (0.8, 5)) if rng.random() < 0.4 else np.ones(count)
    # a second light of another colour, brighter to one side
    tilt_hw = _tilt(rng, height, width) if rng.random() < 0.3 else None
    tilts_t = waves(rng, seconds, 0.35, (1, 5))
    tint = rng.uniform(0.6, 1.4, 3).astype(np.float32)
    blurs_t = np.abs(waves(rng, seconds, rng.uniform(3, 11), (0.5, 3))) if rng.random() < 0.35 else np.zeros(count)
    direction, turn = rng.uniform(0, math.pi), rng.uniform(-0.3, 0.3)
    defocus = rng.uniform(0.4, 1.4) if rng.random() < 0.3 else 0.0
    noise = rng.uniform(2, 10) if rng.random() < 0.4 else 0.0
    coarse = rng.uniform(0.4, 0.8) if rng.random() < 0.2 else 1.0
    quality = int(rng.integers(15, 75)) if rng.random() < 0.6 else 0
    out = np.empty_like(frames_tssc)
    for t, frame in enumerate(frames_tssc):
        image = frame.astype(np.float32) * np.float32(gains_t[t])
        if tilt_hw is not None:
            image *= 1 + (tilt_hw * np.float32(tilts_t[t]))[..., None] * tint
        if blurs_t[t] > 1:
            image = cv2.filter2D(image, -1, _streak(float(blurs_t[t]), direction + turn * t), borderType=cv2.BORDER_REPLICATE)
        if defocus:
            image = cv2.GaussianBlur(image, (0, 0), defocus)
        if coarse < 1:
            small = cv2.resize(image, (round(coarse * width), round(coarse * height)), interpolation=cv2.INTER_AREA)
            image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        if noise:
            image = image + rng.normal(0, noise, image.shape).astype(np.float32)
        out[t] = _compressed(np.clip(np.rint(image), 0, 255).astype(np.uint8), quality)
    return out


def _tilt(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """A plane from -1 to 1 across the frame in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(math.cos(angle))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(math.sin(angle))
    return np.asarray((x[None, :] + y[:, None]) / np.float32(math.sqrt(2)), np.float32)


def _streak(length: float, angle: float) -> npt.NDArray[np.float32]:
    """Kernel of a straight motion of `length` pixels."""
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    for at in np.linspace(-length / 2, length / 2, 4 * side):
        kernel[round(middle + at * math.sin(angle)), round(middle + at * math.cos(angle))] += 1
    return np.asarray(kernel / kernel.sum(), np.float32)


def _compressed(frame: Image, quality: int) -> Image:
    if not quality:
        return frame
    coded, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert coded, "OpenCV writes JPEG"
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
