"""COCO's run-length encoding: known texts, real masklets, and every mask there and back."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from savbench.data.rle import Rle, RleError

REAL = Path(__file__).parents[3] / "shared" / "data" / "sav_000001_manual.json"


def test_a_text_worked_out_by_hand() -> None:
    """Columns one after the other: 1 zero, 2 ones, 3 zeros, and 1, 2, 3 are the characters after code 48."""
    mask_hw = np.array([[0, 0], [1, 0], [1, 0]], np.bool_)
    assert Rle.of(mask_hw) == Rle((3, 2), "123")
    np.testing.assert_array_equal(Rle((3, 2), "123").decode(), mask_hw)
    # a first pixel in the mask: no zeros before it; 40 is 8 + 32, two characters: 8 with "another follows", then 1
    assert Rle.of(np.ones((4, 10), np.bool_)).counts == "0X1"


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=60)))
def test_every_mask_comes_back(mask_hw: np.ndarray) -> None:
    encoded = Rle.of(mask_hw)
    np.testing.assert_array_equal(encoded.decode(), mask_hw)
    assert encoded.is_empty() == (not mask_hw.any())


@given(st.text(max_size=12))
def test_a_damaged_text_is_refused_or_a_mask(counts: str) -> None:
    with contextlib.suppress(RleError):
        assert Rle((3, 4), counts).decode().shape == (3, 4)


@pytest.mark.skipif(not REAL.is_file(), reason=f"needs the real masklets in {REAL}")
def test_real_masklets_are_read_and_written_alike() -> None:
    about = json.loads(REAL.read_text())
    areas = np.zeros((len(about["masklet"]), about["masklet_num"]))
    for frame, masks in enumerate(about["masklet"]):
        for number, mask in enumerate(masks):
            encoded = Rle((mask["size"][0], mask["size"][1]), mask["counts"])
            decoded = encoded.decode()
            areas[frame, number] = decoded.sum()
            if frame % 10 == 0:
                assert Rle.of(decoded) == encoded
    # the file states the mean area where the object is visible
    visible = [areas[areas[:, number] > 0, number].mean() for number in range(about["masklet_num"])]
    np.testing.assert_allclose(visible, about["masklet_size_abs"], rtol=1e-6)
