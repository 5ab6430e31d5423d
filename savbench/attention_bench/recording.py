"""Recording a model's attention calls: `torch.nn.functional.scaled_dot_product_attention`, intercepted for one frame."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch


@dataclass
class RecordedCall:
    """Equal calls of one frame: the same part, shapes, dtypes and arguments."""

    part: str
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """Query, key and value of the first of these calls, in host memory, with their original memory layout."""
    attn_mask: torch.Tensor | None
    options: dict[str, Any]
    """Those of dropout_p, is_causal, scale and enable_gqa that are not the defaults."""
    calls: int = 0
    modules: Counter[str] = field(default_factory=Counter)
    """Number of calls by module, numbers in its name written as `*`."""

    def on(self, device: torch.device) -> Callable[[], torch.Tensor]:
        """A function that repeats the call on a device. It looks up PyTorch's function when it runs."""
        from torch.nn import functional

        query, key, value = (tensor.to(device) for tensor in self.inputs)
        attn_mask = None if self.attn_mask is None else self.attn_mask.to(device)
        return lambda: functional.scaled_dot_product_attention(query, key, value, attn_mask, **self.options)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of query, key and value."""
        return tuple(tuple(tensor.shape) for tensor in self.inputs)

    @property
    def flop(self) -> int:
        """Operations of both matrix products, 2 B H Nq Nk (D + Dv); masked and causal calls count in full."""
        (*batch, queries, width), (*key_batch, keys, _), (*_, value_width) = self.shapes
        # Batch dimensions broadcast; grouped heads have the query's number.
        matrices = math.prod(map(max, itertools.zip_longest(reversed(batch), reversed(key_batch), fillvalue=1)))
        return 2 * matrices * queries * keys * (width + value_width)


DEFAULTS: dict[str, Any] = {"dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}


def record_calls(run: Callable[[], object], model: torch.nn.Module) -> list[RecordedCall]:
    """Run a function of a model and return its distinct attention calls in order of first appearance.

    During the run PyTorch's function is replaced and all modules have hooks, so it must not be timed.
    """
    from torch.nn import functional
    from torch.nn.modules import module as hooks

    native: Callable[..., torch.Tensor] = functional.scaled_dot_product_attention
    names = {module: name for name, module in model.named_modules()}
    active: list[torch.nn.Module] = []
    found: dict[tuple[object, ...], RecordedCall] = {}

    def recording(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        given: dict[str, Any] = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        options = {name: setting for name, setting in given.items() if setting != DEFAULTS[name]}
        path = next((names[module] for module in reversed(active) if names.get(module)), "")
        part = part_of(path, any(_is_windowed(module) for module in active))
        inputs = (query, key, value)
        mask_kind = None if attn_mask is None else (tuple(attn_mask.shape), attn_mask.dtype)
        kind = (part, *((tuple(tensor.shape), tensor.dtype) for tensor in inputs), mask_kind, *options.items())
        if kind not in found:
            mask_copy = None if attn_mask is None else _host_copy(attn_mask)
            found[kind] = RecordedCall(part, (_host_copy(query), _host_copy(key), _host_copy(value)), mask_copy, options)
        found[kind].calls += 1
        found[kind].modules[re.sub(r"\b\d+\b", "*", path)] += 1
        return native(query, key, value, attn_mask, **options)

    def leave(*_: object) -> None:
        active.pop()

    handles = [
        hooks.register_module_forward_pre_hook(lambda module, _: active.append(module)),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
    functional.scaled_dot_product_attention = recording  # type: ignore[assignment]
    try:
        run()
    finally:
        functional.scaled_dot_product_attention = native
        for handle in handles:
            handle.remove()
    return list(found.values())


def part_of(path: str, windowed: bool) -> str:
    """The part of a model, in words, from the name of one of its modules; the name's first component if the part is unknown.

    Args:
        path: dotted name, for example `memory_attention.layers.0.cross_attn_image`.
        windowed: whether the call works within windows of the image.
    """
    if "memory_attention" in path:
        return f"memory attention, {'cross' if 'cross' in path else 'self'}"
    if "mask_decoder" in path:
        return "mask decoder"
    if "image_encoder" in path or "vision_encoder" in path:
        return f"image encoder, {'windows' if windowed else 'global'}"
    if "perceiver" in path:
        return "memory compression"
    return path.partition(".")[0].replace("_", " ") or "other"


def shape_text(shape: Sequence[int]) -> str:
    """`1x8x64x32`."""
    return "x".join(map(str, shape))


def dtypes_text(call: RecordedCall) -> str:
    """`float32`, or `float32,float32,bfloat16` if query, key and value differ."""
    names = [str(tensor.dtype).removeprefix("torch.") for tensor in call.inputs]
    return names[0] if len(set(names)) == 1 else ",".join(names)


def arguments_text(call: RecordedCall) -> str:
    """Arguments that are not the defaults, for example `mask=float32 1x1x64x64 scale=1.0`."""
    return " ".join(_arguments(call))


def _arguments(call: RecordedCall) -> Iterator[str]:
    if call.attn_mask is not None:
        yield f"mask={str(call.attn_mask.dtype).removeprefix('torch.')} {shape_text(call.attn_mask.shape)}"
    for name, setting in call.options.items():
        # transformers passes the default scale explicitly.
        if name != "scale" or not math.isclose(setting * math.sqrt(call.inputs[0].shape[-1]), 1):
            yield f"{name}={setting}"


def _is_windowed(module: object) -> bool:
    """Whether a block of an image encoder attends within windows. Hiera and SAM v1 name the window's side differently."""
    return any(isinstance(side := getattr(module, name, None), int) and side > 0 for name in ("window_size", "window"))


def _host_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)
