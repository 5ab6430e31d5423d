"""Runs a model's stages as exported graphs, behind upstream's own predictor; see `runners.exported.boundary`.

Importing this package imports neither a runtime nor torch: what `--runtime` takes is plain data.
"""

from __future__ import annotations

TORCH = "torch"
INT8 = "-int8"
"""End of the name of a runtime whose image encoder is quantised."""
EXPORT_DTYPES = {
    "onnx": ("float32", "float16"),
    "onnx-int8": ("float32",),
    "onnx-tensorrt": ("float32", "float16"),
    "tensorrt": ("float32", "float16", "bfloat16"),
    "tensorrt-int8": ("float32",),
}
"""Values of --autocast_dtype that each runtime of exported graphs has. The ones with int8 compute the rest in this dtype."""
RUNTIMES = (TORCH, *EXPORT_DTYPES)
"""Values of --runtime; `torch` exports nothing."""
ON_GPU = frozenset({"onnx-tensorrt", "tensorrt", "tensorrt-int8"})
"""Runtimes that need an NVIDIA GPU."""
EXPORTABLE = frozenset({"edgetam", "sam2"})
"""Families whose stages can be exported, from their official code."""
EXPORTERS = ("onnx", "onnxscript")
"""Packages that torch's exporter needs, whatever then runs the graphs."""
CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
"""ONNX Runtime's names of what runs the nodes of a graph."""
CALIBRATION_FRAMES = 16
"""Frames that ranges of activations are measured on, for int8."""


def no_exported_stages(model: str, runtime: str) -> str:
    """What an error says of a model that cannot be exported."""
    return f"--runtime {runtime}: {model} has no exported stages, only {' and '.join(sorted(EXPORTABLE))} have; use --runtime {TORCH}"


def no_dtype(runtime: str, dtype: str) -> str:
    """What an error says of a dtype that a runtime does not have."""
    return f"--runtime {runtime}: has no {dtype}; use --autocast_dtype {' or '.join(EXPORT_DTYPES[runtime])}"


def no_gpu(runtime: str, device: str) -> str:
    """What an error says of a runtime that runs on GPUs only."""
    return f"--runtime {runtime}: runs on NVIDIA GPUs only, not on {device}; use --runtime onnx"
