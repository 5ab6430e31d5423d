"""The registry of models: plain data, so that listing it imports nothing heavy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from runners.exported import EXPORTABLE, TORCH, no_exported_stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from runners.base import BuildOptions, VideoRunner

PROMPT_KINDS = ("points", "bbox", "mask")
IMPLEMENTATIONS = ("official", "transformers")
HUB_FILE = "model.safetensors"
"""Name of the file of weights in a repository of the Hugging Face Hub."""
SHIPPED_WEIGHTS = Path(__file__).resolve().parent / "nano"
"""Folder of the trained weights that come with the benchmark."""


@dataclass(frozen=True)
class RunnerSpec:
    """One model that can be selected by name."""

    factory: str
    """Dotted name of a callable that takes BuildOptions and returns a VideoRunner."""
    family: str
    config: str | None = None
    checkpoint: str | None = None
    """File name of the trained weights, as upstream publishes them or as in `SHIPPED_WEIGHTS`; None for models without weights."""
    hub: str | None = None
    """Repository of the Hugging Face Hub, without its owner, that has the same weights as transformers stores them."""
    imgsz: int | None = None
    """Default side of the model's square input in pixels; None for models that work at video resolution."""
    prompts: tuple[str, ...] = PROMPT_KINDS
    licence: str = "Apache-2.0"
    """Licence of code and weights as their authors state it, with whatever restricts their use (docs/models.md)."""
    implementations: tuple[str, ...] = ()
    """Those of `IMPLEMENTATIONS` that can run it, for families that transformers implements; see `runners.implementations`."""

    @property
    def has_relative_positions(self) -> bool:
        """Whether its image encoder adds decomposed relative positions, so that --attention can select how to compute them."""
        return self.family == "sam1"

    @property
    def files(self) -> tuple[str, ...]:
        """The files that may hold the weights, in the order of preference, relative to a folder of weights."""
        return tuple(filter(None, (self.checkpoint, self.hub and f"{self.hub}/{HUB_FILE}")))

    @property
    def is_learned(self) -> bool:
        return self.checkpoint is not None

    def build(self, options: BuildOptions) -> VideoRunner:
        """Import the family and build the model. Heavy; only the worker process calls it.

        Raises:
            RunnerError: the options are unusable, or the family cannot run in their runtime.
        """
        if options.runtime != TORCH and self.family not in EXPORTABLE:
            from runners.base import RunnerError  # it imports numpy, which listing the models does without

            raise RunnerError(no_exported_stages(self.family, options.runtime))
        module, _, name = self.factory.rpartition(".")
        factory = cast("Callable[[BuildOptions], VideoRunner]", getattr(importlib.import_module(module), name))
        runner = factory(options)
        if not options.keyframe:
            return runner
        from runners.keyframe import KeyframeRunner

        return KeyframeRunner(runner, options.keyframe, stages=options.stages)


def _sam2(size: str, letter: str) -> RunnerSpec:
    return RunnerSpec(
        factory="runners.implementations.build_sam2",
        family="sam2",
        config=f"configs/sam2.1/sam2.1_hiera_{letter}.yaml",
        checkpoint=f"sam2.1_hiera_{size}.pt",
        hub=f"sam2.1-hiera-{size.replace('_', '-')}",
        imgsz=1024,
        implementations=IMPLEMENTATIONS,
    )


def _efficienttam(variant: str, imgsz: int = 1024) -> RunnerSpec:
    return RunnerSpec(
        factory="runners.efficienttam.EfficientTamRunner",
        family="efficienttam",
        config=f"configs/efficienttam/efficienttam_{variant}.yaml",
        checkpoint=f"efficienttam_{variant}.pt",
        imgsz=imgsz,
    )


def _sam1(encoder: str, checkpoint: str) -> RunnerSpec:
    return RunnerSpec(factory="runners.sam1.runner.Sam1Runner", family="sam1", config=encoder, checkpoint=checkpoint, imgsz=1024)


RUNNERS: dict[str, RunnerSpec] = {
    "sam2_nano": RunnerSpec(
        factory="runners.implementations.build_sam2",
        family="sam2",
        config="sam2_nano.yaml",
        checkpoint="sam2_nano.pt",
        imgsz=192,
        implementations=IMPLEMENTATIONS,
    ),
    "sam2_tiny": _sam2("tiny", "t"),
    "sam2_small": _sam2("small", "s"),
    "sam2_base": _sam2("base_plus", "b+"),
    "sam2_large": _sam2("large", "l"),
    "edgetam": RunnerSpec(
        factory="runners.implementations.build_edgetam",
        family="edgetam",
        config="configs/edgetam.yaml",
        checkpoint="edgetam.pt",
        imgsz=1024,
        implementations=IMPLEMENTATIONS,
    ),
    "sam3": RunnerSpec(
        factory="runners.implementations.build_sam3",
        family="sam3",
        checkpoint=f"sam3/{HUB_FILE}",
        imgsz=1008,
        implementations=("transformers",),
        licence="SAM License (Meta): forbids military, nuclear, weapons and espionage uses",
    ),
    "efficienttam_ti": _efficienttam("ti"),
    "efficienttam_ti_1": _efficienttam("ti_1"),
    "efficienttam_ti_2": _efficienttam("ti_2"),
    "efficienttam_ti_512x512": _efficienttam("ti_512x512", 512),
    "efficienttam_s": _efficienttam("s"),
    "efficienttam_s_1": _efficienttam("s_1"),
    "efficienttam_s_2": _efficienttam("s_2"),
    "efficienttam_s_512x512": _efficienttam("s_512x512", 512),
    "sam1_base": _sam1("vit_b", "sam_vit_b_01ec64.pth"),
    "sam1_large": _sam1("vit_l", "sam_vit_l_0b3195.pth"),
    "sam1_huge": _sam1("vit_h", "sam_vit_h_4b8939.pth"),
    "cutie": RunnerSpec(
        factory="runners.cutie.build",
        family="cutie",
        config="base",
        checkpoint="cutie-base-mega.pth",
        imgsz=480,
        prompts=("mask",),
        licence="MIT; its authors trained the weights on data that is for non-commercial use alone, such as MOSE (CC BY-NC-SA 4.0)",
    ),
    "empty": RunnerSpec(factory="runners.baselines.EmptyRunner", family="baseline", prompts=("mask",)),
    "static": RunnerSpec(factory="runners.baselines.StaticRunner", family="baseline", prompts=("mask",)),
    "flow": RunnerSpec(factory="runners.baselines.FlowRunner", family="baseline", prompts=("mask",)),
}
