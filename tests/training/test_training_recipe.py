"""The stages of training and its learning rate."""

from __future__ import annotations

import pytest

from training.recipe import RECIPE, Stage, learning_rate, parse_recipe, stage_of, total_steps


def test_recipe_is_read_and_walked_through() -> None:
    recipe = parse_recipe("2:64:1:8:8:1.0:discs,3:128:4:2:6:0.25")
    assert recipe == (
        Stage(steps=2, side=64, frames=1, clips=8, single_frames=8, single_share=1.0, discs=True),
        Stage(steps=3, side=128, frames=4, clips=2, single_frames=6, single_share=0.25),
    )
    assert total_steps(recipe) == 5
    assert [stage_of(recipe, step).side for step in range(6)] == [64, 64, 128, 128, 128, 128]
    with pytest.raises(ValueError, match="write STEPS:SIDE"):
        parse_recipe("2:64:1")


def test_the_recipe_ends_at_the_size_of_the_shipped_model() -> None:
    assert RECIPE[0].discs
    assert RECIPE[-1].side == 192


def test_learning_rate_warms_up_and_falls_to_a_fiftieth() -> None:
    rates = [learning_rate(step, 1000, peak=1.0, warmup=100) for step in (0, 49, 99, 100, 550, 1000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.02 + 0.98 / 2, 0.02])
