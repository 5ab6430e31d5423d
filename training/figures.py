"""Scenes of pictures with an alpha channel, objects of several parts, that move, turn and bend before photographs or real videos.

In scenes of one texture per object, whatever changes colour ends the object. On real objects a box or a click then finds a part of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from savbench.data.demo.motion import waves
from training.cutouts import box_of
from training.photos import Image, cut, read_image, recoloured

_SUFFIXES = (".png", ".webp")
_SIDE = 160
"""Of the square that a picture is brought to."""
_MARGIN = 12
"""Room for bending at its edge, pixels."""
_BACKDROP = 1.5
"""Side of the backdrop, in sides of the frame: what the camera can pan over."""
_MOST_FIGURES = 4
_ALIKE = 0.35
"""Share of the further figures that show the picture of the one before in other colours."""
_MOST_PARTS = 5
_AWAY = 0.3
"""Share of the figures that leave and come back."""

Labels = npt.NDArray[np.uint8]


def figure_files(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of their names.

    Raises:
        ValueError: there is none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    if not files:
        raise ValueError(f"{folder}: has no figure; put PNG or WebP files with an alpha channel there, see training/README.md")
    return files


def read_figure(path: Path) -> Image:
    """A picture in the middle of a square, (_SIDE, _SIDE, 4), RGB and alpha, its larger extent filling it but for a margin.

    Raises:
        ValueError: a file that is no image, or has no alpha channel or nothing to see.
    """
    picture = read_image(path, cv2.IMREAD_UNCHANGED)
    box = box_of(picture[..., 3] > 127) if picture.ndim == 3 and picture.shape[2] == 4 else None
    if box is None:
        raise ValueError(f"{path}: has no alpha channel, or nothing to see; remove it")
    top, bottom, left, right = box
    part = picture[top:bottom, left:right][..., [2, 1, 0, 3]]
    scale = (_SIDE - 2 * _MARGIN) / max(part.shape[:2])
    size = (max(1, round(scale * part.shape[1])), max(1, round(scale * part.shape[0])))
    small = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    top, left = (_SIDE - small.shape[0]) // 2, (_SIDE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def backdrop(photo: Image, rng: np.random.Generator, frames: int, side: int) -> Image:
    """A photograph under a moving camera, (frames, side, side, 3)."""
    canvas = cut(photo, rng, (round(_BACKDROP * side), round(_BACKDROP * side)), (0.35, 1.0))
    seconds = np.arange(frames) / 8
    liveliness = rng.uniform(0, 1) if rng.random() < 0.8 else 0.0
    start, end = (rng.uniform(-0.2, 0.2, 2) * liveliness for _ in range(2))
    drift_t2 = np.linspace(start, end, frames) + np.stack([waves(rng, seconds, 0.04 * liveliness, (0.3, 3)) for _ in range(2)], 1)
    zoom_t = 1 + waves(rng, seconds, 0.2 * liveliness, (1, 5))
    roll_t = waves(rng, seconds, 0.15 * liveliness, (1, 5))
    out = []
    for drift, zoom, roll in zip(drift_t2, zoom_t, roll_t, strict=True):
        matrix = _placed(canvas.shape[0], (0.5 + drift) * side, zoom, roll)
        out.append(cv2.warpAffine(canvas, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101))
    return np.asarray(np.stack(out), np.uint8)


def animate(
    frames_tssc: Image,
    labels_tss: Labels,
    figures: Sequence[Image],
    photos: Sequence[Image],
    rng: np.random.Generator,
    dressed: float = 0.0,
) -> None:
    """Let one to `_MOST_FIGURES` of the pictures move over a clip, each over those before it. Works in place.

    Args:
        frames_tssc: (frames, side, side, 3), RGB, uint8.
        labels_tss: (frames, side, side); new objects get the labels after its largest.
        dressed: share of the pictures each of whose colours is dressed in a photograph.
    """
    squash = float(rng.choice([9 / 16, 0.75, 1.0]))
    picture = figures[int(rng.integers(len(figures)))]
    first = int(labels_tss.max()) + 1
    for label in range(first, first + int(rng.integers(1, _MOST_FIGURES + 1))):
        if label > first and rng.random() >= _ALIKE:
            picture = figures[int(rng.integers(len(figures)))]
        worn = _dressed(picture, photos, rng) if dressed and rng.random() < dressed else picture
        _animate_one(frames_tssc, labels_tss, _coloured(worn, photos, rng), label, squash, rng)


def _coloured(picture: Image, photos: Sequence[Image], rng: np.random.Generator) -> Image:
    """In other colours, at times with the light and dark of a photograph on it: surfaces are not as smooth as drawn ones."""
    colour = recoloured(picture[..., :3], rng)
    if rng.random() < 0.6:
        grain = cut(photos[int(rng.integers(len(photos)))], rng, (_SIDE, _SIDE), (0.1, 0.5)).astype(np.float32).mean(-1, keepdims=True)
        strength = rng.uniform(0.2, 0.9)
        colour = np.clip(colour * (1 + strength * (grain - grain.mean()) / 128), 0, 255).astype(np.uint8)
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    return np.ascontiguousarray(np.dstack([colour, picture[..., 3]])[:, flip])


def _dressed(picture: Image, photos: Sequence[Image], rng: np.random.Generator) -> Image:
    """With a photograph of its own on each of two to `_MOST_PARTS` colours, as clothes, fur and paint are of several textures."""
    colours_n3 = picture[..., :3].reshape(-1, 3).astype(np.float32)
    seen_n = picture[..., 3].ravel() > 127
    count = min(int(rng.integers(2, _MOST_PARTS + 1)), len(np.unique(colours_n3[seen_n], axis=0)))
    cv2.setRNGSeed(int(rng.integers(2**31)))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    _, labels_m1, centres_k3 = cv2.kmeans(colours_n3[seen_n], count, None, criteria, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    part_n = np.full(len(colours_n3), -1)
    part_n[seen_n] = labels_m1[:, 0]
    out_n3 = colours_n3.copy()
    for part in range(count):
        cloth_n3 = cut(photos[int(rng.integers(len(photos)))], rng, (_SIDE, _SIDE), (0.1, 0.6)).reshape(-1, 3).astype(np.float32)
        here_n = part_n == part
        # at times the photograph's own colours, else its light and dark in the colour of the part; what shading there was stays
        tint_3 = centres_k3[part] - cloth_n3[here_n].mean(0) if rng.random() < 0.5 else 0.0
        out_n3[here_n] = cloth_n3[here_n] + tint_3 + 0.7 * (colours_n3[here_n] - centres_k3[part])
    shown = np.clip(out_n3, 0, 255).astype(np.uint8).reshape(picture.shape[0], picture.shape[1], 3)
    return np.dstack([shown, picture[..., 3]])


def _animate_one(frames_tssc: Image, labels_tss: Labels, picture: Image, label: int, squash: float, rng: np.random.Generator) -> None:
    count, side = labels_tss.shape[:2]
    seconds = np.arange(count) / 8
    start, end = (rng.uniform(0.05, 0.95, 2) * side for _ in range(2))
    end = start + (end - start) * rng.uniform(0, 1)
    centres_t2 = np.linspace(start, end, count) + np.stack([waves(rng, seconds, 0.08 * side, (0.4, 3)) for _ in range(2)], 1)
    if rng.random() < _AWAY:
        direction = rng.uniform(0, 2 * math.pi)
        # out of sight for about a third of the clip, then back
        away_t = np.clip(2 - np.abs(np.arange(count) - rng.uniform(0.4, 0.7) * count) / (0.15 * count), 0, 1)
        centres_t2 += 1.3 * side * away_t[:, None] * np.array([math.cos(direction), math.sin(direction)])
    growth = math.log(rng.uniform(1, 3)) * rng.choice([-1, 1]) if rng.random() < 0.5 else 0.0
    scales_t = (
        rng.uniform(0.25, 1.1) * side / _SIDE * np.exp(growth * np.linspace(-0.5, 0.5, count)) * (1 + waves(rng, seconds, 0.1, (1, 4)))
    )
    angles_t = rng.uniform(-0.4, 0.4) + waves(rng, seconds, 0.35, (1, 4))
    bend = rng.uniform(0, 9) if rng.random() < 0.7 else 0.0
    bends_t33 = np.stack([waves(rng, seconds, bend, (0.5, 2)) for _ in range(18)], 1).reshape(count, 3, 3, 2).astype(np.float32)
    grid_ss2 = np.stack(np.meshgrid(np.arange(_SIDE), np.arange(_SIDE)), -1).astype(np.float32)
    for t in range(count):
        bent = picture
        if bend:
            field = grid_ss2 + cv2.resize(bends_t33[t], (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
            bent = cv2.remap(picture, field, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
        matrix = np.diag([squash, 1.0]) @ _placed(_SIDE, centres_t2[t] / (squash, 1.0), scales_t[t], angles_t[t])
        warped = cv2.warpAffine(bent, matrix, (side, side), flags=cv2.INTER_AREA if scales_t[t] < 0.6 else cv2.INTER_LINEAR)
        share = warped[..., 3:].astype(np.float32) / 255
        frame = frames_tssc[t].astype(np.float32)
        frames_tssc[t] = np.rint(frame + (warped[..., :3] - frame) * share)
        labels_tss[t][share[..., 0] > 0.5] = label


def _placed(side: int, centre_2: npt.NDArray[np.float64], scale: float, angle: float) -> npt.NDArray[np.float64]:
    """The affine map that turns and scales a square around its middle and moves the middle to `centre_2`."""
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, centre_2 - linear @ np.full(2, (side - 1) / 2)])
