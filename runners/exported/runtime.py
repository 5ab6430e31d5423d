"""Gets a predictor's graphs, from the cache or by exporting them, and puts them behind the predictor."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Protocol

import torch

from runners.base import RunnerError, RuntimeReport
from runners.exported import EXPORT_DTYPES, INT8, ON_GPU, no_dtype, no_gpu
from runners.exported.boundary import SIGNATURES
from runners.exported.cache import GraphFolder, Kept, default_folder
from runners.exported.graphs import dynamic_shapes, examples, export, identity_of, require_packages
from runners.exported.ort import OrtStage, import_runtime, tensorrt_options
from runners.exported.trt import TrtStage, build_engine, engine_name, import_tensorrt
from runners.exported.variants import to_float16, to_int8

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from runners.base import BuildOptions, Frame
    from runners.exported.boundary import Boundary


class LoadedStage(Protocol):
    """A stage in a runtime."""

    @property
    def placement(self) -> str: ...

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]: ...


def replace_stages(
    boundary: Boundary, options: BuildOptions, device: torch.device, prepare: Callable[[Frame], torch.Tensor]
) -> RuntimeReport:
    """Let the runtime of the options run a predictor's stages, from now on and until the process ends.

    Args:
        boundary: of the predictor, which is on the device.
        prepare: makes a frame the image encoder's input, (3, imgsz, imgsz) float32, which the next call may overwrite.

    Raises:
        RunnerError: the runtime is missing, does not have the dtype, or cannot run all nodes on the device.
    """
    if options.autocast_dtype not in EXPORT_DTYPES[options.runtime]:
        raise RunnerError(no_dtype(options.runtime, options.autocast_dtype))
    if options.runtime in ON_GPU and device.type != "cuda":
        raise RunnerError(no_gpu(options.runtime, str(device)))
    package = import_tensorrt() if options.runtime.startswith("tensorrt") else import_runtime()
    made = ExportedModel(boundary, options)
    graphs = made.graphs(prepare)
    begun = time.perf_counter()
    stages = {stage: made.load(stage, graph, device) for stage, graph in graphs.items()}
    load_s = time.perf_counter() - begun
    difference = " | ".join(f"{name} {_difference(boundary, name, stage, made.inputs[name]):.1g}" for name, stage in stages.items())
    boundary.install(stages)
    return RuntimeReport(
        version=f"{package.__name__} {package.__version__}",
        placement=" | ".join(f"{name} {stage.placement}" for name, stage in stages.items()),
        difference=difference,
        folder=made.path,
        export_s=sum(file.made_s for file in made.files),
        load_s=load_s,
        size_mib=sum(graph.size_mib for graph in graphs.values()),
    )


class ExportedModel:
    """The graphs of one predictor, in the cache."""

    def __init__(self, boundary: Boundary, options: BuildOptions) -> None:
        """
        Raises:
            RunnerError: a package is missing, or the cache cannot be written.
        """
        require_packages()
        self._boundary, self._options = boundary, options
        config = options.config or ""
        name = f"{config.rpartition('/')[2].removesuffix('.yaml')}-{boundary.predictor.image_size}px"
        identity = identity_of(boundary, config)
        self._folder = GraphFolder(options.exported_dir or default_folder(), name, identity, options.say)
        self.files: list[Kept] = []
        """Files that were used, each also when another was made from it."""
        self.inputs = examples(boundary)
        """An example of each stage's inputs."""

    @property
    def path(self) -> Path:
        """The folder of the graphs."""
        return self._folder.path

    def graphs(self, prepare: Callable[[Frame], torch.Tensor]) -> dict[str, Kept]:
        """The graphs that the options ask for, by stage; made if they are missing.

        Args:
            prepare: as of `replace_stages`.

        Raises:
            RunnerError: a stage cannot be exported, or there is nothing to calibrate on.
        """
        found = {stage: self._file(f"{stage}.onnx", self._exporter(stage)) for stage in SIGNATURES}
        if self._options.autocast_dtype == "float16":
            return {stage: self._file(f"{stage}.float16.onnx", _deriver(graph)) for stage, graph in found.items()}
        if self._options.runtime.endswith(INT8):
            found["image_encoder"] = self._quantised(found["image_encoder"], prepare)
        return found

    def load(self, stage: str, graph: Kept, device: torch.device) -> LoadedStage:
        """A graph in the runtime of the options, on the device.

        Raises:
            RunnerError: the runtime cannot run all of it there.
        """
        dtype, shapes = self._options.autocast_dtype, dynamic_shapes(self._boundary.predictor, stage, self.inputs[stage])
        if self._options.runtime.startswith("tensorrt"):
            name = engine_name(graph.path.name.removesuffix(".onnx"), dtype, device)
            engine = self._file(name, lambda path: build_engine(stage, graph.path, path, dtype, shapes))
            return TrtStage(stage, engine.path, *SIGNATURES[stage], device)
        tensorrt = tensorrt_options(self.path, dtype, shapes) if self._options.runtime == "onnx-tensorrt" else None
        return OrtStage(stage, graph.path, device, self.inputs[stage], tensorrt)

    def _file(self, name: str, make: Callable[[Path], None]) -> Kept:
        self.files.append(self._folder.file(name, make))
        return self.files[-1]

    def _exporter(self, stage: str) -> Callable[[Path], None]:
        return lambda path: export(self._boundary, stage, self.inputs[stage], path)

    def _quantised(self, graph: Kept, prepare: Callable[[Frame], torch.Tensor]) -> Kept:
        frames: Sequence[Frame] = [] if self._options.calibration is None else self._options.calibration()
        if not frames:
            raise RunnerError(f"--runtime {self._options.runtime}: has no frames to calibrate on; give a split with --split_dir")
        images = [prepare(frame)[None].cpu().clone() for frame in frames]
        digest = hashlib.sha256(b"".join(image.numpy().tobytes() for image in images)).hexdigest()[:8]
        return self._file(f"image_encoder.int8-{digest}.onnx", lambda path: to_int8(graph.path, path, images))


def _difference(boundary: Boundary, name: str, stage: LoadedStage, inputs: tuple[torch.Tensor, ...]) -> float:
    """Largest difference between a loaded stage and torch's in float32, over its outputs, each relative to its largest value."""
    device = boundary.predictor.device.type
    with torch.inference_mode(), torch.autocast(device, enabled=False):
        expected, found = boundary.torch_stages()[name](*inputs), stage(*inputs)
    pairs = zip(expected, found, strict=True)
    return max(float((there.float() - here).abs().max() / here.abs().max()) for here, there in pairs)


def _deriver(graph: Kept) -> Callable[[Path], None]:
    return lambda path: to_float16(graph.path, path)
