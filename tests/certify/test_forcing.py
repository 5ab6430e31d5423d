"""Relative errors and decisions of the mask decoder, on tensors worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runners.base import RunnerError

torch = pytest.importorskip("torch", reason="needs torch")

from savbench.certify.forcing import Choices, compare_outputs, mask_iou, relative_error  # noqa: E402 - needs torch


def decoded(masks: list[float], ious: list[float], score: float, pointer: float = 1.0) -> tuple[object, ...]:
    masks_1m11 = torch.tensor(masks).reshape(1, -1, 1, 1)
    unused = torch.zeros(0)
    return masks_1m11, unused, torch.tensor([ious]), unused, unused, torch.full((1, 4), pointer), torch.tensor([[score]])


def test_the_error_is_the_root_mean_square_of_the_difference_over_that_of_the_expected() -> None:
    assert relative_error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])) == pytest.approx(0.5 / 5)
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert relative_error(torch.zeros(3), torch.ones(3)) == math.inf
    assert relative_error(torch.tensor([0.01]), torch.tensor([0.05]), floor=1.0) == pytest.approx(0.04)
    assert relative_error(torch.ones(2), torch.tensor([1.0, math.nan])) == math.inf
    with pytest.raises(RunnerError, match=r"returns \(3,\) where the reference returns \(2,\)"):
        relative_error(torch.ones(2), torch.ones(3))


def test_the_largest_error_of_nested_outputs_counts() -> None:
    expected = {"features": [torch.ones(2), torch.ones(2)], "depth": 3, "none": None}
    found = {"features": [torch.ones(2), torch.ones(2) * 1.25], "depth": 3, "none": None}
    assert compare_outputs("memory_encoder", expected, found) == (0.25, True, 0)
    assert compare_outputs("image_encoder", expected, {"features": [torch.ones(2), torch.tensor([1.0, math.inf])]}) == (math.inf, False, 0)


def test_another_best_mask_is_a_decision_and_its_pointer_is_not_compared() -> None:
    expected = decoded([4.0, 3.0], [0.90, 0.89], 5.0)
    assert compare_outputs("mask_decoder", expected, decoded([4.0, 3.0], [0.88, 0.89], 5.0, pointer=9.0))[1:] == (True, 1)
    error, _, decisions = compare_outputs("mask_decoder", expected, decoded([4.0, 3.0], [0.90, 0.89], 5.0, pointer=1.5))
    assert error == pytest.approx(0.5)
    assert decisions == 0


def test_another_single_mask_is_compared_with_the_nearest_that_the_reference_could_have_chosen() -> None:
    choices = Choices(torch.tensor([4.0, 2.0, -3.0, 8.0]).reshape(1, 4, 1, 1), torch.tensor([[0.9, 0.8, 0.7, 0.6]]))
    expected = decoded([4.0], [0.9], 5.0)
    error, _, decisions = compare_outputs("mask_decoder", expected, decoded([2.1], [0.8], 5.0, pointer=9.0), choices)
    assert error == pytest.approx(0.05)
    assert decisions == 1
    error, _, decisions = compare_outputs("mask_decoder", expected, decoded([4.2], [0.9], 5.0, pointer=1.5), choices)
    assert error == pytest.approx(0.5), "the pointer of the same mask"
    assert decisions == 0
    assert compare_outputs("mask_decoder", expected, decoded([5.5], [0.6], 5.0), choices)[0] == pytest.approx(2.5 / 8), "near to none"


def test_an_object_that_is_absent_to_one_of_both_is_a_decision_and_its_masks_are_not_compared() -> None:
    error, is_finite, decisions = compare_outputs("mask_decoder", decoded([4.0], [0.9], 0.02), decoded([-1024.0], [0.9], -0.02))
    assert error == pytest.approx(0.04)
    assert (is_finite, decisions) == (True, 1)


def test_masks_overlap() -> None:
    one, other = np.zeros((1, 2, 2), np.bool_), np.zeros((1, 2, 2), np.bool_)
    assert mask_iou(one, other) == 1
    one[0, 0], other[0, :, 0] = True, True
    assert mask_iou(one, other) == pytest.approx(1 / 3)
