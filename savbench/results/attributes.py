"""Attributes of an object: what makes it hard to track, as far as its ground truth and its frames tell.

`savbench.finish.attributes` computes them, docs/methods.md defines each with its source. The bins are fixed: two runs have the same.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Attribute:
    """One attribute and its bins.

    Attributes:
        name: as `compare --explain_by` takes it.
        title: in tables and figures.
        meaning: for the dictionary of columns.
        edges: ascending; a bin holds the values from its lower edge, included, to its upper, excluded.
        bins: names of the bins, one more than edges.
        missing: name of the bin of objects without a value.
    """

    name: str
    title: str
    meaning: str
    edges: tuple[float, ...]
    bins: tuple[str, ...]
    missing: str = NOT_KNOWN

    @property
    def column(self) -> str:
        """Name of its value in a row."""
        return COLUMN.format(self.name)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all bins, that of objects without a value last."""
        return (*self.bins, self.missing)

    @property
    def hardest(self) -> int:
        """Number of its hard bin: the last, but of the size the first."""
        return 0 if self.name == BASIC else len(self.bins) - 1

    def bin_of(self, value: float | None) -> int:
        """Index into `labels`. A value that is None or NaN is missing."""
        return len(self.bins) if value is None or value != value else bisect.bisect_right(self.edges, value)


COLUMN = "object_{}"

ATTRIBUTES = (
    Attribute(
        "size", "size",
        "Square root of the object's share of the image, mean of the areas of the frames on which it is visible; 0 to 1.",
        (0.05, 0.1, 0.2), ("tiny, under 0.05", "small, 0.05 to 0.1", "medium, 0.1 to 0.2", "large, from 0.2"),
    ),
    Attribute(
        "speed", "speed",
        "Distance that the centroid moves in a second over the square root of the area, mean over successive annotated frames. "
        "Missing where the data set does not tell its frame rate.",
        (0.25, 1.0, 3.0), ("slow, under 0.25/s", "0.25 to 1/s", "1 to 3/s", "fast, from 3/s"),
    ),
    Attribute(
        "scale", "change of scale",
        "Area of the largest bounding box over that of the smallest, over the frames on which the object is visible; 1 or more.",
        (2.0, 8.0), ("under 2 times", "2 to 8 times", "from 8 times"),
    ),
    Attribute(
        "complexity", "complexity of shape",
        "P^2 / 16 A, with P the sides of pixels on its outline and A its pixels, mean over the frames it is visible on: 1 for a square.",
        (3.0, 8.0), ("compact, under 3", "3 to 8", "thin, from 8"),
    ),
    Attribute(
        "border", "cut off by the border",
        "Share of the frames on which the object is visible that it touches the border of the image; 0 to 1.",
        (1e-9, 0.5), ("never", "under half", "half or more"),
    ),
    Attribute(
        "absence", "absence",
        "Share of the annotated frames after the prompted one on which the object is not visible; 0 to 1.",
        (1e-9, 0.25), ("never", "under 25%", "25% or more"),
    ),
    Attribute("exits", "exits", "Absences before which the object touched the border of the image.", (1, 2), ("none", "one", "several")),
    Attribute(
        "occlusions", "occlusions", "Absences before which the object did not touch the border: something hid it, or it was cut away.",
        (1, 2), ("none", "one", "several"),
    ),
    Attribute("returns", "returns", "Absences after which the object is visible again.", (1, 2), ("none", "one", "several")),
    Attribute(
        "length", "length of the clip", "Frames of the clip from the prompted one on.",
        (100, 300, 1000), ("under 100", "100 to 299", "300 to 999", "from 1,000"),
    ),
    Attribute(
        "clutter", "background of like colour",
        "Bhattacharyya coefficient of the colours of the object and of its surroundings; 0 nothing in common, 1 the same colours. "
        "Missing for objects of few pixels.",
        (0.4, 0.7), ("unlike, under 0.4", "0.4 to 0.7", "alike, from 0.7"),
    ),
    Attribute(
        "lookalike", "another object of like colour",
        "The same coefficient of the annotated object of the clip with the most like colours. Missing without another one in sight.",
        (0.4, 0.7), ("unlike, under 0.4", "0.4 to 0.7", "alike, from 0.7"), missing="no other object",
    ),
)  # fmt: skip

BY_NAME = {attribute.name: attribute for attribute in ATTRIBUTES}
ATTRIBUTE_MEANINGS = {attribute.name: attribute.meaning for attribute in ATTRIBUTES}
BASIC = "size"
"""An attribute that every object has that has any."""


def hardships(values: Mapping[str, float]) -> list[str]:
    """What is hard about an object: the attributes at the hard ends of their bins, as `size (tiny, under 0.05)`.

    Args:
        values: by name of the attribute; NaN or left out where there is none.
    """
    placed = [(attribute, attribute.bin_of(values.get(attribute.name))) for attribute in ATTRIBUTES]
    return [f"{attribute.title} ({attribute.labels[place]})" for attribute, place in placed if place == attribute.hardest]
