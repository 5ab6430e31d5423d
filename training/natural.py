"""Scenes that look less drawn: those of the demo, with photographs for textures, larger and smaller objects and a restless camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from savbench.data.demo.motion import FPS, Role, waves
from savbench.data.demo.planning import plan_scene
from savbench.data.demo.scene import Camera, DemoScene, Layer
from training.photos import Image, cut, recoloured

_BACKDROP_SHARE = (0.35, 1.0)
_OBJECT_SHARE = (0.08, 0.6)
_GROWTH = (0.55, 2.0)
"""Of objects that need not fit behind a pillar. Real objects are often larger than those of the demo, at times smaller."""
_LOOK_ALIKE = 0.5
_WITHOUT_PILLAR = 0.6
_OPEN_ROLES: tuple[Role, ...] = ("stay", "leave", "late")


def plan_natural_scene(rng: np.random.Generator, photos: Sequence[Image], *, frames: int, height: int, width: int) -> DemoScene:
    """Draw a scene as `plan_scene` does, two to five objects of any role, and dress it in photographs."""
    open_air = rng.random() < _WITHOUT_PILLAR
    roles: list[Role] = ["stay", *(_OPEN_ROLES[i] for i in rng.integers(0, len(_OPEN_ROLES), int(rng.integers(1, 5))))]
    scene = plan_scene(rng, frames=frames, height=height, width=width, roles=roles if open_air else None)
    backdrops = tuple(
        replace(backdrop, texture=cut(_any(photos, rng), rng, backdrop.texture.shape[:2], _BACKDROP_SHARE)) for backdrop in scene.backdrops
    )
    layers: list[Layer] = []
    for layer in scene.layers:
        texture = cut(_any(photos, rng), rng, layer.texture.shape[:2], _OBJECT_SHARE)
        alike = [other.texture for other in layers if other.texture.shape == texture.shape]
        if layer.object_index is None and alike and rng.random() < _LOOK_ALIKE:
            texture = recoloured(alike[0], rng)
        growth = rng.uniform(*_GROWTH) if layer.solid and scene.roles.count("hide") == 0 else 1.0
        layers.append(replace(layer, texture=texture, scales_t=layer.scales_t * growth, solid=layer.solid and rng.random() < 0.5))
    return replace(scene, backdrops=backdrops, layers=tuple(layers), camera=_restless(scene.camera, rng, min(height, width)))


def _any(photos: Sequence[Image], rng: np.random.Generator) -> Image:
    return photos[int(rng.integers(len(photos)))]


def _restless(camera: Camera, rng: np.random.Generator, unit: int) -> Camera:
    """The camera on a longer way, at times in a shaking hand."""
    seconds = np.arange(len(camera.zoom_t)) / FPS
    shake = rng.uniform(0, 0.015) if rng.random() < 0.4 else 0.0
    jolts_t2 = np.stack([waves(rng, seconds, shake * unit, (0.1, 0.4)) for _ in range(2)], 1)
    return Camera(
        pan_t2=camera.pan_t2 * rng.uniform(0.3, 2.0) + jolts_t2,
        zoom_t=camera.zoom_t,
        roll_t=camera.roll_t + waves(rng, seconds, shake, (0.1, 0.4)),
    )
