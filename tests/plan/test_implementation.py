"""--implementation: what is refused before anything is built, and what a job is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from savbench.arguments.declared import ConfigError
from savbench.arguments.parser import Parser
from savbench.plan.arms import plan_arms
from savbench.plan.command_line import add_run_flags, config_of
from savbench.plan.settings import RunConfig
from savbench.supervise.jobs import plan


def parsed(*arguments: str) -> argparse.Namespace:
    parser = Parser(prog="p")
    add_run_flags(parser)
    return parser.parse_args(["--split_dir", "/split", *arguments])


def config(**changed: Any) -> RunConfig:
    return RunConfig(split_dir=Path("/split"), **{"models": ("sam2_nano_mask", "sam1_base_mask"), "random_weights": True, **changed})


def test_another_implementation_is_another_arm_of_the_models_that_have_one() -> None:
    arms = {name: [arm.arm_id for arm in plan_arms(config(implementation=name), "s")] for name in ("auto", "official", "transformers")}
    assert len({ids[0] for ids in arms.values()}) == 3
    assert len({ids[1] for ids in arms.values()}) == 1


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--implementation tranformers: use auto, official or transformers.*did you mean transformers"):
        config(implementation="tranformers")


def test_transformers_has_no_loader_of_upstreams() -> None:
    with pytest.raises(ConfigError, match="leave out --implementation transformers"):
        config(implementation="transformers", memory="upstream")


def test_transformers_runs_from_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "EdgeTAM" / "sam2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert config_of(parsed()).edgetam_dir == tmp_path / "EdgeTAM"
    assert config_of(parsed("--implementation", "transformers")).edgetam_dir is None
    with pytest.raises(ConfigError, match=r"--edgetam_dir: names official code, which --implementation transformers does not run"):
        config_of(parsed("--implementation", "transformers", "--edgetam_dir", "EdgeTAM"))
    both = config(models=("edgetam_mask",), edgetam_dir=tmp_path / "EdgeTAM")
    assert [one.source_dir for one in plan(both, "s")] == [tmp_path / "EdgeTAM"]
