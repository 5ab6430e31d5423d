"""Folders with code and weights of models that do not come with the benchmark."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from runners import RUNNERS, SHIPPED_WEIGHTS
from savbench.arguments.declared import ConfigError
from savbench.plan.settings import RunConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
EFFICIENTTAM = "efficient_track_anything"
"""EfficientTAM's package."""
WEIGHTS_FOLDERS = ("checkpoints", "EdgeTAM/checkpoints", "EfficientTAM/checkpoints")
DEFAULT_MODELS = ("sam2_tiny", "sam2_small", "sam2_base", "sam2_large", "edgetam")
DEFAULT_PROMPT = "points"


def weights_folders(given: Path | None) -> tuple[Path, ...]:
    """Folders to search for weights, in order: only --weights_dir if it is given, else the default folders."""
    if given is not None:
        return (given,)
    return (*(base / name for base in _bases() for name in WEIGHTS_FOLDERS), SHIPPED_WEIGHTS)


def edgetam_checkout(given: Path | None) -> Path | None:
    """The checkout that EdgeTAM runs from: --edgetam_dir if it is given, else the default one; None if there is none.

    Raises:
        ConfigError: as `checkout`.
    """
    return usual_edgetam() if given is None else checkout("edgetam_dir", given)


def usual_edgetam() -> Path | None:
    """The first default checkout of EdgeTAM that exists; None if none does."""
    return _usual("EdgeTAM", "sam2")


def efficienttam_checkout(given: Path | None) -> Path | None:
    """The checkout that EfficientTAM runs from, as `edgetam_checkout`.

    Raises:
        ConfigError: as `checkout`.
    """
    return usual_efficienttam() if given is None else checkout("efficienttam_dir", given, EFFICIENTTAM)


def usual_efficienttam() -> Path | None:
    """The first default checkout of EfficientTAM that exists; None if none does."""
    return _usual("EfficientTAM", EFFICIENTTAM)


def checkout_of(family: str, implementation: str, checkouts: Mapping[str, Path | None]) -> Path | None:
    """The checkout that models of a family run from; None for an installed package, or a family that has no checkout.

    Args:
        implementation: of --implementation; transformers' code, of the families that it implements, is in no checkout.
        checkouts: by family.

    Raises:
        ConfigError: EfficientTAM has neither a checkout nor an installed package.
    """
    if family != "efficienttam":
        return None if implementation == "transformers" else checkouts.get(family)
    source_dir = checkouts.get(family)
    if source_dir is None and importlib.util.find_spec(EFFICIENTTAM) is None:
        raise ConfigError(
            "EfficientTAM's code is neither in ./EfficientTAM nor installed; get it with `scripts/get_efficienttam.sh`, or name its "
            "checkout with --efficienttam_dir"
        )
    return source_dir


def checkout(flag: str, given: Path | None, package: str = "sam2") -> Path | None:
    """The checkout that a flag names; None if the flag was not given.

    Raises:
        ConfigError: it does not hold the package.
    """
    if given is not None and not (given / package).is_dir():
        raise ConfigError(f"--{flag} {given}: has no {package} package; give the top folder of the checkout")
    return given


def _usual(folder: str, package: str) -> Path | None:
    return next((base / folder for base in _bases() if (base / folder / package).is_dir()), None)


def with_default_models(config: RunConfig) -> tuple[RunConfig, str]:
    """Fill in models for settings that name none: the default models whose weights are found.

    Returns:
        The settings, and a line that says which models run and which do not.

    Raises:
        ConfigError: no weights are found; the message names the command that fetches them.
    """
    folders = weights_folders(config.weights_dir)
    found = [model for model in DEFAULT_MODELS if config.random_weights or has_weights(model, folders)]
    missing = [model for model in DEFAULT_MODELS if model not in found]
    fetch = f"`scripts/download_weights.sh {' '.join(missing)}`"
    if not found:
        raise ConfigError(
            f"--models: not given, and no weights of {', '.join(missing)} are in {', '.join(map(str, folders))}; "
            f"fetch them with {fetch}, name their folder with --weights_dir, or run a model without weights, such as --models static_mask"
        )
    line = f"no --models: running {', '.join(found)} with {DEFAULT_PROMPT}"
    if missing:
        line += f"; not {', '.join(missing)}, whose weights are missing: fetch them with {fetch}"
    return dataclasses.replace(config, models=tuple(f"{model}_{DEFAULT_PROMPT}" for model in found)), line


def has_weights(model: str, folders: Sequence[Path]) -> bool:
    """Whether one of the folders has weights of a model, in any format."""
    return any((folder / file).is_file() for folder in folders for file in RUNNERS[model].files)


def _bases() -> list[Path]:
    """Folders that hold the default folders: the current folder, then the benchmark's own."""
    bases = []
    with contextlib.suppress(FileNotFoundError):  # the current folder may be gone
        bases.append(Path.cwd())
    return list(dict.fromkeys((*bases, ROOT)))
