"""Colours and textures of demo scenes, drawn from a NumPy generator that the caller passes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def oklch(lightness: float, chroma: float, hue: float) -> FloatArray:
    """sRGB colour, (3,), 0..255, of OKLCh coordinates (B. Ottosson, "A perceptual color space for image processing", 2020).

    Args:
        lightness: 0 to 1.
        chroma: 0 (grey) to about 0.3; colours outside sRGB are clipped.
        hue: turns, 0 to 1.
    """
    a, b = chroma * np.cos(2 * np.pi * hue), chroma * np.sin(2 * np.pi * hue)
    to_lms = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_rgb @ (to_lms @ np.array([lightness, a, b])) ** 3, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(255 * encoded, np.float32)


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4, roughness: float = 0.6) -> FloatArray:
    """Smooth random field, (height, width), of zero mean and unit deviation.

    Args:
        cell: size of the largest features in pixels; each octave halves it.
        octaves: number of sizes.
        roughness: weight of each octave relative to the one before.
    """
    field = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = max(1.0, cell / 2**octave)
        grid = rng.standard_normal((max(2, round(height / step) + 1), max(2, round(width / step) + 1)), dtype=np.float32)
        field += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * roughness**octave
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def ramp(field: FloatArray, colours: Sequence[FloatArray]) -> FloatArray:
    """Map a field of about -2..2 to a sequence of colours: (height, width, 3), 0..255."""
    stops = np.linspace(-1.6, 1.6, len(colours))
    return np.stack([np.interp(field, stops, [colour[c] for colour in colours]) for c in range(3)], -1).astype(np.float32)


OBJECT_TEXTURES = ("stripes", "checks", "spots", "marble", "patches", "bands")


def object_texture(kind: str, rng: np.random.Generator, side: int, colours: Sequence[FloatArray]) -> FloatArray:
    """Square texture for a body: (side, side, 3), float32, 0..255.

    Args:
        kind: one of `OBJECT_TEXTURES`.
        colours: main, second and accent colour.

    Raises:
        ValueError: an unknown kind.
    """
    main, second, accent = colours
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    warp = noise(rng, side, side, side / 3, 2) * 0.03
    turn = rng.uniform(0, np.pi)
    u = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn) + warp
    v = (y - 0.5) * np.cos(turn) - (x - 0.5) * np.sin(turn) + warp
    count = rng.uniform(4, 8)
    if kind == "stripes":
        field = _edge(np.sin(2 * np.pi * count * u))
        image = _mix(main, second, field)
    elif kind == "checks":
        field = _edge(np.sin(np.pi * count * u) * np.sin(np.pi * count * v) * 2)
        image = _mix(main, second, field)
    elif kind == "spots":
        field = np.full((side, side), -1.0, np.float32)
        for centre in rng.uniform(0, 1, (int(rng.integers(14, 30)), 2)):
            radius = rng.uniform(0.03, 0.08)
            field = np.maximum(field, (1 - np.hypot(x - centre[0] + warp, y - centre[1] + warp) / radius).astype(np.float32))
        image = _mix(main, second, _edge(field * 3))
    elif kind == "marble":
        veins = 1 - np.abs(np.sin(6 * u * np.pi + 1.6 * noise(rng, side, side, side / 3)))
        image = _mix(main, second, (veins**3).astype(np.float32))
    elif kind == "patches":
        image = _mix(main, second, _edge(noise(rng, side, side, side / 4, 2) * 2 - 0.6))
    elif kind == "bands":
        image = ramp((u * 3.2).astype(np.float32), (second, main, main, accent))
    else:
        raise ValueError(f"{kind!r} is not one of {', '.join(OBJECT_TEXTURES)}")
    if rng.random() < 0.5:
        image = _mix(image, accent, _edge(4 * (0.035 - np.abs(u - rng.uniform(-0.2, 0.2))) / 0.035))
    image *= 1 + 0.05 * noise(rng, side, side, side / 12, 3)[..., None]
    return np.clip(image, 0, 255)


BACKGROUND_TEXTURES = ("ground", "tiles", "planks", "pebbles", "leaves", "bricks")


def background_texture(
    kind: str, rng: np.random.Generator, height: int, width: int, unit: float, colours: Sequence[FloatArray]
) -> FloatArray:
    """Texture of a scene: (height, width, 3), float32, 0..255.

    Args:
        kind: one of `BACKGROUND_TEXTURES`.
        unit: shorter side of the view in pixels; it scales the features.
        colours: four or more colours, dark to light.

    Raises:
        ValueError: an unknown kind.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    grain = noise(rng, height, width, unit / 3, 7)
    if kind == "ground":
        image = ramp(0.4 * grain + 0.7 * noise(rng, height, width, unit / 6, 6, 0.8), colours)
    elif kind == "tiles":
        side = unit * rng.uniform(0.16, 0.26)
        image = _tiled(rng, (x + 0.5 * y) / (1.12 * side), (y - 0.5 * x) / (1.12 * side), (side, side), grain, colours)
    elif kind == "planks":
        side = unit * rng.uniform(0.12, 0.18)
        fibre = np.asarray(
            cv2.resize(noise(rng, height, max(2, width // 14), side / 3, 4), (width, height), interpolation=cv2.INTER_CUBIC), np.float32
        )
        v = y / side
        image = _tiled(rng, x / (6 * side) + 0.37 * np.floor(v), v, (6 * side, side), fibre, colours)
    elif kind == "bricks":
        side = unit * rng.uniform(0.08, 0.12)
        v = y / side
        image = _tiled(rng, x / (2.2 * side) + 0.5 * (np.floor(v) % 2), v, (2.2 * side, side), grain, colours)
    elif kind == "pebbles":
        image = _scattered(rng, ramp(grain * 0.6 - 1, colours), (0.03 * unit, 0.065 * unit), 0.75, colours)
    elif kind == "leaves":
        image = _scattered(rng, ramp(grain * 0.6 - 1, colours), (0.045 * unit, 0.085 * unit), 0.4, colours)
    else:
        raise ValueError(f"{kind!r} is not one of {', '.join(BACKGROUND_TEXTURES)}")
    light = 1 + 0.16 * noise(rng, height, width, unit, 2)
    return np.clip(image * light[..., None], 0, 255)


def _tiled(
    rng: np.random.Generator,
    u: FloatArray,
    v: FloatArray,
    cell_px: tuple[float, float],
    grain: FloatArray,
    colours: Sequence[FloatArray],
) -> FloatArray:
    """Tiles between integer u and v, each with its own shade, darker at the joints; `cell_px` is their size along u and v."""
    shades = rng.normal(0, 0.55, 4096).astype(np.float32)
    cell = np.floor(u).astype(np.int64) * 57 + np.floor(v).astype(np.int64) * 131
    image = ramp(shades[cell % len(shades)] + 0.35 * grain, colours)
    to_joint_px = np.minimum(np.abs(u - np.rint(u)) * cell_px[0], np.abs(v - np.rint(v)) * cell_px[1])
    joint = np.clip(1.4 - to_joint_px / (0.06 * min(cell_px)), 0, 1)
    return np.asarray(image * (1 - 0.5 * joint[..., None]), np.float32)


def _scattered(
    rng: np.random.Generator, below: FloatArray, radii: tuple[float, float], aspect: float, colours: Sequence[FloatArray]
) -> FloatArray:
    """Cover an image with ellipses of random shade and direction, each with a shadow and a lit side; `radii`: (min, max), pixels."""
    height, width = below.shape[:2]
    count = int(1.8 * height * width / (np.pi * aspect * np.mean(radii) ** 2))
    canvas = np.ascontiguousarray(np.clip(below, 0, 255).astype(np.uint8))
    fraction_bits = 4
    shades = ramp(rng.normal(0, 0.8, (count, 1)).astype(np.float32), colours)[:, 0]
    for shade in shades:
        x, y, radius, turn = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(*radii), rng.uniform(0, 180)
        for offset, size, gain in ((0.18, 1.0, 0.45), (0.0, 1.0, 1.0), (-0.14, 0.6, 1.12)):
            centre = (round((x + offset * radius) * 2**fraction_bits), round((y + offset * radius) * 2**fraction_bits))
            axes = (round(radius * size * 2**fraction_bits), round(radius * size * aspect * 2**fraction_bits))
            colour = tuple((gain * shade).clip(0, 255).tolist())
            cv2.ellipse(canvas, centre, axes, turn, 0, 360, colour, -1, cv2.LINE_AA, fraction_bits)
    return np.asarray(canvas, np.float32)


def _edge(field: npt.NDArray[np.floating]) -> FloatArray:
    """Map a field to 0 where clearly negative and 1 where clearly positive."""
    return np.asarray(np.clip(field * 3 + 0.5, 0, 1), np.float32)


def _mix(below: FloatArray, above: FloatArray, weight_hw: FloatArray) -> FloatArray:
    return np.asarray(below + (above - below) * weight_hw[..., None], np.float32)
