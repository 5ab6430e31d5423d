"""What moves the weights: Muon for the matrices of the linear layers, AdamW for the rest.

Muon (K. Jordan et al., 2024) makes every update of a matrix orthogonal, so that all its directions learn at the same rate. Here it reached
the loss of the discs in a third of AdamW's steps, at a tenth more time a step.
"""

from __future__ import annotations

from typing import Any

import torch

_BETAS = (0.9, 0.98)
_MOMENTUM = 0.95
_WEIGHT_DECAY = 0.02
_SMALLEST = 16
"""Narrower matrices have too few directions: heads of one output, tokens."""


class Optimizer:
    """Both optimisers behind one face."""

    def __init__(self, model: torch.nn.Module) -> None:
        linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
        matrices = [weight for weight in linear if min(weight.shape) >= _SMALLEST]
        taken = {id(weight) for weight in matrices}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
        groups = [
            {"params": [parameter for parameter in rest if parameter.ndim > 1], "weight_decay": _WEIGHT_DECAY},
            {"params": [parameter for parameter in rest if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        # with updates of AdamW's size, one learning rate suits both
        muon = torch.optim.Muon(matrices, weight_decay=_WEIGHT_DECAY, momentum=_MOMENTUM, adjust_lr_fn="match_rms_adamw")
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (muon, torch.optim.AdamW(groups, betas=_BETAS, fused=True))

    def step(self, rate: float) -> None:
        """Move the weights along their gradients at a learning rate."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)
