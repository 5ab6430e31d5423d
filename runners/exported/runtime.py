"""Gets a predictor's graphs, from the cache or by exporting them, and puts them behind the predictor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runners.base import RunnerError, RuntimeReport
from runners.exported import EXPORT_DTYPES, no_dtype
from runners.exported.boundary import SIGNATURES, install
from runners.exported.cache import GraphFolder, Kept, default_folder
from runners.exported.graphs import examples, export, identity_of, require_packages
from runners.exported.ort import OrtStage, import_runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from runners.base import BuildOptions


def replace_stages(predictor: Any, options: BuildOptions, device: torch.device) -> RuntimeReport:
    """Let the runtime of the options run a predictor's stages, from now on and until the process ends.

    Args:
        predictor: a `SAM2VideoPredictor` on the device, with its weights, in evaluation mode.

    Raises:
        RunnerError: the runtime is missing, does not have the dtype, or cannot run all nodes on the device.
    """
    if options.autocast_dtype not in EXPORT_DTYPES[options.runtime]:
        raise RunnerError(no_dtype(options.runtime, options.autocast_dtype))
    runtime = import_runtime()
    graphs, inputs = export_stages(predictor, options)
    begun = time.perf_counter()
    stages = {name: OrtStage(name, graph.path, device, inputs[name]) for name, graph in graphs.items()}
    load_s = time.perf_counter() - begun
    install(predictor, stages)
    return RuntimeReport(
        version=f"onnxruntime {runtime.__version__}",
        placement=" | ".join(f"{name} {_counted(stage)}" for name, stage in stages.items()),
        export_s=sum(graph.made_s for graph in graphs.values()),
        load_s=load_s,
        size_mib=sum(graph.size_mib for graph in graphs.values()),
    )


def export_stages(predictor: Any, options: BuildOptions) -> tuple[dict[str, Kept], dict[str, tuple[torch.Tensor, ...]]]:
    """The graphs of a predictor's stages in float32, exported if the cache does not have them.

    Returns:
        The files, and an example of each stage's inputs, by the name of the stage.

    Raises:
        RunnerError: a stage cannot be exported, or the cache cannot be written.
    """
    require_packages()
    config = options.config or ""
    name = f"{config.rpartition('/')[2].removesuffix('.yaml')}-{predictor.image_size}px"
    folder = GraphFolder(options.exported_dir or default_folder(), name, identity_of(predictor, config, predictor.image_size), options.say)
    inputs = examples(predictor)

    def exporter(stage: str) -> Callable[[Path], None]:
        return lambda path: export(predictor, stage, inputs[stage], path)

    return {stage: folder.file(f"{stage}.onnx", exporter(stage)) for stage in SIGNATURES}, inputs


def _counted(stage: OrtStage) -> str:
    return " ".join(f"{provider.removesuffix('ExecutionProvider')} {nodes.total()}" for provider, nodes in stage.placement.items())
