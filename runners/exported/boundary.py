"""The boundary at which exported graphs replace a SAM 2 predictor: four stages, each a function of tensors.

`Boundary.torch_stages` gives upstream's own stages, `Boundary.install` puts any stages behind upstream's predictor. The predictor keeps the
rest: prompts, objects that come late, the memory bank, choosing a mask, pointers of absent objects, filling holes. So the same four
functions serve to export a model, to run exported graphs, and to compare both on the same inputs. `runners.exported.edgetam` derives
EdgeTAM's boundary.

Shapes: b objects (1: upstream's predictor runs one after the other), c channels, h x w the grid of cells of imgsz / 16 pixels, n points, m
memories of t tokens, p pointers' tokens, d channels of a memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from runners.exported.rope import real_forward, real_rope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    StageFunction = Callable[..., tuple[torch.Tensor, ...]]


class Signature(NamedTuple):
    """Names of a stage's tensors, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


SIGNATURES = {
    # (1, 3, imgsz, imgsz) normalised; features at strides 4, 8, 16, the first two as the mask decoder takes them
    "image_encoder": Signature(("image",), ("features_s4", "features_s8", "features")),
    # (b, c, h, w) twice; (m, t, b, d) twice; (p, b, d) twice; returns (b, c, h, w)
    "memory_attention": Signature(
        ("features", "position", "memories", "memory_positions", "pointers", "pointer_positions"), ("conditioned",)
    ),
    # features as above; (b, n, 2) in pixels of the input; (b, n); (b, 1, 4 h, 4 w) logits; (1,) bool whether they are a prompt.
    # Returns the four masks (b, 4, 4 h, 4 w), their estimated IoU (b, 4), tokens (b, 4, c), and the object score (b, 1).
    "mask_decoder": Signature(
        ("conditioned", "features_s4", "features_s8", "points", "labels", "mask", "has_mask"),
        ("masks", "ious", "tokens", "object_score"),
    ),
    # (b, c, h, w) and (b, 1, imgsz, imgsz); returns (b, d, h, w), or EdgeTAM's latents (b, t, d)
    "memory_encoder": Signature(("features", "mask"), ("memory",)),
}
"""The stages in the order of a frame, by the names of `runners.base.STAGES`."""


