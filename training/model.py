"""The model that is trained: the official classes under our configuration, unrolled over clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sam2.modeling.sam.transformer import Attention

if TYPE_CHECKING:
    from training.sampling import Batch

CONFIG = Path(__file__).resolve().parents[1] / "runners" / "nano" / "sam2_nano.yaml"

_OBJECT_BIAS = 3.0
_QUERY_STD = 0.12
"""Larger, and attention starts out saturated; smaller, and it starts out uniform."""
_PLACE_BIAS = 1.0


@dataclass(frozen=True)
class FrameOutput:
    """What the mask decoder said of every object on one frame, before absent objects are blanked."""

    logits_n4hw: torch.Tensor
    """Mask logits at a quarter of the input: the single mask, then the three candidates."""
    ious_n4: torch.Tensor
    """IoU that the model expects of each."""
    presence_n: torch.Tensor
    """Logit of the object's being visible."""
    masks_nhw: torch.Tensor
    """Logits at the input's size of the mask that is passed on to memory, blanked where the object is taken for absent."""


def build_model(side: int) -> torch.nn.Module:
    """The model with random weights for inputs of `side` pixels. Its parameters do not depend on the side."""
    config = OmegaConf.load(CONFIG)
    config.model.image_size = side
    model: torch.nn.Module = instantiate(config.model, _recursive_=True)
    with torch.no_grad():
        _start_well(model)
    return model


def _start_well(model: Any) -> None:
    """Draw the weights whose usual start keeps so narrow a model from learning for thousands of steps."""
    decoder, prompts = model.sam_mask_decoder, model.sam_prompt_encoder
    # Masks must not be taken for absent before the head has learned anything.
    torch.nn.init.constant_(decoder.pred_obj_score_head.layers[-1].bias, _OBJECT_BIAS)
    # With equal queries and keys a click attends to where it lies, and the pixels there to the click.
    for module in decoder.transformer.modules():
        if isinstance(module, Attention):
            torch.nn.init.normal_(module.q_proj.weight, std=_QUERY_STD)
            module.k_proj.weight.copy_(module.q_proj.weight)
            for projection in (module.v_proj, module.out_proj):
                torch.nn.init.xavier_uniform_(projection.weight)
            for projection in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                torch.nn.init.zeros_(projection.bias)
    # Positions, which tell prompts apart, must not drown in what all prompts share.
    for embedding in (decoder.mask_tokens, decoder.iou_token, decoder.obj_score_token):
        embedding.weight.mul_(0.5)
    for embedding in (*prompts.point_embeddings, prompts.no_mask_embed):
        embedding.weight.mul_(0.2)
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.mul_(0.3)
        head.layers[-1].bias.zero_()
    # Rotated by position, equal biases attend to the same place in the memory of other frames.
    for layer in model.memory_attention.layers:
        for projection in (layer.cross_attn_image.q_proj, layer.cross_attn_image.k_proj):
            torch.nn.init.constant_(projection.bias, _PLACE_BIAS)


class Unroller:
    """Runs a model over clips, its own masks as memory, as the official predictor does at inference."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._decoded: tuple[torch.Tensor, ...] = ()
        predict = model.sam_mask_decoder.predict_masks

        # The decoder's callers see one mask or three, blanked where the object is taken for absent; the losses need all of them as drawn.
        def predict_masks(**arguments: Any) -> tuple[torch.Tensor, ...]:
            self._decoded = predict(**arguments)
            return self._decoded

        model.sam_mask_decoder.predict_masks = predict_masks

    def detach(self) -> None:
        """Leave the model as it was; the unroller cannot be used afterwards."""
        del self.model.sam_mask_decoder.predict_masks

    def __call__(self, batch: Batch) -> list[FrameOutput]:
        """Prompt every object on the first frame and track it through the rest."""
        model = self.model
        frames = batch.targets_tnss.shape[0]
        features = model.forward_image(batch.images_bcss)
        _, features_of_level, positions_of_level, sizes = model._prepare_backbone_features(features)
        outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        found = []
        for t in range(frames):
            rows = batch.clip_n * frames + t
            index = 0 if t == 0 else t + batch.gap
            points = None
            if t == 0 and batch.points_np2 is not None:
                points = {"point_coords": batch.points_np2, "point_labels": batch.point_labels_np}
            out = model.track_step(
                frame_idx=index,
                is_init_cond_frame=t == 0,
                current_vision_feats=[level[:, rows] for level in features_of_level],
                current_vision_pos_embeds=[level[:, rows] for level in positions_of_level],
                feat_sizes=sizes,
                point_inputs=points,
                mask_inputs=batch.mask_n1ss if t == 0 else None,
                output_dict=outputs,
                num_frames=batch.gap + max(frames, 24),
                run_mem_encoder=t < frames - 1,
            )
            outputs["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][index] = out
            logits, ious, _, presence = self._decoded
            found.append(FrameOutput(logits, ious, presence[:, 0], out["pred_masks_high_res"][:, 0]))
        return found
