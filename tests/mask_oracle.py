"""Pairs of masks, real and made up, and a slow oracle for J and F: the definitions, one distance for each pair of boundary pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from savbench.finish.metrics import FrameScore

Mask = npt.NDArray[np.bool_]
REAL_MASKS = Path(__file__).parents[2] / "shared" / "data" / "sav_000001_manual.json"
BAND_SIDES = (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
"""Sides of images around the multiples of 8 and of a machine word."""


def rectangle(shape: tuple[int, int], top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


def boundary_points(mask: Mask) -> npt.NDArray[np.int64]:
    """(n, 2) row and column of the pixels that differ from the right, lower or lower right neighbour, the image continued at its edge."""
    around = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    differs = (around[:-1, 1:] != mask) | (around[1:, :-1] != mask) | (around[1:, 1:] != mask)
    return np.argwhere(differs).astype(np.int64)


def count_near(points: npt.NDArray[np.int64], others: npt.NDArray[np.int64], radius: int) -> int:
    found = 0
    for start in range(0, len(points), 256):
        offsets = points[start : start + 256, None, :] - others[None, :, :]
        found += int(((offsets**2).sum(axis=2) <= radius**2).any(axis=1).sum())
    return found


def oracle(prediction: Mask, truth: Mask) -> FrameScore:
    union = int(np.count_nonzero(prediction | truth))
    J = int(np.count_nonzero(prediction & truth)) / union if union else 1.0
    radius = int(np.ceil(0.008 * np.hypot(*truth.shape)))
    of_prediction, of_truth = boundary_points(prediction), boundary_points(truth)
    if not len(of_prediction) or not len(of_truth):
        return FrameScore(J, 1.0 if len(of_prediction) == len(of_truth) else 0.0)
    precision = count_near(of_prediction, of_truth, radius) / len(of_prediction)
    recall = count_near(of_truth, of_prediction, radius) / len(of_truth)
    return FrameScore(J, 2 * precision * recall / (precision + recall) if precision + recall else 0.0)


def random_pairs(count: int) -> Iterator[tuple[Mask, Mask]]:
    """Pairs of every kind: noise of any density, smooth shapes, moved, inverted, one pixel, full, empty, of the sides where bytes end."""
    rng = np.random.default_rng(20)
    for index in range(count):
        height, width = (int(rng.choice(BAND_SIDES)) if rng.random() < 0.5 else int(rng.integers(1, 300)) for _ in range(2))
        if index % 8 == 0:
            height, width = int(rng.integers(1, 5)), int(rng.integers(1, 5000 if index % 16 else 5))
        if index % 24 == 8:
            height, width = width, height
        smooth = cv2.GaussianBlur(rng.normal(size=(2, height, width)).transpose(1, 2, 0), (0, 0), 1 + index % 7)
        kind = index % 6
        if kind == 0:
            prediction, truth = (rng.random((height, width)) < rng.choice([0, 0.001, 0.03, 0.5, 0.98, 1]) for _ in range(2))
        elif kind == 1:
            prediction, truth = np.zeros((2, height, width), np.bool_)
            prediction[rng.integers(height), rng.integers(width)] = truth[rng.integers(height), rng.integers(width)] = True
        else:
            prediction, truth = (smooth.reshape(height, width, 2).transpose(2, 0, 1) > 0.3 / (1 + index % 7)).copy()
        if kind == 3:
            prediction = np.roll(truth, (int(rng.integers(-9, 10)), int(rng.integers(-9, 10))), axis=(0, 1))
        if kind == 4:
            prediction = ~truth
        if kind == 5:
            prediction[:] = bool(index % 4)
        yield np.asarray(prediction), np.asarray(truth)


def decode_rle(size: list[int], counts: str) -> Mask:
    """COCO's compressed run lengths: column by column, zeros first, each number in groups of 5 bits with the lowest first and 48 added,
    bit 5 set where more groups follow, bit 4 of the last the sign; from the fourth number on the difference to the one two before."""
    runs: list[int] = []
    value = shift = 0
    for letter in counts.encode():
        group = letter - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    assert sum(runs) == size[0] * size[1]
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def real_pairs(every: int) -> Iterator[tuple[Mask, Mask]]:
    """Every n-th annotation of a real clip, against predictions that are off in the ways of trackers."""
    if not REAL_MASKS.exists():
        pytest.skip(f"needs {REAL_MASKS.name}, the annotation of the real SA-V clip sav_000001, in {REAL_MASKS.parent}")
    frames = json.loads(REAL_MASKS.read_text())["masklet"]
    tracks = [[decode_rle(**entry) for entry in objects] for objects in zip(*frames, strict=True)]
    for track in tracks:
        for index in range(0, len(track), every):
            truth = track[index]
            around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3 + 2 * (index % 19),) * 2)
            grown = cv2.dilate(truth.astype(np.uint8), around) > 0
            shrunk = cv2.erode(truth.astype(np.uint8), around) > 0
            for prediction in (np.roll(truth, (index % 29, -(index % 17)), axis=(0, 1)), grown, shrunk, track[0], ~truth):
                yield prediction, truth
