"""EdgeTAM (Zhou et al. 2025, "EdgeTAM: On-Device Track Anything Model"): the official checkout if given, else transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import BuildOptions, RunnerError
from runners.sizes import check_size

if TYPE_CHECKING:
    from runners.base import VideoRunner


def build(options: BuildOptions) -> VideoRunner:
    """The official EdgeTAM if `options.source_dir` names its checkout, else transformers' EdgeTamVideoModel.

    Raises:
        RunnerError: the size, device, packages or weights are unusable.
    """
    check_size("edgetam", 1024 if options.imgsz is None else options.imgsz)
    if options.source_dir is not None:
        from runners.edgetam_official import EdgeTamRunner

        return EdgeTamRunner(options)
    if options.memory != "bounded":
        raise RunnerError(
            f"--memory {options.memory}: transformers' EdgeTAM is fed frame by frame and has no loader of its own; clone "
            "https://github.com/facebookresearch/EdgeTAM and name it with --edgetam_dir"
        )
    try:
        from runners.edgetam_hf import EdgeTamHfRunner
    except (ImportError, RuntimeError) as error:  # RuntimeError: how transformers and timm report a mismatched torchvision
        raise RunnerError(
            f"edgetam: transformers' EdgeTamVideoModel cannot be imported ({str(error).strip().splitlines()[0]}); run scripts/setup.sh "
            "without --minimal (requirements-edgetam.txt, requirements-transformers.txt), or clone "
            "https://github.com/facebookresearch/EdgeTAM and name it with --edgetam_dir"
        ) from error
    return EdgeTamHfRunner(options)
