"""Exports the stages of a predictor as ONNX graphs, in float32.

The number of memories, of pointers and of points is dynamic; everything else has one size. Exporting runs each stage once, on inputs of
noise that the stage before it has made, and takes seconds for nano and minutes for the large models.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from runners.base import RunnerError
from runners.exported import EXPORTERS
from runners.exported.boundary import SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runners.exported.boundary import Boundary

OPSET = 18
"""Version of ONNX's operators: the one that torch's exporter writes without converting, and that TensorRT 10.3 of JetPack 6 reads."""
EXAMPLE_MEMORIES, EXAMPLE_POINTERS, EXAMPLE_POINTS = 3, 2, 2
"""Sizes of the dynamic dimensions in the exported call; torch takes a size of 0 or 1 for a constant."""

_AXES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "memory_attention": {
        "memories": (0, "memories"),
        "memory_positions": (0, "memories"),
        "pointers": (0, "pointers"),
        "pointer_positions": (0, "pointers"),
    },
    "mask_decoder": {"points": (1, "points"), "labels": (1, "points")},
}
"""Of inputs with a dynamic dimension: the dimension and its name."""


DYNAMIC_SIZES = {"memories": (1, 7, 8), "pointers": (1, 16, 64), "points": (1, 1, 16)}
"""Least, usual and greatest size of each dynamic dimension, for engines that are built for a range; pointers before they are split."""


def dynamic_shapes(predictor: Any, stage: str, inputs: tuple[torch.Tensor, ...]) -> dict[str, tuple[list[int], ...]]:
    """Least, usual and greatest shape of each of a stage's inputs that has a dynamic dimension.

    Args:
        inputs: of the stage, as `examples` makes them.
    """
    found = {}
    for name, tensor in zip(SIGNATURES[stage].inputs, inputs, strict=True):
        if name not in _AXES.get(stage, {}):
            continue
        axis, dimension = _AXES[stage][name]
        factor = predictor.hidden_dim // predictor.mem_dim if dimension == "pointers" else 1
        found[name] = tuple([*tensor.shape[:axis], size * factor, *tensor.shape[axis + 1 :]] for size in DYNAMIC_SIZES[dimension])
    return found


def require_packages() -> None:
    """
    Raises:
        RunnerError: a package that exporting needs is missing.
    """
    missing = [package for package in EXPORTERS if importlib.util.find_spec(package) is None]
    if missing:
        raise RunnerError(f"exporting needs {' and '.join(missing)}; run .venv/bin/pip install -r requirements-onnx.txt")


def identity_of(boundary: Boundary, config: str) -> dict[str, Any]:
    """All that the graphs of a predictor depend on.

    Args:
        config: upstream's name of the model's configuration.
    """
    versions = {package: importlib.metadata.version(package) for package in ("torch", *EXPORTERS)}
    return {
        "family": boundary.family,  # EdgeTAM's package has the name of SAM 2's
        "weights": _digest_of_weights(boundary.predictor),
        "config": config,
        "imgsz": int(boundary.predictor.image_size),
        "opset": OPSET,
        **versions,
        "code": _digest_of_code(),
    }


def examples(boundary: Boundary) -> dict[str, tuple[torch.Tensor, ...]]:
    """Inputs for each stage, of noise from a fixed seed, on the predictor's device."""
    predictor = boundary.predictor
    device, imgsz = predictor.device, predictor.image_size
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    stages = boundary.torch_stages()
    with torch.inference_mode():
        image = noise(1, 3, imgsz, imgsz)
        features_s4, features_s8, features = stages["image_encoder"](image)
        grid, split = boundary.grid, predictor.hidden_dim // predictor.mem_dim
        memories = [noise(EXAMPLE_MEMORIES, boundary.memory_tokens, 1, predictor.mem_dim) for _ in range(2)]
        pointers = [noise(EXAMPLE_POINTERS * split, 1, predictor.mem_dim) for _ in range(2)]
        position = predictor.image_encoder.neck.position_encoding(features)
        attention = (features, position, *memories, *pointers)
        (conditioned,) = stages["memory_attention"](*attention)
    points, labels = noise(1, EXAMPLE_POINTS, 2).abs() * imgsz / 4, torch.ones(1, EXAMPLE_POINTS, dtype=torch.int32, device=device)
    prompt = (points, labels, noise(1, 1, 4 * grid, 4 * grid), torch.ones(1, dtype=torch.bool, device=device))
    made = ((image,), attention, (conditioned, features_s4, features_s8, *prompt), (features, noise(1, 1, imgsz, imgsz)))
    # tensors of inference mode cannot be exported
    return {name: tuple(tensor.clone() for tensor in inputs) for name, inputs in zip(SIGNATURES, made, strict=True)}


def export(boundary: Boundary, stage: str, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    """Write one stage as an ONNX graph.

    Args:
        inputs: of the stage, as `examples` makes them.

    Raises:
        RunnerError: torch cannot export it.
    """
    signature, module = SIGNATURES[stage], boundary.torch_stages()[stage]
    axes = _AXES.get(stage, {})
    dimensions = {name: torch.export.Dim(name, min=1) for _, name in axes.values()}
    shapes = tuple({axes[name][0]: dimensions[axes[name][1]]} if name in axes else {} for name in signature.inputs)
    device = boundary.predictor.device.type
    with torch.no_grad(), torch.autocast(device, enabled=False), boundary.exportable(module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own exporter
        try:
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=signature.inputs,
                output_names=signature.outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
            program.save(path, external_data=False)
        except (torch.onnx.errors.OnnxExporterError, ImportError, TypeError) as error:
            why = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"
            raise RunnerError(
                f"torch {torch.__version__} cannot export the stage {stage} ({why}); another release of torch or onnxscript may, or use "
                "--runtime torch"
            ) from error


def _digest_of_weights(predictor: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(predictor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_of_code() -> str:
    """Of the modules that decide what a graph computes."""
    files = (Path(__file__).with_name(f"{name}.py") for name in ("boundary", "edgetam", "graphs", "rope"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
