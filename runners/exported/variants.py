"""Derives graphs in other formats of numbers from the exported ones, which are float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

FLOAT32_OPS = ("LayerNormalization", "Softmax", "Pow", "ReduceMean", "Sqrt", "Reciprocal")
"""Operators that stay in float32: norms, powers and softmax, as under torch's autocast. A square in float16 overflows from 256 on."""
INT8_OPS = ("Conv", "MatMul", "Gemm")
"""Operators whose inputs and weights become int8."""
POINT_INPUTS = frozenset({"points", "labels"})
"""Inputs whose nodes stay in float32: float16 has a step of a pixel above 1,024, and the sines of their positions would differ."""


def to_float16(source: Path, path: Path) -> None:
    """Write a graph that computes in float16, with float32 at its inputs and outputs.

    ONNX Runtime's converter does the work, as torch's exporter does not know the dtypes of autocast on another device than its own.
    """
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = onnx.load(source)
    converted = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT32_OPS], node_block_list=_nodes_of_points(model.graph)
    )
    onnx.save(converted, path)


def to_int8(source: Path, path: Path, images: Sequence[torch.Tensor]) -> None:
    """Write the image encoder's graph with int8 convolutions and matrix products: quantise and dequantise nodes around them (QDQ).

    Weights per channel, activations with one symmetric range each, as TensorRT takes them: its least and greatest value over the images.

    Args:
        images: (1, 3, imgsz, imgsz) float32 on the CPU, the encoder's inputs to calibrate on.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class _Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image.numpy()}

    quantize_static(
        source,
        path,
        _Images(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(INT8_OPS),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "MatMulConstBOnly": True},
    )


def _nodes_of_points(graph: Any) -> list[str]:
    """Names of the nodes that depend on the points alone, and not on features."""
    sources: dict[str, frozenset[str]] = {one.name: frozenset({one.name}) for one in graph.input}
    found = []
    for node in graph.node:  # in the order in which they run
        reached = frozenset().union(*(sources.get(name, frozenset()) for name in node.input))
        sources.update(dict.fromkeys(node.output, reached))
        if reached and reached <= POINT_INPUTS:
            found.append(node.name)
    return found
