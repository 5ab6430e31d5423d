"""EfficientTAM (Xiong et al. 2024, "Efficient Track Anything", arXiv 2411.18933) through its official video predictor.

A plain ViT encodes frames; the rest is SAM 2's at one resolution. `_1` and `_2` attend to memories that are averaged over 2 x 2 cells: by
the paper's equation (5), which upstream computes as matrix products, and by its equation (6), which it computes as scaled dot-product
attention. The package has a name of its own, `efficient_track_anything`, and runs from a checkout: its installation asks for exact releases
of packages that only its demo needs. PyPI's `efficient-track-anything` 1.0 is an earlier model under the package name `sam2`, without
configurations, and is of no use here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import TYPE_CHECKING, Any

from runners.base import BuildOptions, RunnerError
from runners.official import OfficialPredictorRunner
from runners.sources import hydra_searches, import_package, package_version
from runners.torch_common import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

PACKAGE = "efficient_track_anything"
REMEDY = "get it with scripts/get_efficienttam.sh, or name its checkout with --efficienttam_dir"
PREDICTORS = f"{PACKAGE}.efficienttam_video_predictor"


class EfficientTamRunner(OfficialPredictorRunner):
    """EfficientTAM small or tiny; `options.config` names the variant. Sizes: multiples of 16, with pooled memories of 32."""

    name = "efficienttam"
    package = PACKAGE

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        if options.config is None:
            raise RunnerError("efficienttam: no configuration was named")
        self._code = import_package(PACKAGE, "build_efficienttam", options.source_dir, REMEDY)
        from hydra import initialize_config_module

        builder = importlib.import_module(f"{PACKAGE}.build_efficienttam")
        overrides = [
            f"++model.image_size={imgsz}",
            # upstream's configurations compile it always
            f"++model.compile_image_encoder={options.compile != 'off'}",
        ]
        if options.compile == "full":
            overrides.append(f"++model._target_={PREDICTORS}.EfficientTAMVideoPredictorVOS")
        with (
            hydra_searches(initialize_config_module, PACKAGE),
            replaced(builder, "compose", _with_overrides(builder.compose, overrides)),
            self._compiler.upstreams_own(),
            # it prints while it builds, and standard output belongs to the caller
            contextlib.redirect_stdout(io.StringIO()),
        ):
            predictor = builder.build_efficienttam_video_predictor(
                options.config, device=str(self._device), apply_postprocessing=options.postprocessing == "on"
            )
        kinds = {type(layer.cross_attn_image).__name__ for layer in predictor.memory_attention.layers}
        self._is_outside_attention = "EfficientRoPEAttention1" in kinds
        return predictor

    def _loader_module(self) -> ModuleType:
        return importlib.import_module(PREDICTORS)

    def _implementation(self) -> str:
        return f"EfficientTAM {package_version(self._code, (PACKAGE,))}"

    def _notes(self) -> tuple[str, ...]:
        notes = [*super()._notes(), "image encoder compiled only with --compile (upstream's configurations always do)"]
        if self._is_outside_attention:
            notes.append("memory cross-attention computed by upstream as matrix products over pooled memories, whatever --attention says")
        return tuple(notes)


def _with_overrides(compose: Callable[..., Any], last: Sequence[str]) -> Callable[..., Any]:
    """Hydra's `compose` with overrides after upstream's own, whose builder drops those of its caller on a machine without a recent GPU."""

    def composed(*, config_name: str, overrides: Sequence[str]) -> Any:
        return compose(config_name=config_name, overrides=[*overrides, *last])

    return composed
