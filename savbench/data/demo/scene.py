"""One synthetic scene, rendered frame by frame.

A scene is a stack of layers over a moving, textured background. Every frame is composed from back to front with anti-aliased coverage;
the mask of an object is the set of pixels whose colour it contributes more than half of, so that masks show only the visible part and
never share a pixel.

Positions are pixels of the frame (x right, y down), times are seconds at 24 frames per second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runners.base import Frame, Masks
from savbench.data.demo.motion import FPS, Role
from savbench.data.demo.shapes import Part, Shape
from savbench.data.demo.textures import FloatArray

TEXTURE_REACH = 1.05
"""Half the height of a texture in the coordinates of its shape."""
GRAIN_SHIFT = 64
"""Pixels by which the grain tile exceeds the frame."""
_SUPERSAMPLING = 4
_FRACTION_BITS = 4


@dataclass(frozen=True)
class Layer:
    """A textured shape with its pose on every frame."""

    shape: Shape
    texture: npt.NDArray[np.uint8]
    centres_t2: npt.NDArray[np.float64]
    scales_t: npt.NDArray[np.float64]
    """Pixels per unit of the shape."""
    angles_t: npt.NDArray[np.float64]
    """rad."""
    squeezes_t: npt.NDArray[np.float64]
    """Width over height, below 1 as if the object turned away from the camera."""
    object_index: int | None
    """Index of its mask; None if not annotated."""
    solid: bool = True
    """Whether it casts a shadow and is lit as a rounded body."""


@dataclass(frozen=True)
class Camera:
    """Pose of the view on every frame."""

    pan_t2: npt.NDArray[np.float64]
    zoom_t: npt.NDArray[np.float64]
    roll_t: npt.NDArray[np.float64]

    def matrix(self, frame: int, view_centre: npt.NDArray[np.float64], depth: float = 1.0) -> npt.NDArray[np.float64]:
        """World to view, (2, 3). `depth` below 1 moves less with the camera, as distant things do."""
        zoom, roll = 1 + (self.zoom_t[frame] - 1) * depth, self.roll_t[frame]
        linear = zoom * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
        return np.column_stack([linear, view_centre - linear @ (self.pan_t2[frame] * depth)])


@dataclass(frozen=True)
class Backdrop:
    """A plane of the background, centred on the world's origin."""

    texture: npt.NDArray[np.uint8]
    coverage: FloatArray | None
    """(height, width), 0..1; None if it covers everything."""
    depth: float


