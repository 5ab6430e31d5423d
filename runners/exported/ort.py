"""Runs exported graphs in ONNX Runtime, on tensors of torch where they lie: nothing is copied between host and device, or at all.

A provider that cannot run an operator leaves it to the CPU's without an error, and one that cannot be loaded leaves it everything. So one
call of each graph is profiled after it was loaded, which shows what ran where in every release of ONNX Runtime. Arithmetic on shapes, in
integers, stays on the CPU by design; any other node on another provider is an error that names it. The option
`session.disable_cpu_ep_fallback` refuses both alike, and cannot be used.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from runners.base import RunnerError
from runners.exported import CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER
from runners.exported.streams import SideStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INSTALL = "run .venv/bin/pip install -r requirements-onnx.txt"
PROVIDERS = {"cpu": CPU_PROVIDER, "cuda": CUDA_PROVIDER}
"""The provider for each kind of device."""

_DTYPES = {
    "tensor(float)": (torch.float32, 1),
    "tensor(int32)": (torch.int32, 6),
    "tensor(bool)": (torch.bool, 9),
    "tensor(float16)": (torch.float16, 10),
}
"""Types of a graph's inputs and outputs: torch's, and ONNX's number."""
_SHOWN = 5
"""Nodes named in an error."""


def import_runtime() -> Any:
    """The package `onnxruntime`.

    Raises:
        RunnerError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RunnerError(f"--runtime onnx: cannot import onnxruntime ({error}); {INSTALL}, or use --runtime torch") from error
    return onnxruntime


class OrtStage:
    """A stage: called with tensors of the device, in the order of its inputs, it returns new tensors on the device."""

    def __init__(
        self, name: str, graph: Path, device: torch.device, example: Sequence[torch.Tensor], tensorrt: Mapping[str, str] | None = None
    ) -> None:
        """Load a graph and check where its nodes run.

        Args:
            name: of the stage, for errors.
            example: inputs to call it with once.
            tensorrt: options of the TensorRT provider, to run it there; see `tensorrt_options`.

        Raises:
            RunnerError: the runtime cannot load the graph, or not all of it runs on the device.
        """
        ort = import_runtime()
        self._provider = PROVIDERS[device.type] if tensorrt is None else TENSORRT_PROVIDER
        if self._provider not in ort.get_available_providers():
            raise RunnerError(
                f"the stage {name} on {device}: this onnxruntime {ort.__version__} has no {self._provider}, only "
                f"{', '.join(ort.get_available_providers())}; install onnxruntime-gpu for your CUDA (docs/runtimes.md), or use --device cpu"
            )
        self._device = device
        self._stream = SideStream(device)
        with tempfile.TemporaryDirectory(prefix="placement-") as folder:
            self._session = self._load(ort, name, graph, tensorrt or {}, f"{folder}/{name}")
            self._inputs = [(one.name, *_type_of(name, one)) for one in self._session.get_inputs()]
            self._outputs = [(one.name, *_type_of(name, one), one.shape) for one in self._session.get_outputs()]
            self._run_options = ort.RunOptions()
            # the stream below orders what runs on a GPU; the host need not wait
            self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self(*example)
            self._placed = placement(self._session.end_profiling())
        check_placement(name, self._provider, self._placed)

    @property
    def placement(self) -> str:
        """What runs it, for the row: the provider, and its number of nodes."""
        return f"{self._provider.removesuffix('ExecutionProvider')} {self._placed[self._provider].total()}"

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        binding = self._session.io_binding()
        kind, index = self._device.type, self._device.index or 0
        held = []  # until the run has been queued
        for (name, dtype, number), tensor in zip(self._inputs, tensors, strict=True):
            given = tensor.detach().to(self._device, dtype).contiguous()
            held.append(given)
            binding.bind_input(name, kind, index, number, tuple(given.shape), given.data_ptr())
        made = []
        for name, dtype, number, shape in self._outputs:
            made.append(torch.empty(shape, dtype=dtype, device=self._device))
            binding.bind_output(name, kind, index, number, shape, made[-1].data_ptr())
        with self._stream.after_torch(held):
            self._session.run_with_iobinding(binding, self._run_options)
        return tuple(made)

    def _load(self, ort: Any, name: str, graph: Path, tensorrt: Mapping[str, str], profile: str) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # otherwise the threads of one graph keep their cores busy while torch or the next graph wants them
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_profiling = True
        options.profile_file_prefix = profile
        options.log_severity_level = 3  # the placement is checked, not read in warnings
        on_gpu: dict[str, str] = {}
        if self._device.type == "cuda":
            on_gpu = {"device_id": str(self._device.index or 0), "user_compute_stream": str(self._stream.handle)}
        providers = [(self._provider, {**on_gpu, **tensorrt})]
        if self._provider == TENSORRT_PROVIDER:
            providers.append((CUDA_PROVIDER, on_gpu))  # what TensorRT leaves is then named as CUDA's
        try:
            return ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # its errors share no class
            raise RunnerError(
                f"onnxruntime {ort.__version__} cannot load the stage {name} for {self._provider} ({' '.join(str(error).split())[:300]})"
            ) from error


def tensorrt_options(folder: Path, dtype: str, shapes: Mapping[str, tuple[Sequence[int], ...]]) -> dict[str, str]:
    """Options of the TensorRT provider: engines are kept in a folder, and built for a range of shapes.

    Args:
        dtype: of --autocast_dtype; the provider needs leave to use float16 that is in the graph.
        shapes: least, usual and greatest shape of each input with a dynamic dimension.
    """
    texts = [",".join(f"{name}:{'x'.join(map(str, sizes[which]))}" for name, sizes in shapes.items()) for which in range(3)]
    profile = (
        dict(zip(("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes"), texts, strict=True)) if shapes else {}
    )
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": str(int(dtype == "float16")),
        **profile,
    }


def placement(profile: str | Path) -> dict[str, Counter[str]]:
    """Read from a profile of ONNX Runtime which provider ran what.

    Returns:
        By provider, the nodes that computed something other than shapes: how often each kind of operator, with the name of one.
    """
    found: dict[str, Counter[str]] = {}
    for event in json.loads(Path(profile).read_text(encoding="utf-8")):
        details = event.get("args", {})
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and not _is_on_shapes(details):
            name = event["name"].removesuffix("_kernel_time")
            found.setdefault(details["provider"], Counter())[f"{details['op_name']} {name}"] += 1
    return found


def check_placement(stage: str, provider: str, placed: Mapping[str, Counter[str]]) -> None:
    """
    Raises:
        RunnerError: nodes of a stage ran on another provider.
    """
    strays = [f"{node} on {other}" for other, nodes in placed.items() if other != provider for node in nodes]
    if strays or provider not in placed:
        shown = ", ".join(strays[:_SHOWN]) + ", ..." * (len(strays) > _SHOWN) or "none at all"
        raise RunnerError(
            f"{provider} does not run all of the stage {stage}: {len(strays)} nodes ran elsewhere ({shown}); use another --autocast_dtype, "
            "another onnxruntime, or --runtime torch"
        )


def _is_on_shapes(details: Mapping[str, Any]) -> bool:
    """Whether a node takes and returns integers and booleans only."""
    kinds = {kind for side in ("input_type_shape", "output_type_shape") for tensor in details.get(side, []) for kind in tensor}
    return bool(kinds) and kinds <= {"int32", "int64", "bool"}


def _type_of(stage: str, tensor: Any) -> tuple[torch.dtype, int]:
    if tensor.type not in _DTYPES:
        raise RunnerError(f"the stage {stage} has a {tensor.type} named {tensor.name}, which is not prepared; use another --autocast_dtype")
    return _DTYPES[tensor.type]
