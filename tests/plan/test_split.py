"""The data set of a run: opened as its settings say."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_split import write_frames
from tiny_split import TinySplit

from savbench.data.annotation import GivenPrompt
from savbench.data.dataset import DatasetError
from savbench.plan.settings import RunConfig
from savbench.plan.split import split_of


def test_the_list_is_the_one_that_is_named(tiny_split: TinySplit) -> None:
    (tiny_split.root / "sav_other.txt").write_text("beta\n")
    config = RunConfig(split_dir=tiny_split.root, split_name="sav_tiny")
    assert split_of(config).videos == ["alpha", "beta"]
    assert split_of(config, "sav_other").videos == ["beta"]
    with pytest.raises(DatasetError, match="sav_other"):
        split_of(RunConfig(split_dir=tiny_split.root))


def test_clips_are_prompted_as_the_settings_say(tmp_path: Path) -> None:
    write_frames(tmp_path / "walk", range(6))
    [obj] = split_of(RunConfig(split_dir=tmp_path, layout="clips", click=(3, 2))).video("walk").objects
    [(frame, given)] = obj.annotations
    assert frame == 0
    assert isinstance(given, GivenPrompt)
    assert given.points == ((3.0, 2.0),)
    with pytest.raises(DatasetError, match="cannot be read"):
        split_of(RunConfig(split_dir=tmp_path, layout="clips", prompts=tmp_path / "prompts.json"))
