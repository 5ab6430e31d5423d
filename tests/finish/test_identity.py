"""On which annotated object a mask lies."""

from __future__ import annotations

import numpy as np
from tiny_split import rectangle

from savbench.data.png import BoolMask
from savbench.finish.identity import IdentityMatcher

TARGET, OTHER, PART = rectangle(0, 0, 8, 8), rectangle(12, 16, 8, 8), rectangle(0, 0, 8, 6)
TRUTHS = {"001": OTHER, "002": PART}


class Reader:
    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, name: str) -> BoolMask | None:
        self.read.append(name)
        return TRUTHS.get(name)


def overlap(mask_hw: BoolMask) -> float:
    return float((mask_hw & TARGET).sum() / max((mask_hw | TARGET).sum(), 1))


def follow(*masks: BoolMask, others: tuple[str, ...] = ("001", "003")) -> list[str]:
    matcher = IdentityMatcher("000", others)
    return [matcher.match(mask_hw, overlap(mask_hw), Reader()) for mask_hw in masks]


def test_a_mask_is_followed_from_object_to_object() -> None:
    nothing, nowhere = np.zeros_like(TARGET), rectangle(20, 0, 2, 2)
    assert follow(TARGET, nothing, OTHER, nowhere, OTHER, TARGET) == ["000", "", "001", "", "001", "000"]


def test_half_an_overlap_is_enough_and_less_is_not() -> None:
    half, less = rectangle(0, 0, 8, 4), rectangle(0, 0, 7, 4)
    assert follow(half, less) == ["000", ""]


def test_a_mask_on_an_object_and_its_part_stays_where_it_was() -> None:
    # J with the target is 48/64, with its part 1
    assert follow(PART, others=("002",)) == ["000"]


def test_other_objects_are_read_only_once_the_mask_has_left_its_own() -> None:
    matcher, reader = IdentityMatcher("000", ("001", "002")), Reader()
    matcher.match(TARGET, 1.0, reader)
    assert reader.read == []
    matcher.match(OTHER, 0.0, reader)
    assert set(reader.read) == {"001", "002"}