class _ImageEncoder(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.encoder = predictor.image_encoder
        self.project_s4, self.project_s8 = predictor.sam_mask_decoder.conv_s0, predictor.sam_mask_decoder.conv_s1

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        s4, s8, s16 = own_forward(self.encoder, image)["backbone_fpn"]
        return self.project_s4(s4), self.project_s8(s8), s16


class MemoryAttention(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.attention = predictor.memory_attention

    def forward(
        self,
        features: torch.Tensor,
        position: torch.Tensor,
        memories: torch.Tensor,
        memory_positions: torch.Tensor,
        pointers: torch.Tensor,
        pointer_positions: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        out_lbc = own_forward(
            self.attention,
            curr=[_cells_first(features)],
            curr_pos=[_cells_first(position)],
            memory=torch.cat([memories.flatten(0, 1), pointers]),
            memory_pos=torch.cat([memory_positions.flatten(0, 1), pointer_positions]),
            **self.counts(memories, pointers),
        )
        return (out_lbc.permute(1, 2, 0).unflatten(2, features.shape[-2:]),)

    def counts(self, memories: torch.Tensor, pointers: torch.Tensor) -> dict[str, int]:
        """What upstream's `forward` is told of the tokens that it gets in one sequence."""
        return {"num_obj_ptr_tokens": pointers.shape[0]}


class _MaskDecoder(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.prompts, self.decoder = predictor.sam_prompt_encoder, predictor.sam_mask_decoder

    def forward(
        self,
        conditioned: torch.Tensor,
        features_s4: torch.Tensor,
        features_s8: torch.Tensor,
        points: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        has_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        sparse, dense = own_forward(self.prompts, points=(points, labels), boxes=None, masks=mask)
        return type(self.decoder).predict_masks(  # type: ignore[no-any-return]
            self.decoder,
            image_embeddings=conditioned,
            image_pe=type(self.prompts).get_dense_pe(self.prompts),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=torch.where(has_mask, dense, self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)),
            repeat_image=False,
            high_res_features=[features_s4, features_s8],
        )


class _MemoryEncoder(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.encoder = predictor.memory_encoder

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (own_forward(self.encoder, features, mask, skip_mask_sigmoid=True)["vision_features"],)


class Boundary:
    """Of a SAM 2 predictor. Another family's boundary overrides what differs there."""

    family = "sam2"
    attention_stage: Callable[[Any], torch.nn.Module] = MemoryAttention
    memory_stage: Callable[[Any], torch.nn.Module] = _MemoryEncoder

    def __init__(self, predictor: Any) -> None:
        """
        Args:
            predictor: a `SAM2VideoPredictor` on its device, with its weights, in evaluation mode.
        """
        self.predictor = predictor

    @property
    def grid(self) -> int:
        """h and w."""
        return int(self.predictor.image_size // self.predictor.backbone_stride)

    @property
    def memory_tokens(self) -> int:
        """t, tokens of a memory."""
        return self.grid**2

    def torch_stages(self) -> dict[str, torch.nn.Module]:
        """Upstream's own stages, as `SIGNATURES` describes them, also after `install`."""
        kinds: tuple[Callable[[Any], torch.nn.Module], ...] = (_ImageEncoder, self.attention_stage, _MaskDecoder, self.memory_stage)
        return {name: kind(self.predictor).eval() for name, kind in zip(SIGNATURES, kinds, strict=True)}

    def exportable(self, module: torch.nn.Module) -> AbstractContextManager[None]:
        """Let a stage compute in what ONNX has while the block runs."""
        return real_rope(module, self.real_forwards())

    def real_forwards(self) -> dict[type, Callable[[Any], Callable[..., torch.Tensor]]]:
        """For each class of upstream's rotary attentions, what makes the `forward` of one in real numbers."""
        from sam2.modeling.sam.transformer import RoPEAttention

        return {RoPEAttention: partial(real_forward, grid=self.grid)}

    def install(self, stages: Mapping[str, StageFunction]) -> None:
        """Let the predictor call these stages from now on. The attributes are set on its modules; their parameters stay.

        Args:
            stages: by the names of `SIGNATURES`, each a function of the named inputs, in order, that returns the named outputs, in order.
        """
        predictor = self.predictor
        predictor.forward_image = _image_call(stages["image_encoder"], _positions_of(predictor.image_encoder.neck.position_encoding))
        predictor.memory_attention.forward = _attention_call(stages["memory_attention"], self.memory_tokens)
        predictor.sam_prompt_encoder.forward = _prompt_call(predictor.sam_prompt_encoder)
        # part of the mask decoder's graph
        predictor.sam_prompt_encoder.get_dense_pe = lambda: None
        predictor.sam_mask_decoder.predict_masks = _decoder_call(stages["mask_decoder"])
        predictor.memory_encoder.forward = _memory_call(stages["memory_encoder"], self.memory_positions())

    def memory_positions(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that gives a memory its position encoding, of the same shape."""
        return _positions_of(self.predictor.memory_encoder.position_encoding)


@dataclass(frozen=True)
class _PromptInputs:
    """What the prompt encoder was given, on its way to the mask decoder, whose graph holds both."""

    points: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    has_mask: torch.Tensor


def _positions_of(encoding: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The position encoding of a feature map: upstream's, computed once for each shape."""
    made: dict[tuple[Any, ...], torch.Tensor] = {}

    def position_of(features_bchw: torch.Tensor) -> torch.Tensor:
        key = (features_bchw.shape, features_bchw.dtype, features_bchw.device)
        if key not in made:
            made[key] = encoding(features_bchw).to(features_bchw.dtype)
        return made[key]

    return position_of


def _image_call(stage: StageFunction, position_of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], dict[str, Any]]:
    def forward_image(img_batch: torch.Tensor) -> dict[str, Any]:
        features = list(stage(img_batch))
        return {
            "vision_features": features[-1],
            "vision_pos_enc": [position_of(level) for level in features],
            "backbone_fpn": features,
        }

    return forward_image


def _attention_call(stage: StageFunction, memory_tokens: int) -> Callable[..., torch.Tensor]:
    def forward(
        curr: list[torch.Tensor],
        curr_pos: list[torch.Tensor],
        memory: torch.Tensor,
        memory_pos: torch.Tensor,
        num_obj_ptr_tokens: int,
        **_: Any,
    ) -> torch.Tensor:
        side = round(curr[0].shape[0] ** 0.5)
        end = len(memory) - num_obj_ptr_tokens
        (conditioned,) = stage(
            *(x.permute(1, 2, 0).unflatten(2, (side, side)) for x in (curr[0], curr_pos[0])),
            *(x[:end].unflatten(0, (-1, memory_tokens)) for x in (memory, memory_pos)),
            memory[end:],
            memory_pos[end:],
        )
        return _cells_first(conditioned)

    return forward


def _prompt_call(prompt_encoder: Any) -> Callable[..., tuple[_PromptInputs, _PromptInputs]]:
    device = prompt_encoder.no_mask_embed.weight.device
    blank = torch.zeros(1, 1, *prompt_encoder.mask_input_size, device=device)
    no, yes = torch.tensor([False], device=device), torch.tensor([True], device=device)

    def forward(points: tuple[torch.Tensor, torch.Tensor], boxes: None, masks: torch.Tensor | None) -> tuple[_PromptInputs, _PromptInputs]:
        inputs = _PromptInputs(*points, blank if masks is None else masks, no if masks is None else yes)
        return inputs, inputs

    return forward


def _decoder_call(stage: StageFunction) -> Callable[..., tuple[torch.Tensor, ...]]:
    def predict_masks(
        *, image_embeddings: torch.Tensor, sparse_prompt_embeddings: _PromptInputs, high_res_features: list[torch.Tensor], **_: Any
    ) -> tuple[torch.Tensor, ...]:
        given = sparse_prompt_embeddings
        return stage(image_embeddings, *high_res_features, given.points, given.labels, given.mask, given.has_mask)

    return predict_masks


def _memory_call(stage: StageFunction, position_of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., dict[str, Any]]:
    def forward(pix_feat: torch.Tensor, masks: torch.Tensor, skip_mask_sigmoid: bool) -> dict[str, Any]:
        (memory,) = stage(pix_feat, masks if skip_mask_sigmoid else masks.sigmoid())
        return {"vision_features": memory, "vision_pos_enc": [position_of(memory)]}

    return forward


def own_forward(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Upstream's `forward`, also where `install` has set another on the module."""
    return type(module).forward(module, *args, **kwargs)


def _cells_first(features_bchw: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) as (h w, b, c), as upstream's transformer takes it."""
    return features_bchw.flatten(2).permute(2, 0, 1)
