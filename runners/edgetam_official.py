"""EdgeTAM through its official code.

The official repository, facebookresearch/EdgeTAM, installs a package named `sam2` like SAM 2's own, so it runs from its checkout in a
separate process and is never installed beside SAM 2. A folder that `scripts/get_edgetam.sh --pypi` made holds the same package but for one
change, which has no effect here: like `runners.components` it labels components with OpenCV where the extension is missing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from runners.base import BuildOptions, Prompt, RunnerError
from runners.exported import TORCH
from runners.official import OfficialPredictorRunner
from runners.sam2 import import_sam2
from runners.sizes import EDGETAM_STRIDE
from runners.sources import commit_of
from runners.torch_common import replaced
from runners.wheels import EDGETAM_WHEEL, unpacked_wheel

if TYPE_CHECKING:
    from types import ModuleType

    from runners.exported.boundary import Boundary
    from runners.stages import ObjectHook


_NOTES_OF_TORCH = (
    "attention kernels left to PyTorch's choice (upstream tries flash alone first)",
    "perceiver.forward_2d reshapes where it views when a session has several objects",
)


class EdgeTamRunner(OfficialPredictorRunner):
    """The official predictor from the checkout `options.source_dir`, unedited; `applied.notes` lists what is set at run time."""

    name = "edgetam"

    def _build(self, options: BuildOptions, imgsz: int) -> Any:
        if options.source_dir is None:
            raise RunnerError("edgetam: get the official code with scripts/get_edgetam.sh, or name its folder with --edgetam_dir")
        self._source_dir = options.source_dir
        import_sam2(options.source_dir)
        if importlib.util.find_spec("sam2.modeling.perceiver") is None:
            raise RunnerError(f"{options.source_dir}: holds SAM 2, not EdgeTAM; get it with scripts/get_edgetam.sh")

        from sam2.build_sam import build_sam2_video_predictor

        try:
            from sam2.modeling.backbones import timm as backbone
        except ModuleNotFoundError as error:
            raise RunnerError(f"edgetam: {error}; run scripts/setup.sh without --minimal (requirements-edgetam.txt)") from error
        from sam2.modeling.sam import transformer

        # Upstream allows only flash attention, which has no float32 kernel, and sets this flag for the rest of the process after the first
        # failed call. Setting it now lets PyTorch choose the kernel in every dtype from the first frame.
        transformer.ALLOW_ALL_KERNELS = True

        grid = imgsz // EDGETAM_STRIDE
        overrides = [
            f"++model.image_size={imgsz}",
            # The rotary tables of the memory attention are sized by the configuration, not by image_size. Its keys are the
            # perceiver's 16 x 16 latents at every size.
            f"++model.memory_attention.layer.self_attention.feat_sizes=[{grid},{grid}]",
            f"++model.memory_attention.layer.cross_attention.q_sizes=[{grid},{grid}]",
        ]
        if options.compile != "off":
            overrides.append("++model.compile_image_encoder=true")
        # Upstream asks timm for ImageNet weights, which the checkpoint then overwrites: the download would fail on an offline board.
        # It also prints its progress, and standard output is the caller's.
        with (
            replaced(backbone, "create_model", _without_download(backbone.create_model)),
            contextlib.redirect_stdout(io.StringIO()),
            self._compiler.upstreams_own(),
        ):
            predictor = build_sam2_video_predictor(
                options.config or "configs/edgetam.yaml",
                device="cpu",
                hydra_overrides_extra=overrides,
                apply_postprocessing=options.postprocessing == "on",
            )
        _check_rotary_sizes(predictor, grid)
        predictor.spatial_perceiver.forward_2d = _with_reshape(predictor.spatial_perceiver.forward_2d)
        if options.compile == "full":
            self._compiler.compile_forward(
                predictor.memory_encoder, predictor.spatial_perceiver, predictor.sam_prompt_encoder, predictor.sam_mask_decoder
            )
            self._compiler.compile_forward(predictor.memory_attention, dynamic=True)
        return predictor

    def _boundary(self) -> Boundary:
        from runners.exported.edgetam import EdgeTamBoundary

        return EdgeTamBoundary(self._predictor)

    def _loader_module(self) -> ModuleType:
        import sam2.sam2_video_predictor as module

        return module  # type: ignore[no-any-return]

    def _implementation(self) -> str:
        wheel = unpacked_wheel(self._source_dir, EDGETAM_WHEEL)
        return f"EdgeTAM checkout ({commit_of(self._source_dir)})" if wheel is None else f"EdgeTAM of {wheel}"

    def _notes(self) -> tuple[str, ...]:
        return (
            *super()._notes(),
            "rotary tables of the memory attention sized to imgsz / 16 by configuration",
            "timm built without its ImageNet weights",
            *(_NOTES_OF_TORCH if self._runtime == TORCH else ("several objects of a session go through the exported graphs one by one",)),
        )

    def _object_hook(self) -> ObjectHook | None:
        return None

    def _add(self, state: dict[str, Any], frame_index: int, prompt: Prompt) -> None:
        if state["tracking_has_started"] and prompt.object_id not in state["obj_id_to_idx"]:
            raise RunnerError(
                f"edgetam: the official predictor takes no new object once it tracks; give object {prompt.object_id} a clip of its own"
            )
        super()._add(state, frame_index, prompt)


def _without_download(create_model: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> Any:
        return create_model(*args, **{**kwargs, "pretrained": False})

    return create


def _check_rotary_sizes(predictor: Any, grid: int) -> None:
    for layer in predictor.memory_attention.layers:
        lengths = (len(layer.self_attn.freqs_cis), len(layer.cross_attn_image.freqs_cis_q), len(layer.cross_attn_image.freqs_cis_k))
        if lengths != (grid * grid, grid * grid, predictor.spatial_perceiver.num_latents_2d):
            raise RunnerError(
                f"edgetam: the rotary tables have {lengths} positions for a grid of {grid} x {grid}; this checkout's configuration has "
                "changed its names, use the commit that README.md names"
            )


class _ReshapeForView(TorchFunctionMode):  # type: ignore[misc]
    """Turns `Tensor.view` into `Tensor.reshape`: the same tensor if a view is possible, else a copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (torch.Tensor.reshape if func is torch.Tensor.view else func)(*args, **(kwargs or {}))


def _with_reshape(forward_2d: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    """Upstream calls `view` on an expanded tensor, which fails in PyTorch for more than one object; one object works unchanged."""

    def forward(features_nchw: torch.Tensor) -> Any:
        if len(features_nchw) == 1:
            return forward_2d(features_nchw)
        with _ReshapeForView():
            return forward_2d(features_nchw)

    return forward