@dataclass(frozen=True)
class DemoScene:
    """A planned scene. `render` is a pure function of the frame index, so that frames can be drawn in any order."""

    height: int
    width: int
    roles: tuple[Role, ...]
    """Role of every annotated object."""
    camera: Camera
    backdrops: tuple[Backdrop, ...]
    layers: tuple[Layer, ...]
    """Back to front."""
    exposure_t: npt.NDArray[np.float64]
    grain: FloatArray

    @property
    def num_frames(self) -> int:
        return len(self.exposure_t)

    def render(self, frame_index: int) -> tuple[Frame, Masks]:
        """Draw a frame.

        Returns:
            The frame, (height, width, 3), RGB, uint8, and the masks of the annotated objects, (objects, height, width), bool.
        """
        image = self._background(frame_index)
        shares = np.zeros((len(self.roles), self.height, self.width), np.float32)
        for layer in self.layers:
            _paint(layer, frame_index, image, shares)
        image *= self.exposure_t[frame_index]
        # the same grain tile at a different offset on every frame; odd steps visit all offsets before they repeat
        offset_y, offset_x = (37 * frame_index) % GRAIN_SHIFT, (23 * frame_index) % GRAIN_SHIFT
        image += self.grain[offset_y : offset_y + self.height, offset_x : offset_x + self.width, None]
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), shares > 0.5

    def _background(self, frame_index: int) -> FloatArray:
        centre = np.array([self.width / 2, self.height / 2])
        image = np.zeros((self.height, self.width, 3), np.float32)
        for backdrop in self.backdrops:
            matrix = self.camera.matrix(frame_index, centre, backdrop.depth)
            matrix[:, 2] -= matrix[:, :2] @ (np.array(backdrop.texture.shape[1::-1]) / 2)
            size = (self.width, self.height)
            colour = cv2.warpAffine(backdrop.texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
            if backdrop.coverage is None:
                image[:] = colour
            else:
                share = cv2.warpAffine(backdrop.coverage, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[..., None]
                image += (colour - image) * share
        return image


def _paint(layer: Layer, frame: int, image: FloatArray, shares: FloatArray) -> None:
    """Draw a layer over a frame and take its share from the layers below. Works in place."""
    height, width = image.shape[:2]
    scale, angle = layer.scales_t[frame], layer.angles_t[frame]
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * rotation @ np.diag([layer.squeezes_t[frame], 1.0])
    centre = layer.centres_t2[frame]
    parts = [[contour @ linear.T + centre for contour in part] for part in layer.shape.parts(frame / FPS)]
    everything = np.concatenate([contour for part in parts for contour in part])
    # with a margin around the frame, so that light and shadow do not change where the frame's edge cuts a body
    softness = max(1.0, 0.16 * scale) if layer.solid else 2.0
    margin = math.ceil(3 * softness)
    left, top = np.maximum(np.floor(everything.min(0)).astype(int) - margin, -margin)
    right, bottom = np.minimum(np.ceil(everything.max(0)).astype(int) + margin, np.array([width, height]) + margin)
    if right <= max(left, 0) or bottom <= max(top, 0) or left >= width or top >= height:
        return
    origin = np.array([left, top])
    coverage = _coverage(parts, origin, (bottom - top, right - left))
    window = _Window(left, top, coverage.shape, image.shape)
    from_texture = linear * (2 * TEXTURE_REACH / layer.texture.shape[0])
    matrix = np.column_stack([from_texture, centre - origin - from_texture @ (np.array(layer.texture.shape[1::-1]) / 2)])
    size = (int(right - left), int(bottom - top))
    colour = cv2.warpAffine(layer.texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)[window.here]
    if layer.solid:
        blurred = cv2.GaussianBlur(coverage, (0, 0), softness)
        drop = max(1, round(0.1 * scale))
        shadow = _Window(left + drop // 2, top + drop, blurred.shape, image.shape)
        image[shadow.there] *= 1 - 0.45 * blurred[shadow.here][..., None]
        # slopes of the blurred coverage approximate a rounded surface, lit from the upper left
        slope = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, ksize=3) + cv2.Sobel(blurred, cv2.CV_32F, 0, 1, ksize=3)
        light = 1.04 + 0.09 * softness * slope[window.here][..., None]
        colour = np.clip(colour * light, 0, 255)
    share = coverage[window.here]
    image[window.there] += (colour - image[window.there]) * share[..., None]
    rows, columns = window.there
    shares[:, rows, columns] *= 1 - share
    if layer.object_index is not None:
        shares[layer.object_index, rows, columns] = share


class _Window:
    """Overlap of an image and an array placed on it: `here` indexes the array, `there` the image."""

    def __init__(self, left: int, top: int, shape: Sequence[int], onto: Sequence[int]) -> None:
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = max(min(left + shape[1], onto[1]), x0), max(min(top + shape[0], onto[0]), y0)
        self.there = (slice(y0, y1), slice(x0, x1))
        self.here = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _coverage(parts: Sequence[Part], origin: npt.NDArray[np.int_], shape: tuple[int, int]) -> FloatArray:
    """Share of each pixel that the union of the parts covers, (height, width), 0..1."""
    fine = np.zeros((shape[0] * _SUPERSAMPLING, shape[1] * _SUPERSAMPLING), np.uint8)
    for part in parts:
        contours = [((contour - origin) * _SUPERSAMPLING - 0.5) * 2**_FRACTION_BITS for contour in part]
        cv2.fillPoly(fine, [np.rint(contour).astype(np.int32) for contour in contours], 255, cv2.LINE_8, _FRACTION_BITS)
    coarse = cv2.resize(fine, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.divide(coarse, 255, dtype=np.float32)
