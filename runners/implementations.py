"""Chooses the implementation of a model that has two: its authors' code or the package `transformers`.

`auto` takes the authors' code where it is found: a checkout that was named, or for SAM 2 the installed package; but transformers if the
weights are in its format.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from runners import HUB_FILE
from runners.base import BuildOptions, RunnerError
from runners.exported import TORCH
from runners.sizes import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runners.base import VideoRunner


def build_sam2(options: BuildOptions) -> VideoRunner:
    """SAM 2.1 from the installed package or the checkout `options.source_dir`, or transformers' Sam2VideoModel.

    Raises:
        RunnerError: the size, device, packages or weights are unusable.
    """
    has_official = options.source_dir is not None or importlib.util.find_spec("sam2") is not None
    wants_official = options.implementation == "official" or options.runtime != TORCH
    of_transformers = options.weights is not None and options.weights.name == HUB_FILE
    may_be_official = options.implementation == "auto" and not of_transformers
    if wants_official or (may_be_official and (has_official or not has_transformers())):
        from runners.sam2 import Sam2Runner

        return Sam2Runner(options)
    otherwise = "run the official sam2, which scripts/setup.sh installs"
    if options.memory_selection != "latest":
        raise RunnerError(f"--memory_selection {options.memory_selection}: is done around the official code; {otherwise}")
    _refuse_upstreams_memory("SAM 2", options, otherwise)
    with _importing("sam2", "Sam2VideoModel", otherwise):
        from runners.transformers.sam2 import Sam2TransformersRunner
    return Sam2TransformersRunner(options)


def build_edgetam(options: BuildOptions) -> VideoRunner:
    """EdgeTAM (Zhou et al. 2025) from the checkout `options.source_dir`, or transformers' EdgeTamVideoModel.

    Raises:
        RunnerError: the size, device, packages or weights are unusable.
    """
    check_size("edgetam", 1024 if options.imgsz is None else options.imgsz)
    wants_official = options.implementation == "official" or options.runtime != TORCH
    if wants_official or (options.implementation == "auto" and options.source_dir is not None):
        from runners.edgetam_official import EdgeTamRunner

        return EdgeTamRunner(options)
    otherwise = "get the official code with scripts/get_edgetam.sh, or name its folder with --edgetam_dir"
    _refuse_upstreams_memory("EdgeTAM", options, otherwise)
    with _importing("edgetam", "EdgeTamVideoModel", otherwise):
        from runners.transformers.edgetam import EdgeTamTransformersRunner
    return EdgeTamTransformersRunner(options)


def build_sam3(options: BuildOptions) -> VideoRunner:
    """SAM 3's tracker through transformers' Sam3TrackerVideoModel.

    Raises:
        RunnerError: the size, device, packages or weights are unusable.
    """
    check_size("sam3", 1008 if options.imgsz is None else options.imgsz)
    _refuse_upstreams_memory("SAM 3", options)
    with _importing("sam3", "Sam3TrackerVideoModel"):
        from runners.transformers.sam3 import Sam3TransformersRunner
    return Sam3TransformersRunner(options)


def has_transformers() -> bool:
    """Whether the package is installed; whether it can be imported, only importing it shows."""
    return importlib.util.find_spec("transformers") is not None


def _refuse_upstreams_memory(model: str, options: BuildOptions, otherwise: str = "") -> None:
    if options.memory != "bounded":
        raise RunnerError(
            f"--memory {options.memory}: transformers' {model} is fed frame by frame and has no loader of its own; use --memory "
            f"bounded{otherwise and f', or {otherwise}'}"
        )


@contextlib.contextmanager
def _importing(family: str, name: str, otherwise: str = "") -> Iterator[None]:
    """Import a runner of transformers in the block.

    Args:
        otherwise: what to do instead of installing transformers, if there is anything.

    Raises:
        RunnerError: the import failed; transformers and timm report a mismatched torchvision as RuntimeError.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        said = str(error).strip().splitlines()[0]
        python = ".".join(map(str, sys.version_info[:2]))
        raise RunnerError(
            f"{family}: transformers' {name} cannot be imported ({said}) by Python {python}; run scripts/setup.sh without --minimal "
            f"(requirements-edgetam.txt, requirements-transformers.txt){otherwise and f', or {otherwise}'}"
        ) from error
