"""Runs a model's stages as exported graphs, behind upstream's own predictor; see `runners.exported.boundary`.

Importing this package imports neither a runtime nor torch; `RUNTIMES` is what `--runtime` takes.
"""

from __future__ import annotations

TORCH = "torch"
RUNTIMES = (TORCH, "onnx")
"""`torch` exports nothing."""
EXPORTABLE = frozenset({"sam2"})
"""Families whose stages can be exported."""
EXPORT_DTYPES = {"onnx": ("float32",)}
"""Values of --autocast_dtype that each runtime has."""


def no_exported_stages(family: str, runtime: str) -> str:
    """What an error says of a model that cannot be exported."""
    return f"--runtime {runtime}: {family} has no exported stages, only {', '.join(sorted(EXPORTABLE))} has; use --runtime {TORCH}"


def no_dtype(runtime: str, dtype: str) -> str:
    """What an error says of a dtype that a runtime does not have."""
    return f"--runtime {runtime}: has no {dtype}; use --autocast_dtype {' or '.join(EXPORT_DTYPES[runtime])}"
