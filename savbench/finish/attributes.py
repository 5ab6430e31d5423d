"""Computes the attributes of an object from its ground truth, and from a few frames for their colours.

docs/methods.md defines each attribute with its source; `savbench.results.attributes` has their bins.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from savbench.data.frames import ClipError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from runners.base import Frame
    from savbench.data.annotation import Annotation
    from savbench.data.png import BoolMask
    from savbench.data.video import SplitVideo
    from savbench.finish.scoring import TruthMasks

    Histogram = npt.NDArray[np.float64]

BORDER = 0.01
"""An object touches the border of the image if it comes nearer than this share of the image's shorter side."""
COLOUR_FRAMES = 5
"""Frames that colours are taken from, evenly spaced among those on which the object is visible. Each costs decoding."""
COLOUR_PIXELS = 256
"""Fewest pixels to take a histogram of: with fewer, its likeness to any other is underestimated."""
COLOUR_LEVELS = 8
"""Levels of each of red, green and blue in a histogram of colours."""
SURROUNDINGS = 0.5
"""Width of the surroundings on each side of the object's bounding box, as a share of the box's side."""


@dataclass(frozen=True)
class Shape:
    """The object on one frame on which it is visible, in pixels."""

    frame: int
    area: int
    y: float
    x: float
    """Centroid."""
    top: int
    left: int
    height: int
    width: int
    """Bounding box."""
    outline: int
    """Sides of pixels between the object and what is not the object, the outside of the image included."""

    @classmethod
    def of(cls, frame: int, mask_hw: BoolMask) -> Shape | None:
        """Measure a mask, (height, width), bool. None if it is empty."""
        pixels = np.ascontiguousarray(mask_hw).view(np.uint8)
        left, top, width, height = map(int, cv2.boundingRect(pixels))
        if not width:
            return None
        inside = np.pad(pixels[top : top + height, left : left + width], 1)
        moments = cv2.moments(inside, binaryImage=True)
        area = int(moments["m00"])
        return cls(
            frame=frame,
            area=area,
            y=top - 1 + moments["m01"] / area,
            x=left - 1 + moments["m10"] / area,
            top=top,
            left=left,
            height=height,
            width=width,
            outline=int(np.count_nonzero(inside[1:] != inside[:-1]) + np.count_nonzero(inside[:, 1:] != inside[:, :-1])),
        )

    def touches_border(self, size_hw: tuple[int, int]) -> bool:
        near = BORDER * min(size_hw)
        ends = (self.top, self.left, size_hw[0] - self.top - self.height, size_hw[1] - self.left - self.width)
        return min(ends) < near


class ObjectAttributes:
    """Attributes of the objects of a split. Each object is read once, whatever the number of arms."""

    def __init__(self, truths: TruthMasks, frames_per_s: float | None) -> None:
        """
        Args:
            frames_per_s: of the data set; None if it does not tell.
        """
        self._truths = truths
        self._frames_per_s = frames_per_s
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def of(self, video: SplitVideo, name: str, size_hw: tuple[int, int]) -> dict[str, float]:
        """Attributes of an object by name; one without a value is left out. Empty without ground truth.

        A mask that cannot be read counts as not annotated: where it is needed, scoring has said so.

        Args:
            video: the clip, cut to its tracked frames.
            size_hw: (height, width) of the video.
        """
        key = (video.name, name)
        if key not in self._known:
            self._known[key] = self._read(video, name, size_hw)
        return dict(self._known[key])

    def _read(self, video: SplitVideo, name: str, size_hw: tuple[int, int]) -> dict[str, float]:
        obj = video.object(name)
        if not obj.has_truth:
            return {}
        shapes = {
            frame: Shape.of(frame, mask_hw)
            for frame, annotation in obj.annotations
            if (mask_hw := self._mask(annotation, size_hw)) is not None
        }
        visible = [shape for shape in shapes.values() if shape is not None]
        if not visible:
            return {}
        found = attributes_of_shapes(shapes, size_hw, clip_frames=len(video.frames), frames_per_s=self._frames_per_s)
        return found | self._colours(video, name, _spread(visible), size_hw)

    def _colours(self, video: SplitVideo, name: str, visible: Sequence[Shape], size_hw: tuple[int, int]) -> dict[str, float]:
        """Likeness of colours over frames on which the object is visible; nothing if one of them cannot be read."""
        annotations = dict(video.object(name).annotations)
        others = [dict(other.annotations) for other in video.objects if other.object != name and other.has_truth]
        clutter: list[float] = []
        of_others: dict[int, list[float]] = {}
        try:
            with video.frames.reader(size_hw) as reader:
                for shape in visible:
                    if shape.area < COLOUR_PIXELS:
                        continue
                    picture, mask_hw = reader.read(shape.frame), self._truths.read(annotations[shape.frame], size_hw)
                    own = colours(picture, mask_hw)
                    around = surroundings(shape, mask_hw)
                    if np.count_nonzero(around) >= COLOUR_PIXELS:
                        clutter.append(likeness(own, colours(picture, around)))
                    for number, other in enumerate(others):
                        other_hw = self._mask(other.get(shape.frame), size_hw)
                        if other_hw is not None and np.count_nonzero(other_hw) >= COLOUR_PIXELS:
                            of_others.setdefault(number, []).append(likeness(own, colours(picture, other_hw)))
        except ClipError:
            return {}
        found = {"clutter": float(np.mean(clutter))} if clutter else {}
        return found | ({"lookalike": max(float(np.mean(of)) for of in of_others.values())} if of_others else {})

    def _mask(self, annotation: Annotation | None, size_hw: tuple[int, int]) -> BoolMask | None:
        try:
            return None if annotation is None else self._truths.read(annotation, size_hw)
        except ClipError:
            return None


