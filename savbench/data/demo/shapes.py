"""Outlines of the objects in demo scenes, rigid and moving.

Shapes live in their own coordinates: the origin is the centre, x to the right, y down, and no point is farther than 1 from the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Part = list[FloatArray]
"""Closed contours, (points, 2) each, filled by the even-odd rule: a second contour inside the first is a hole."""

_CIRCLE_64 = np.stack([np.cos(np.linspace(0, 2 * np.pi, 64, endpoint=False)), np.sin(np.linspace(0, 2 * np.pi, 64, endpoint=False))], 1)


class Shape(Protocol):
    """An outline that may change with time."""

    def parts(self, seconds: float) -> list[Part]:
        """Parts whose union is the shape."""


@dataclass(frozen=True)
class Fixed:
    """A rigid shape of one part: polygons, stars, crescents, rings."""

    part: Part

    def parts(self, seconds: float) -> list[Part]:
        return [self.part]


@dataclass(frozen=True)
class Amoeba:
    """A closed curve whose radius is a sum of travelling waves."""

    amplitudes: FloatArray
    phases: FloatArray
    rates: FloatArray
    """rad/s."""

    def parts(self, seconds: float) -> list[Part]:
        angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        waves = np.arange(2, 2 + len(self.amplitudes))
        radius = 1 + np.cos(angles[:, None] * waves + self.phases + self.rates * seconds) @ self.amplitudes
        radius /= 1 + float(np.abs(self.amplitudes).sum())
        return [[(radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)]]


@dataclass(frozen=True)
class Worm:
    """A tapering body along a wave that travels down its spine."""

    bend: float
    waves: float
    thickness: float
    rate: float
    """rad/s."""

    def parts(self, seconds: float) -> list[Part]:
        s = np.linspace(-1, 1, 48)
        reach = 1 - self.thickness
        y = self.bend * reach * np.sin(np.pi * self.waves * s - self.rate * seconds) * np.sqrt(1 - 0.8 * s**2)
        spine = np.stack([reach * s * np.sqrt(1 - self.bend**2), y], 1)
        tangent = np.gradient(spine, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
        half = self.thickness * np.sqrt(np.clip(1 - s**4, 0, 1))[:, None] * (0.8 + 0.2 * s[:, None])
        body = np.concatenate([spine + half * normal, (spine - half * normal)[::-1]]).astype(np.float32)
        head = (spine[-1] + self.thickness * _CIRCLE_64).astype(np.float32)
        return [[body], [head]]


@dataclass(frozen=True)
class Walker:
    """A trunk with a head and jointed limbs that swing."""

    slimness: float
    limb_thickness: float
    swing: float
    """Amplitude of the joints in rad."""
    rate: float
    """rad/s."""
    limbs: tuple[tuple[float, float, float], ...]
    """Root on the trunk (x, y) and phase in rad of each limb."""

    def parts(self, seconds: float) -> list[Part]:
        trunk = _CIRCLE_64 * (0.30 * self.slimness, 0.40) + (0, -0.08)
        head = _CIRCLE_64 * 0.2 + (0.06 * np.sin(self.rate * seconds), -0.62)
        parts: list[Part] = [[trunk.astype(np.float32)], [head.astype(np.float32)]]
        for x, y, phase in self.limbs:
            upper = self.swing * np.sin(self.rate * seconds + phase) + np.sign(x) * 0.25
            lower = upper + 0.6 * self.swing * np.sin(self.rate * seconds + phase - 1.2)
            root = np.array([x, y])
            knee = root + 0.32 * np.array([np.sin(upper), np.cos(upper)])
            foot = knee + 0.30 * np.array([np.sin(lower), np.cos(lower)])
            parts += [[_capsule(root, knee, self.limb_thickness)], [_capsule(knee, foot, 0.85 * self.limb_thickness)]]
        return parts


def _capsule(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], radius: float) -> FloatArray:
    """Outline of the points within `radius` of a segment."""
    direction = np.arctan2(end[1] - start[1], end[0] - start[0])
    half = np.linspace(-np.pi / 2, np.pi / 2, 12) + direction
    arc = radius * np.stack([np.cos(half), np.sin(half)], 1)
    return np.concatenate([end + arc, start - arc]).astype(np.float32)


SHAPE_KINDS = ("polygon", "star", "ellipse", "ring", "crescent", "amoeba", "worm", "walker")


def make_shape(kind: str, rng: np.random.Generator) -> Shape:
    """Draw a shape of one of `SHAPE_KINDS`.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "polygon":
        corners = int(rng.integers(4, 8))
        angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
        radii = rng.uniform(0.65, 1, corners)
        return Fixed([_from_polar(angles, radii)])
    if kind == "star":
        tips = int(rng.integers(4, 8))
        angles = np.arange(2 * tips) * np.pi / tips
        return Fixed([_from_polar(angles, np.where(np.arange(2 * tips) % 2, rng.uniform(0.42, 0.6), 1.0))])
    if kind == "ellipse":
        return Fixed([(_CIRCLE_64 * (1, rng.uniform(0.5, 0.85))).astype(np.float32)])
    if kind == "ring":
        outer = _CIRCLE_64 * (1, rng.uniform(0.75, 1))
        return Fixed([outer.astype(np.float32), (outer * rng.uniform(0.4, 0.6)).astype(np.float32)])
    if kind == "crescent":
        opening = rng.uniform(0.5, 1.0)
        around = np.linspace(opening, 2 * np.pi - opening, 48)
        tip_x, tip_y = np.cos(opening), np.sin(opening)
        depth = rng.uniform(-0.45, -0.2)
        back = np.linspace(np.pi / 2, -np.pi / 2, 24)[1:-1]
        inner = np.stack([tip_x - (tip_x - depth) * np.cos(back), -tip_y * np.sin(back)], 1)
        return Fixed([np.concatenate([np.stack([np.cos(around), np.sin(around)], 1), inner]).astype(np.float32)])
    if kind == "amoeba":
        return Amoeba(
            (rng.uniform(0.05, 0.16, 4) / np.arange(1, 5) ** 0.5).astype(np.float32),
            rng.uniform(0, 2 * np.pi, 4).astype(np.float32),
            rng.uniform(-4, 4, 4).astype(np.float32),
        )
    if kind == "worm":
        return Worm(rng.uniform(0.3, 0.5), rng.uniform(0.8, 1.4), rng.uniform(0.2, 0.28), rng.uniform(4, 8))
    if kind == "walker":
        roots = ((-0.16, 0.16), (0.16, 0.16), (-0.24, -0.34), (0.24, -0.34))
        limbs = tuple((x, y, phase) for (x, y), phase in zip(roots, (0, np.pi, np.pi, 0), strict=True))
        return Walker(rng.uniform(0.8, 1.2), rng.uniform(0.09, 0.13), rng.uniform(0.5, 0.9), rng.uniform(5, 9), limbs)
    raise ValueError(f"{kind!r} is not one of {', '.join(SHAPE_KINDS)}")


def _from_polar(angles: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> FloatArray:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1).astype(np.float32)
