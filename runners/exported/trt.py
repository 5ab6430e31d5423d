"""Runs exported graphs as TensorRT engines, with the `tensorrt` package of NVIDIA (10.3 on JetPack 6).

An engine is built for one GPU and one version of TensorRT, in minutes, and kept in the cache. float32 and float16 graphs, and those with
int8, are built strongly typed: TensorRT computes every node in the dtype that the graph gives it and chooses none itself. There is no
bfloat16 graph, so for bfloat16 it is allowed to choose it. A graph of which TensorRT cannot parse a node is refused; an engine runs whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from runners.base import RunnerError
from runners.exported.streams import SideStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_DTYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "INT32": torch.int32, "BOOL": torch.bool}


def import_tensorrt() -> Any:
    """The package `tensorrt`.

    Raises:
        RunnerError: it is not installed.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise RunnerError(
            f"--runtime tensorrt: cannot import tensorrt ({error}); on a Jetson it is JetPack's: sudo apt-get install python3-libnvinfer, "
            "and an environment made by scripts/setup.sh sees it; elsewhere .venv/bin/pip install tensorrt; or use --runtime onnx"
        ) from error
    return tensorrt


def engine_name(stem: str, dtype: str, device: torch.device) -> str:
    """File name of an engine, which holds all that it depends on beyond its graph."""
    gpu = "".join(c if c.isalnum() else "_" for c in torch.cuda.get_device_name(device))
    return f"{stem}.{dtype}.tensorrt-{import_tensorrt().__version__}.{gpu}.engine"


def build_engine(stage: str, graph: Path, path: Path, dtype: str, shapes: Mapping[str, tuple[Sequence[int], ...]]) -> None:
    """Build an engine and write it.

    Args:
        dtype: of --autocast_dtype.
        shapes: least, usual and greatest shape of each input with a dynamic dimension.

    Raises:
        RunnerError: TensorRT cannot parse the graph, does not have the dtype, or cannot build the engine.
    """
    trt = import_tensorrt()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    typed = dtype != "bfloat16"
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if typed else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        faults = [parser.get_error(number) for number in range(parser.num_errors)]
        said = "; ".join(f"{fault.node_name() or 'the graph'}: {' '.join(fault.desc().split())}" for fault in faults[:3])
        raise RunnerError(f"TensorRT {trt.__version__} cannot run all nodes of the stage {stage} ({said}); use --runtime onnx")
    config = builder.create_builder_config()
    if not typed:
        if not hasattr(trt.BuilderFlag, "BF16"):
            raise RunnerError(f"--autocast_dtype bfloat16: TensorRT {trt.__version__} does not have it; use float16 or float32")
        config.set_flag(trt.BuilderFlag.BF16)
    config.clear_flag(trt.BuilderFlag.TF32)  # as torch's float32 arm computes
    if shapes:
        config.add_optimization_profile(_profile(builder, shapes))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RunnerError(
            f"TensorRT {trt.__version__} cannot build an engine of the stage {stage} in {dtype}; its messages are in the log above; free "
            "memory, or use --runtime onnx"
        )
    path.write_bytes(engine)


def _profile(builder: Any, shapes: Mapping[str, tuple[Sequence[int], ...]]) -> Any:
    """The range of shapes that the engine must take."""
    profile = builder.create_optimization_profile()
    for name, (least, usual, most) in shapes.items():
        profile.set_shape(name, tuple(least), tuple(usual), tuple(most))
    return profile


class TrtStage:
    """A stage: called with tensors of the GPU, in the order of its inputs, it returns new tensors on the GPU."""

    def __init__(self, name: str, engine: Path, inputs: Sequence[str], outputs: Sequence[str], device: torch.device) -> None:
        """
        Raises:
            RunnerError: TensorRT cannot load the engine.
        """
        trt = import_tensorrt()
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise RunnerError(
                f"{engine}: TensorRT {trt.__version__} cannot load it for {device}; delete the file, which is then built again"
            )
        self._runtime = runtime  # must outlive the engine
        self._context = self._engine.create_execution_context()
        self._name, self._device, self._stream = name, device, SideStream(device)
        self._inputs = [(one, self._dtype(one)) for one in inputs]
        self._outputs = [(one, self._dtype(one)) for one in outputs]

    @property
    def placement(self) -> str:
        """What runs it, for the row."""
        return f"TensorRT {self._engine.num_layers}"

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        held = [tensor.detach().to(self._device, dtype).contiguous() for (_, dtype), tensor in zip(self._inputs, tensors, strict=True)]
        for (name, _), tensor in zip(self._inputs, held, strict=True):
            if not self._context.set_input_shape(name, tuple(tensor.shape)):
                raise RunnerError(f"the engine of {self._name} does not take {name} of shape {tuple(tensor.shape)}; use --runtime onnx")
            self._context.set_tensor_address(name, tensor.data_ptr())
        made = []
        for name, dtype in self._outputs:
            made.append(torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=dtype, device=self._device))
            self._context.set_tensor_address(name, made[-1].data_ptr())
        with self._stream.after_torch(held):
            if not self._context.execute_async_v3(self._stream.handle):
                raise RunnerError(f"TensorRT could not run the stage {self._name}; its message is in the log above")
        return tuple(made)

    def _dtype(self, name: str) -> torch.dtype:
        return _DTYPES[self._engine.get_tensor_dtype(name).name]