def attributes_of_shapes(
    shapes: dict[int, Shape | None], size_hw: tuple[int, int], *, clip_frames: int, frames_per_s: float | None
) -> dict[str, float]:
    """The attributes that need no frame, by name. Raises ValueError if the object is visible on no frame.

    Args:
        shapes: by annotated frame in ascending order; None where the object is absent.
        clip_frames: frames of the clip.
    """
    prompted = next((frame for frame, shape in shapes.items() if shape is not None), None)
    if prompted is None:
        raise ValueError("the object is visible on no frame; give one on which it is")
    tracked = [shape for frame, shape in shapes.items() if frame >= prompted]
    visible = [shape for shape in tracked if shape is not None]
    boxes = [shape.height * shape.width for shape in visible]
    speeds = [
        math.hypot(after.y - before.y, after.x - before.x)
        / math.sqrt((before.area + after.area) / 2)
        / (after.frame - before.frame)
        * frames_per_s
        for before, after in itertools.pairwise(tracked)
        if frames_per_s is not None and before is not None and after is not None
    ]
    # the frame before each absence
    last_seen = [before for before, after in itertools.pairwise(tracked) if before is not None and after is None]
    exits = sum(shape.touches_border(size_hw) for shape in last_seen)
    found = {
        "size": math.sqrt(sum(shape.area for shape in visible) / len(visible) / (size_hw[0] * size_hw[1])),
        "scale": max(boxes) / min(boxes),
        "complexity": sum(shape.outline**2 / (16 * shape.area) for shape in visible) / len(visible),
        "border": sum(shape.touches_border(size_hw) for shape in visible) / len(visible),
        "exits": exits,
        "occlusions": len(last_seen) - exits,
        "returns": sum(before is None and after is not None for before, after in itertools.pairwise(tracked)),
        "length": clip_frames - prompted,
    }
    if len(tracked) > 1:
        found["absence"] = (len(tracked) - len(visible)) / (len(tracked) - 1)
    return found | ({"speed": sum(speeds) / len(speeds)} if speeds else {})


def colours(picture_hwc: Frame, mask_hw: BoolMask) -> Histogram:
    """Shares of the mask's pixels by colour, (`COLOUR_LEVELS` cubed,). The mask must have a pixel.

    Args:
        picture_hwc: (height, width, 3), uint8.
        mask_hw: (height, width), bool.
    """
    within = np.ascontiguousarray(mask_hw).view(np.uint8)
    counts = cv2.calcHist([picture_hwc], [0, 1, 2], within, [COLOUR_LEVELS] * 3, [0, 256] * 3).ravel()
    shares: Histogram = counts / np.float64(counts.sum())
    return shares


def likeness(one: Histogram, other: Histogram) -> float:
    """Bhattacharyya coefficient of two histograms of shares, 0 to 1 (Comaniciu, Ramesh and Meer, PAMI 2003, equation 8)."""
    return min(1.0, float(np.sqrt(one * other).sum()))


def surroundings(shape: Shape, mask_hw: BoolMask) -> BoolMask:
    """The bounding box with a margin of `SURROUNDINGS` of its side on each side, without the object: (height, width), bool."""
    high, wide = math.ceil(SURROUNDINGS * shape.height), math.ceil(SURROUNDINGS * shape.width)
    around = np.zeros_like(mask_hw)
    around[max(0, shape.top - high) : shape.top + shape.height + high, max(0, shape.left - wide) : shape.left + shape.width + wide] = True
    return around & ~mask_hw


def _spread(shapes: Sequence[Shape]) -> list[Shape]:
    """`COLOUR_FRAMES` of the shapes, evenly spaced from the first to the last."""
    places = np.linspace(0, len(shapes) - 1, min(COLOUR_FRAMES, len(shapes))).round().astype(int)
    return [shapes[place] for place in places]
