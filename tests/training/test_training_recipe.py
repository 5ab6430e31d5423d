"""The rounds and stages of training and its learning rate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from training.recipe import KINDS, RECIPE, Round, Stage, learning_rate, rate_of, read_recipe, stage_of, total_steps

DISCS = Stage(steps=2, side=64, frames=1, clips=8, single_frames=8, single_share=1.0, discs=True)
CLIPS = Stage(steps=3, side=128, frames=4, clips=2, single_frames=6, single_share=0.25)
MIXED = Stage(steps=90, side=128, frames=4, clips=2, single_frames=6, single_share=0.25, shares=(0.5, 0.0, 0.0, 0.5))
TWO_ROUNDS = (Round(1e-2, (DISCS, CLIPS)), Round(1e-3, (MIXED,), held=70))


def test_a_recipe_is_walked_through() -> None:
    assert total_steps(TWO_ROUNDS) == 95
    assert [stage_of(TWO_ROUNDS, step) for step in (0, 1, 2, 4, 5, 94, 95)] == [DISCS, DISCS, CLIPS, CLIPS, MIXED, MIXED, MIXED]


def test_every_round_has_a_schedule_of_its_own() -> None:
    rates = [rate_of(TWO_ROUNDS, step) for step in (0, 4, 5, 5 + 59, 5 + 70, 5 + 80)]
    assert rates == pytest.approx([1e-2 / 60, 5e-2 / 60, 1e-3 / 60, 1e-3, 1e-3, 1e-3 * (0.02 + 0.98 / 2)])
    with pytest.raises(ValueError, match="the recipe ended 1 steps before"):
        rate_of(TWO_ROUNDS, 95)


def test_a_recipe_is_read_as_a_run_notes_it(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"recipe": [asdict(part) for part in TWO_ROUNDS], "seed": 0}))
    assert read_recipe(path) == TWO_ROUNDS
    for text, message in {
        "{}": "holds no recipe",
        '{"recipe": [{"peak_lr": 1, "stages": [{"steps": 1}]}]}': "holds no recipe",
        path.read_text().replace(
            "[0.5, 0.0, 0.0, 0.5]", "[1, 1, 1, 1, 1, 1]"
        ): "one for each of drawn, natural, real, figures, clip art at most",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_recipe(path)


def test_the_recipe_ends_at_the_size_of_the_shipped_model() -> None:
    assert RECIPE[0].stages[0].discs
    assert RECIPE[-1].stages[-1].side == 192
    assert len(RECIPE[-1].stages[-1].shares) == len(KINDS)  # of every kind of clip
    assert total_steps(RECIPE) == 13_230


def test_learning_rate_warms_up_and_falls_to_a_fiftieth() -> None:
    rates = [learning_rate(step, 1000, peak=1.0, held=100) for step in (0, 29, 59, 100, 550, 1000)]
    assert rates == pytest.approx([1 / 60, 0.5, 1.0, 1.0, 0.02 + 0.98 / 2, 0.02])
