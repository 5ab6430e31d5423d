"""Meta's SAM 2.1 through its official video predictor, from the installed `sam2` package or a checkout."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runners.base import BuildOptions, RunnerError
from runners.motion_memory import MotionMemory
from runners.official import OfficialPredictorRunner
from runners.sources import hydra_searches, import_package, package_version

if TYPE_CHECKING:
    from types import ModuleType

    from runners.exported.boundary import Boundary

DISTRIBUTIONS = ("sam2", "SAM-2")
"""Names under which SAM 2 may be installed: its copy on PyPI and the official repository."""
OWN_CONFIGS = Path(__file__).resolve().parent / "nano"
"""Folder of our configurations, which are not part of the `sam2` package."""


def import_sam2(source_dir: Path | None) -> ModuleType:
    """Import the package named `sam2`, which may be SAM 2's or EdgeTAM's.

    Raises:
        RunnerError: as `import_package`.
    """
    return import_package("sam2", "build_sam", source_dir, "run scripts/setup.sh")


class Sam2Runner(OfficialPredictorRunner):
    """SAM 2.1 tiny, small, base+ or large, or our nano; `options.config` names the size. Sizes: multiples of 32."""

    name = "sam2"

    def __init__(self, options: BuildOptions) -> None:
        """As `OfficialPredictorRunner`, with the memory selection that the options name."""
        self._selection = options.memory_selection
        super().__init__(options)
        self._motion = MotionMemory(self._predictor) if self._selection == "samurai" else None

    def close(self) -> None:
        super().close()
        if self._motion is not None:
            self._motion.forget()

    def _notes(self) -> tuple[str, ...]:
        chosen = ("masks and memories chosen with motion, as SAMURAI does",) if self._selection == "samurai" else ()
        return (*super()._notes(), *chosen)

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        if options.config is None:
            raise RunnerError("sam2: no configuration was named")
        self._package = import_sam2(options.source_dir)
        if importlib.util.find_spec("sam2.modeling.perceiver") is not None:
            raise RunnerError("sam2: this is EdgeTAM's package of the same name; uninstall it and run scripts/setup.sh")
        from hydra import initialize_config_dir
        from sam2.build_sam import build_sam2_video_predictor

        overrides = [f"++model.image_size={imgsz}"]
        if options.compile == "encoder":
            overrides.append("++model.compile_image_encoder=true")
        is_ours = (OWN_CONFIGS / options.config).is_file()
        configs = hydra_searches(initialize_config_dir, str(OWN_CONFIGS)) if is_ours else contextlib.nullcontext()
        # it prints while compiling, and standard output belongs to the caller
        with configs, self._compiler.upstreams_own(), contextlib.redirect_stdout(io.StringIO()):
            return build_sam2_video_predictor(
                options.config,
                device=str(self._device),
                hydra_overrides_extra=overrides,
                apply_postprocessing=options.postprocessing == "on",
                vos_optimized=options.compile == "full",
            )

    def _boundary(self) -> Boundary:
        from runners.exported.boundary import Boundary

        return Boundary(self._predictor)

    def _loader_module(self) -> ModuleType:
        import sam2.sam2_video_predictor as module

        return cast("ModuleType", module)

    def _implementation(self) -> str:
        return f"sam2 {package_version(self._package, DISTRIBUTIONS)}"
