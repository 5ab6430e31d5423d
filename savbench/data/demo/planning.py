"""Draws scenes from a random generator: what is in them, how it looks and how it moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from savbench.data.demo.motion import FPS, MAX_GROWTH, ROLES, Axis, PathPlanner, Role, waves
from savbench.data.demo.scene import GRAIN_SHIFT, TEXTURE_REACH, Backdrop, Camera, DemoScene, Layer
from savbench.data.demo.shapes import SHAPE_KINDS, Fixed, Part, make_shape
from savbench.data.demo.textures import (
    BACKGROUND_TEXTURES,
    OBJECT_TEXTURES,
    FloatArray,
    background_texture,
    noise,
    object_texture,
    oklch,
)

# Circumscribed radii of objects relative to the shorter side of the frame, (minimum, maximum). Hiding objects must fit behind the pillar.
_RADII = (0.13, 0.22)
_HIDING_RADII = (0.1, 0.13)
_DISTRACTOR_RADII = (0.1, 0.17)

_PILLAR_TEXTURES = ("bricks", "planks", "ground", "pebbles")


def plan_scene(
    rng: np.random.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    roles: Sequence[Role] | None = None,
    distractors: int | None = None,
) -> DemoScene:
    """Draw a scene.

    With 24 frames or more, an object that leaves or hides is out of sight for at least four frames in a row, so on at least one annotated
    frame, and returns; a late object is out of sight on the first five.

    Args:
        rng: source of everything random in the scene.
        frames: length of the scene; the times of leaving, hiding and coming are fractions of it.
        height: of the frame in pixels; all sizes are relative to the shorter side.
        width: of the frame in pixels.
        roles: what each annotated object does; None draws two to five, `stay` at least once.
        distractors: number of unannotated look-alikes; None draws none to two.
    """
    if roles is None:
        roles = ["stay", *(ROLES[i] for i in rng.integers(0, len(ROLES), int(rng.integers(1, 5))))]
    if distractors is None:
        distractors = int(rng.integers(0, 3))
    unit = float(min(height, width))
    seconds = np.arange(frames) / FPS
    camera = Camera(
        pan_t2=np.stack([waves(rng, seconds, 0.16 * unit, (4, 9)) + waves(rng, seconds, 0.004 * unit, (0.2, 0.6)) for _ in range(2)], 1),
        zoom_t=1 + waves(rng, seconds, 0.07, (4, 9)),
        roll_t=waves(rng, seconds, 0.04, (3, 7)),
    )
    hue = float(rng.random())
    backdrops = _draw_backdrops(rng, height, width, hue)
    pillar, axis = None, None
    if "hide" in roles:
        half_width = 1.25 * MAX_GROWTH * _HIDING_RADII[1] * unit
        pillar = _draw_pillar(rng, camera, height, width, half_width, hue)
        axis = Axis(pillar.centres_t2, pillar.angles_t, half_width)
    cast = _Cast(rng, PathPlanner(rng, frames, height, width, axis), hue)
    hiding: list[Layer] = []
    others: list[Layer] = []
    for index, role in enumerate(roles):
        (hiding if role == "hide" else others).append(cast.target(role, index))
    others += [cast.distractor() for _ in range(distractors)]
    layers = [others[i] for i in rng.permutation(len(others))]
    if pillar is not None:
        # hiding objects are layered below the pillar, the others above or below it
        cut = int(rng.integers(0, len(layers) + 1))
        layers = [*layers[:cut], *hiding, pillar, *layers[cut:]]
    return DemoScene(
        height=height,
        width=width,
        roles=tuple(roles),
        camera=camera,
        backdrops=backdrops,
        layers=tuple(layers),
        exposure_t=1 + waves(rng, seconds, 0.05, (2, 6)),
        grain=rng.normal(0, 2.0, (height + GRAIN_SHIFT, width + GRAIN_SHIFT)).astype(np.float32),
    )


class _Cast:
    """Draws the objects of one scene, targets before the distractors that resemble them."""

    def __init__(self, rng: np.random.Generator, paths: PathPlanner, background_hue: float) -> None:
        self.rng = rng
        self.paths = paths
        self.background_hue = background_hue
        self.first_hue = float(rng.random())
        self.looks: list[tuple[str, str, list[FloatArray]]] = []

    def target(self, role: Role, object_index: int) -> Layer:
        kind = str(self.rng.choice(SHAPE_KINDS))
        texture = str(self.rng.choice(OBJECT_TEXTURES))
        colours = self._colours(len(self.looks))
        self.looks.append((kind, texture, colours))
        radius = self.paths.unit * self.rng.uniform(*(_HIDING_RADII if role == "hide" else _RADII))
        return self._layer(kind, texture, colours, radius, role, object_index)

    def distractor(self) -> Layer:
        """A look-alike of one of the targets, which is not annotated."""
        kind, texture, colours = self.looks[int(self.rng.integers(len(self.looks)))]
        colours = [np.clip(colour + self.rng.normal(0, 8, 3), 0, 255).astype(np.float32) for colour in colours]
        radius = self.paths.unit * self.rng.uniform(*_DISTRACTOR_RADII)
        return self._layer(kind, texture, colours, radius, "stay", None)

    def _layer(self, kind: str, texture: str, colours: Sequence[FloatArray], radius: float, role: Role, object_index: int | None) -> Layer:
        rng, seconds = self.rng, self.paths.seconds
        centres_t2 = self.paths.draw(role, radius)
        upright = kind in ("walker", "worm")
        spin = 0.0 if upright else rng.uniform(0.3, 1.3) * rng.choice([-1, 1])
        side = max(32, math.ceil(2 * TEXTURE_REACH * MAX_GROWTH * radius))
        return Layer(
            shape=make_shape(kind, rng),
            texture=object_texture(texture, rng, side, colours).astype(np.uint8),
            centres_t2=centres_t2,
            scales_t=radius * (1 + waves(rng, seconds, MAX_GROWTH - 1, (1.5, 4))),
            angles_t=(0.0 if upright else rng.uniform(0, 2 * np.pi)) + spin * seconds + waves(rng, seconds, 0.25, (0.8, 2.5)),
            squeezes_t=0.85 + waves(rng, seconds, 0.15, (1.5, 4)),
            object_index=object_index,
        )

    def _colours(self, index: int) -> list[FloatArray]:
        """Main, second and accent colour; the targets' hues are spread, but occasionally one has the background's hue."""
        rng = self.rng
        camouflaged = rng.random() < 0.2
        # 0.382 of a turn, the golden angle, keeps any number of hues apart
        hue = self.background_hue + rng.uniform(-0.05, 0.05) if camouflaged else self.first_hue + index * 0.382
        lightness = rng.uniform(0.55, 0.78)
        darker = lightness - rng.uniform(0.22, 0.38)
        return [
            oklch(lightness, rng.uniform(0.11, 0.18), hue),
            oklch(darker, rng.uniform(0.06, 0.14), hue + rng.uniform(-0.15, 0.15)),
            oklch(0.92, rng.uniform(0.02, 0.1), hue + rng.uniform(0.2, 0.5)),
        ]


def _draw_backdrops(rng: np.random.Generator, height: int, width: int, hue: float) -> tuple[Backdrop, ...]:
    """One textured plane, or a far one with a nearer ground in front of it."""
    unit = float(min(height, width))
    canvas_h, canvas_w = height + round(0.7 * unit), width + round(0.7 * unit)
    kinds = rng.permutation(BACKGROUND_TEXTURES)
    far = background_texture(str(kinds[0]), rng, canvas_h, canvas_w, unit, _quiet_colours(rng, hue))
    if rng.random() < 0.4:
        return (Backdrop(far.astype(np.uint8), None, 1.0),)
    near = background_texture(str(kinds[1]), rng, canvas_h, canvas_w, unit, _quiet_colours(rng, hue + rng.uniform(0.15, 0.4)))
    ridge = canvas_h * rng.uniform(0.42, 0.6) + 0.05 * unit * noise(rng, 2, canvas_w, unit / 2, 4)[0]
    below_ridge = np.arange(canvas_h, dtype=np.float32)[:, None] - ridge
    # the far plane is hazy and darkens towards the ground, which reads as distance
    haze = np.clip(-below_ridge / (0.6 * unit), 0, 1)[..., None]
    nearness = np.clip(below_ridge / (0.5 * unit), 0, 1)[..., None]
    return (
        Backdrop(np.clip(far * (0.62 + 0.3 * haze) + 40 * haze, 0, 255).astype(np.uint8), None, 0.45),
        Backdrop(
            np.clip(near * (0.72 + 0.36 * nearness), 0, 255).astype(np.uint8), np.clip(below_ridge + 0.5, 0, 1).astype(np.float32), 1.0
        ),
    )


def _quiet_colours(rng: np.random.Generator, hue: float) -> list[FloatArray]:
    """Four colours of low chroma from dark to light."""
    chroma = rng.uniform(0.02, 0.075)
    low, high = rng.uniform(0.3, 0.42), rng.uniform(0.62, 0.82)
    return [oklch(float(level), chroma, hue + rng.uniform(-0.05, 0.05)) for level in np.linspace(low, high, 4)]


def _draw_pillar(rng: np.random.Generator, camera: Camera, height: int, width: int, half_width: float, hue: float) -> Layer:
    """An upright bar, fixed in the world, that spans the view from top to bottom."""
    unit = float(min(height, width))
    reach = 0.5 * height + 0.45 * unit
    along = np.linspace(-1, 1, 40)
    edge = half_width / reach * (1.04 + 0.04 * np.sin(along * rng.uniform(3, 9) + rng.uniform(0, 6)))
    outline: Part = [np.concatenate([np.stack([edge, along], 1), np.stack([-edge, along], 1)[::-1]]).astype(np.float32)]
    tall, wide = math.ceil(2 * TEXTURE_REACH * reach), math.ceil(2.2 * half_width)
    texture = background_texture(str(rng.choice(_PILLAR_TEXTURES)), rng, tall, wide, unit, _quiet_colours(rng, hue + 0.5))
    # shaded like a column: bright left of the middle, dark towards the right edge
    shade = 1.05 - 0.45 * (np.linspace(-1.1, 1.1, wide) + 0.35)[None, :, None] ** 2
    place = np.array([rng.uniform(-0.15, 0.15) * width, 0.0])
    to_view = [camera.matrix(frame, np.array([width / 2, height / 2])) for frame in range(len(camera.zoom_t))]
    return Layer(
        shape=Fixed(outline),
        texture=np.clip(texture * shade, 0, 255).astype(np.uint8),
        centres_t2=np.stack([matrix[:, :2] @ place + matrix[:, 2] for matrix in to_view]),
        scales_t=reach * camera.zoom_t,
        angles_t=camera.roll_t,
        squeezes_t=np.ones(len(camera.zoom_t)),
        object_index=None,
        solid=False,
    )
