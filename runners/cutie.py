"""Cutie (Cheng et al. 2024, "Putting the Object Back into Video Object Segmentation"): a tracker of the memory school, without SAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import BuildOptions, RunnerError
from runners.sizes import CUTIE_SIZE, check_size

if TYPE_CHECKING:
    from runners.base import VideoRunner

INSTALL = ".venv/bin/pip install --no-deps -r requirements-cutie.txt"


def build(options: BuildOptions) -> VideoRunner:
    """Cutie from the installed package `rf-cutie`.

    Raises:
        RunnerError: the size, device, package or weights are unusable.
    """
    check_size("cutie", CUTIE_SIZE if options.imgsz is None else options.imgsz)
    try:
        from runners.cutie_official import CutieRunner
    except ImportError as error:
        raise RunnerError(
            f"cutie: the package rf-cutie cannot be imported ({error}); run {INSTALL} (PyPI's `cutie` is another package, which hides it: "
            "uninstall that one)"
        ) from error
    return CutieRunner(options)
