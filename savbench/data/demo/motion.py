"""Positions of a demo scene's objects on every frame.

Positions are pixels of the frame (x right, y down). Times are seconds, or fractions of the scene's length if a function says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Role = Literal["stay", "leave", "hide", "late"]
ROLES: tuple[Role, ...] = ("stay", "leave", "hide", "late")
"""What an object does: moves about in view; leaves the frame and returns; passes behind the pillar; comes into view after the start."""

FPS = 24
ANNOTATION_STRIDE = 4
"""Frames from one mask to the next: SA-V has 24 frames and 6 masks per second."""
MAX_GROWTH = 1.18
"""Objects grow and shrink around their radius by up to this factor."""


@dataclass(frozen=True)
class Axis:
    """Axis of the pillar on every frame."""

    centres_t2: Array
    leans_t: Array
    """Angle to the vertical, rad."""
    half_width: float


class PathPlanner:
    """Draws paths one after another, each with its own start; some meet earlier paths.

    Every method returns the centre of an object of circumscribed radius `radius` on every frame, (frames, 2).
    """

    def __init__(self, rng: np.random.Generator, frames: int, height: int, width: int, pillar: Axis | None) -> None:
        self.rng = rng
        self.seconds = np.arange(frames) / FPS
        self.size = np.array([width, height], np.float64)
        self.unit = float(min(height, width))
        self.pillar = pillar
        self.starts: list[Array] = []
        self.paths_t2: list[Array] = []

    def draw(self, role: Role, radius: float) -> Array:
        """Draw a path.

        Raises:
            ValueError: `hide` without a pillar.
        """
        path_t2 = {"stay": self._stay, "leave": self._leave, "hide": self._hide, "late": self._late}[role](radius)
        self.paths_t2.append(path_t2)
        return path_t2

    def _stay(self, radius: float) -> Array:
        start = self._start(radius)
        times, points = self._stroll(start, 0, 1, radius)
        return self._along([0, *times], [start, *points])

    def _leave(self, radius: float) -> Array:
        start = self._start(radius)
        outside = self._outside(start, radius)
        back = self._step(np.clip(outside, 1.2 * radius, self.size - 1.2 * radius), radius)
        gone, again = self.rng.uniform(0.3, 0.38), self.rng.uniform(0.56, 0.62)
        times, points = self._stroll(back, again + 0.2, 1, radius)
        return self._along([0, gone, again, again + 0.2, *times], [start, outside, outside, back, *points])

    def _late(self, radius: float) -> Array:
        inside = self._start(radius)
        outside = self._outside(inside, radius)
        last = max(len(self.seconds) - 1, 1)
        # starts on an annotated frame and is inside 0.3 s later, so that its first mask, used as the prompt, is more than a sliver
        enter = min(math.ceil(self.rng.uniform(0.18, 0.28) * last / ANNOTATION_STRIDE) * ANNOTATION_STRIDE / last, 0.4)
        arrive = enter + min(0.22, 0.3 * FPS / last)
        times, points = self._stroll(inside, arrive, 1, radius)
        return self._along([0, enter, arrive, *times], [outside, outside, inside, *points])

    def _hide(self, radius: float) -> Array:
        """From one side of the pillar to the other, waiting behind it; back to the first side if the other has no room."""
        if self.pillar is None:
            raise ValueError("nothing to hide behind: plan the scene with a pillar")
        start = self._start(radius)
        centres_t2 = self.pillar.centres_t2
        room = {-1: centres_t2[-1, 0] - self.pillar.half_width, 1: self.size[0] - centres_t2[-1, 0] - self.pillar.half_width}
        far_side = 1 if start[0] < centres_t2[0, 0] else -1
        side = far_side if room[far_side] > 1.6 * radius else max(room, key=lambda each: room[each])
        beyond = self.pillar.half_width + self.rng.uniform(0.9 * radius, max(0.9 * radius, room[side] - 0.7 * radius))
        goal = np.array([centres_t2[-1, 0] + side * beyond, start[1] + self.rng.uniform(-0.2, 0.2) * self.unit])
        goal[1] = np.clip(goal[1], 0.9 * radius, self.size[1] - 0.9 * radius)
        u = np.linspace(0, 1, len(self.seconds))
        free = start + (goal - start) * u[:, None]
        free[:, 1] += waves(self.rng, self.seconds, 0.05 * self.unit, (1, 3))
        behind = np.stack([centres_t2[:, 0] - (free[:, 1] - centres_t2[:, 1]) * np.tan(self.pillar.leans_t), free[:, 1]], 1)
        held = (smoothstep((u - 0.24) / 0.18) * smoothstep((0.8 - u) / 0.18))[:, None]
        return np.asarray(free + (behind - free) * held)

    def _start(self, radius: float) -> Array:
        """A position in view, far from other starts and not behind the pillar."""
        candidates = self.rng.uniform(0.8 * radius, self.size - 0.8 * radius, (24, 2))
        room = np.full(len(candidates), np.inf)
        for start in self.starts:
            room = np.minimum(room, np.linalg.norm(candidates - start, axis=1))
        if self.pillar is not None:
            room = np.minimum(room, np.abs(candidates[:, 0] - self.pillar.centres_t2[0, 0]) - self.pillar.half_width)
        start = np.asarray(candidates[int(np.argmax(room))])
        self.starts.append(start)
        return start

    def _stroll(self, start: Array, begin: float, end: float, radius: float) -> tuple[list[float], list[Array]]:
        """Waypoints about 0.8 s apart from one fraction of the scene to another, excluding the first."""
        count = max(1, round((end - begin) * len(self.seconds) / FPS / 0.8))
        times = [begin + (end - begin) * (i + 1) / count for i in range(count)]
        points = []
        for time in times:
            meets = bool(self.paths_t2) and self.rng.random() < 0.4
            start = self._meeting(time, radius) if meets else self._step(start, radius)
            points.append(start)
        return times, points

    def _step(self, position: Array, radius: float) -> Array:
        """Next waypoint: some distance away, inside the frame."""
        for _ in range(16):
            turn = self.rng.uniform(0, 2 * np.pi)
            after = position + self.rng.uniform(0.25, 0.55) * self.unit * np.array([math.cos(turn), math.sin(turn)])
            if np.all(after >= 0.7 * radius) and np.all(after <= self.size - 0.7 * radius):
                return np.asarray(after)
        return np.asarray(self.rng.uniform(0.25, 0.75, 2) * self.size)

    def _meeting(self, time: float, radius: float) -> Array:
        """A position close to an earlier planned object at that time, so that the two overlap."""
        path_t2 = self.paths_t2[int(self.rng.integers(len(self.paths_t2)))]
        place = path_t2[round(time * (len(path_t2) - 1))] + self.rng.uniform(-0.8, 0.8, 2) * radius
        return np.asarray(np.clip(place, 0.7 * radius, self.size - 0.7 * radius))

    def _outside(self, inside: Array, radius: float) -> Array:
        """A position beyond the nearest edge, where the object is completely out of view."""
        reach = 1.15 * MAX_GROWTH * radius + 2
        beyond = [np.array([-reach, inside[1]]), np.array([self.size[0] + reach, inside[1]])]
        beyond += [np.array([inside[0], -reach]), np.array([inside[0], self.size[1] + reach])]
        return min(beyond, key=lambda place: float(np.linalg.norm(place - inside)))

    def _along(self, times: Sequence[float], points: Sequence[Array]) -> Array:
        """Smooth path through waypoints at fractions of the scene: (frames, 2)."""
        u = np.linspace(0, 1, len(self.seconds))
        knots, values = np.array(times), np.stack(points)
        return np.stack([monotone_cubic(knots, values[:, axis], u) for axis in range(2)], 1)


def waves(rng: np.random.Generator, seconds: Array, amplitude: float, periods: tuple[float, float]) -> Array:
    """A smooth irregular motion within +-`amplitude`; `periods` in seconds."""
    weights = np.array([0.5, 0.3, 0.2])
    rates = 2 * np.pi / rng.uniform(*periods, 3)
    return np.asarray(amplitude * np.sin(seconds[:, None] * rates + rng.uniform(0, 2 * np.pi, 3)) @ weights)


def smoothstep(x: Array) -> Array:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def monotone_cubic(knots: Array, values: Array, at: Array) -> Array:
    """Cubic Hermite interpolation that never overshoots, so that an object at rest between two knots is at rest.

    Slopes are harmonic means of the neighbouring secants, zero at extremes and at the ends (F. N. Fritsch and J. Butland, SIAM J. Sci.
    Stat. Comput. 5, 1984).
    """
    width = np.diff(knots)
    secant = np.diff(values) / width
    before, after = secant[:-1], secant[1:]
    slopes = np.zeros(len(knots))
    same = before * after > 0
    slopes[1:-1][same] = 2 * before[same] * after[same] / (before + after)[same]
    i = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(width) - 1)
    s = (at - knots[i]) / width[i]
    return np.asarray(
        values[i] * (1 + 2 * s) * (1 - s) ** 2
        + values[i + 1] * s**2 * (3 - 2 * s)
        + width[i] * (slopes[i] * s * (1 - s) ** 2 - slopes[i + 1] * s**2 * (1 - s))
    )
