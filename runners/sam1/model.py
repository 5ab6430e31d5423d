"""The complete SAM v1 model. Parameters are named as in the published checkpoints, which load strictly."""

from __future__ import annotations

from torch import nn

from runners.sam1.image_encoder import EncoderConfig, ImageEncoder
from runners.sam1.mask_decoder import MaskDecoder
from runners.sam1.prompt_encoder import PromptEncoder

ENCODERS = {
    "vit_b": EncoderConfig(depth=12, channels=768, heads=12, global_blocks=(2, 5, 8, 11)),
    "vit_l": EncoderConfig(depth=24, channels=1024, heads=16, global_blocks=(5, 11, 17, 23)),
    "vit_h": EncoderConfig(depth=32, channels=1280, heads=16, global_blocks=(7, 15, 23, 31)),
}


class Sam1(nn.Module):  # type: ignore[misc]
    """An image encoder, run once per image, and a prompt encoder and mask decoder, run once per set of prompts."""

    def __init__(self, encoder: EncoderConfig, imgsz: int = 1024) -> None:
        """`imgsz`: side of the square input in pixels, a multiple of the patch. The weights are sized for `encoder.grid` patches a side."""
        super().__init__()
        self.image_encoder = ImageEncoder(encoder)
        self.prompt_encoder = PromptEncoder(imgsz, encoder.patch, encoder.channels_out)
        self.mask_decoder = MaskDecoder(encoder.channels_out)
