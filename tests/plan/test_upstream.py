from __future__ import annotations

from pathlib import Path

import pytest

from runners import RUNNERS, SHIPPED_WEIGHTS
from savbench.arguments.declared import ConfigError
from savbench.plan.settings import RunConfig
from savbench.plan.upstream import (
    DEFAULT_MODELS,
    checkout,
    checkout_of,
    edgetam_checkout,
    efficienttam_checkout,
    weights_folders,
    with_default_models,
)
from savbench.plan.weights import find_weights
from savbench.supervise.jobs import plan


def weights(folder: Path, *models: str) -> Path:
    folder.mkdir(exist_ok=True)
    for model in models:
        (folder / (RUNNERS[model].checkpoint or "")).write_bytes(b"weights")
    return folder


def test_a_weights_folder_that_is_given_is_the_only_one_that_is_searched(tmp_path: Path) -> None:
    assert weights_folders(tmp_path) == (tmp_path,)
    with pytest.raises(ConfigError, match=f"sam2_nano.pt is not in {tmp_path};"):
        find_weights("sam2_nano.pt", "sam2_nano", weights_folders(tmp_path))


def test_without_one_the_usual_folders_are_searched_and_the_shipped_weights_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = weights_folders(None)
    assert folders[:2] == (tmp_path / "checkpoints", tmp_path / "EdgeTAM" / "checkpoints")
    assert folders[-1] == SHIPPED_WEIGHTS
    assert find_weights("sam2_nano.pt", "sam2_nano", folders) == SHIPPED_WEIGHTS / "sam2_nano.pt"


def test_models_that_are_not_named_are_those_whose_weights_are_found(tmp_path: Path) -> None:
    asked = RunConfig(split_dir=tmp_path, weights_dir=weights(tmp_path, "edgetam", "sam2_small"))
    config, said = with_default_models(asked)
    assert config.models == ("sam2_small_points", "edgetam_points")
    assert said == (
        "no --models: running sam2_small, edgetam with points; not sam2_tiny, sam2_base, sam2_large, whose weights are missing: fetch them "
        "with `scripts/download_weights.sh sam2_tiny sam2_base sam2_large`"
    )


def test_all_of_them_run_where_all_weights_are_there_or_none_are_needed(tmp_path: Path) -> None:
    everything = tuple(f"{model}_points" for model in DEFAULT_MODELS)
    line = "no --models: running sam2_tiny, sam2_small, sam2_base, sam2_large, edgetam with points"
    for asked in (
        RunConfig(split_dir=tmp_path, weights_dir=weights(tmp_path / "all", *DEFAULT_MODELS)),
        RunConfig(split_dir=tmp_path, weights_dir=weights(tmp_path / "none"), random_weights=True),
    ):
        config, said = with_default_models(asked)
        assert (config.models, said) == (everything, line)


def test_no_weights_at_all_name_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        with_default_models(RunConfig(split_dir=tmp_path, weights_dir=tmp_path))
    assert "fetch them with `scripts/download_weights.sh sam2_tiny sam2_small sam2_base sam2_large edgetam`" in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_checkout_holds_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"--edgetam_dir .*: has no sam2 package; give the top folder of the checkout"):
        edgetam_checkout(tmp_path / "EdgeTAM")
    (tmp_path / "EdgeTAM" / "sam2").mkdir(parents=True)
    assert edgetam_checkout(None) == edgetam_checkout(tmp_path / "EdgeTAM") == tmp_path / "EdgeTAM"
    assert checkout("sam2_dir", None) is None


def test_efficienttam_has_a_package_of_its_own_and_cannot_run_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("savbench.plan.upstream.ROOT", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert efficienttam_checkout(None) is None
    with pytest.raises(ConfigError, match=r"get it with `scripts/get_efficienttam\.sh`, or name its checkout with --efficienttam_dir"):
        checkout_of("efficienttam", "auto", {})
    (tmp_path / "EfficientTAM" / "sam2").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"--efficienttam_dir .*: has no efficient_track_anything package"):
        efficienttam_checkout(tmp_path / "EfficientTAM")
    (tmp_path / "EfficientTAM" / "efficient_track_anything").mkdir()
    assert efficienttam_checkout(None) == efficienttam_checkout(tmp_path / "EfficientTAM") == tmp_path / "EfficientTAM"
    checkouts = {"efficienttam": efficienttam_checkout(None)}
    assert checkout_of("efficienttam", "transformers", checkouts) == tmp_path / "EfficientTAM"  # transformers does not have it
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert checkout_of("efficienttam", "auto", {}) is None  # installed


def test_transformers_code_is_in_no_checkout(tmp_path: Path) -> None:
    checkouts = {"sam2": tmp_path / "sam2", "edgetam": tmp_path / "EdgeTAM"}
    for family in ("sam2", "edgetam"):
        assert checkout_of(family, "transformers", checkouts) is None
        assert checkout_of(family, "auto", checkouts) == checkout_of(family, "official", checkouts) == checkouts[family]
    assert checkout_of("sam1", "auto", checkouts) is None


def test_a_run_names_its_checkout_before_it_looks_at_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "efficient_track_anything").mkdir(parents=True)
    settings = {"split_dir": tmp_path, "models": ("efficienttam_ti_mask",), "random_weights": True}
    config = RunConfig(**settings, efficienttam_dir=tmp_path / "mine")  # type: ignore[arg-type]
    assert [one.source_dir for one in plan(config, "sav_val")] == [tmp_path / "mine"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="EfficientTAM's code is neither"):
        plan(RunConfig(**settings), "sav_val")  # type: ignore[arg-type]
