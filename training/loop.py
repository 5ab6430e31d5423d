"""The training loop: steps in one or several processes, averaged weights, checkpoints, validation."""

from __future__ import annotations

import copy
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist

from training.losses import clip_loss
from training.model import Unroller, build_model
from training.optimizer import Optimizer
from training.pool import ClipPool, PoolConfig, by_kind, open_pool
from training.recipe import KINDS, Recipe, Stage, rate_of, stage_of, total_steps
from training.sampling import PROMPT_TYPES, Batch, discs, draw_batch
from training.validation import mean_j

_MAX_GRADIENT = 1.0
_AVERAGING = 0.999
_LOG_EVERY = 50
FIGURE_FOLDERS = ("figures", "clip_art")
"""Of a run's folder, in the order of the kinds of `training.recipe.KINDS`."""


@dataclass(frozen=True)
class TrainConfig:
    """One run of training."""

    out_dir: Path
    pool: PoolConfig
    recipe: Recipe
    figures: tuple[PoolConfig, ...] = ()
    """Of figures and of clip art, each pool in a folder of its own."""
    seed: int = 0
    processes: int = 1
    device: str = "cpu"
    checkpoint_every_s: float = 120.0
    validate_every: int = 1000
    validation_clips: int = 24


def train(rank: int, config: TrainConfig) -> None:
    """Train in process `rank` of `config.processes`, from the last checkpoint of `config.out_dir` if there is one."""
    cv2.setNumThreads(1)
    if config.processes > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.processes))
        dist.init_process_group("gloo", init_method=f"file://{config.out_dir.resolve()}/rendezvous", rank=rank, world_size=config.processes)
    try:
        _Trainer(rank, config).run()
    finally:
        if config.processes > 1:
            dist.destroy_process_group()


class _Trainer:
    def __init__(self, rank: int, config: TrainConfig) -> None:
        self.rank = rank
        self.config = config
        self.device = torch.device(config.device)
        self.pool = open_pool(config.out_dir / "pool", config.pool, workers=1)
        self.figures = tuple(open_pool(folder, pool, workers=1) for folder, pool in figure_pools(config))
        self.validation_pool = open_pool(config.out_dir / "pool_val", validation_config(config), workers=1)
        self.step = 0
        self.total = total_steps(config.recipe)
        torch.manual_seed(config.seed)
        state = None
        if latest(config.out_dir).is_file():
            state = torch.load(latest(config.out_dir), map_location="cpu", weights_only=True)
            self.step = int(state["step"])
        self.side = stage_of(config.recipe, self.step).side
        model: Any = build_model(self.side)
        if state is not None:
            model.load_state_dict(state["model"])
        self._place(model)
        self.average = copy.deepcopy(self.model)
        if state is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer = Optimizer(self.model)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.unroll = Unroller(self.model)

    def _place(self, model: Any) -> None:
        self.model = model.to(self.device).train()

    def run(self) -> None:
        saved_at = logged_at = time.monotonic()
        losses: dict[str, list[float]] = {}
        while self.step < self.total:
            stage = stage_of(self.config.recipe, self.step)
            if stage.side != self.side:
                self._change_side(stage.side)
            kind, batch = self._draw(stage)
            losses.setdefault(kind, []).append(self._update(batch.to(self.device)))
            self.step += 1
            if self.rank == 0 and self.step % _LOG_EVERY == 0:
                now = time.monotonic()
                means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(losses.items()))
                pace = (now - logged_at) / _LOG_EVERY
                left = (self.total - self.step) * pace / 60
                print(f"step {self.step} of {self.total}: {means}; {pace:.2f} s a step, {left:.0f} min left", flush=True)
                losses, logged_at = {}, now
            done = self.step == self.total
            if self.rank == 0 and (done or time.monotonic() - saved_at > self.config.checkpoint_every_s):
                self._save()
                saved_at = time.monotonic()
            if self.rank == 0 and (done or self.step % self.config.validate_every == 0):
                scores = mean_j(self.average, self.validation_pool, self.side, self.config.validation_clips, self.device)
                print(f"validation at step {self.step}: " + " ".join(f"{name} {j:.3f}" for name, j in scores.items()), flush=True)
                logged_at = time.monotonic()

    def _draw(self, stage: Stage) -> tuple[str, Batch]:
        """The batch of this step: of what kind is the same in all processes, what is in it is not."""
        shared = np.random.default_rng((self.config.seed, self.step))
        own = np.random.default_rng((self.config.seed, self.step, 1 + self.rank))
        single = bool(shared.random() < stage.single_share)
        # on a single frame a mask is its own answer
        kinds = PROMPT_TYPES[:2] if single else PROMPT_TYPES
        prompt = kinds[int(shared.integers(len(kinds)))]
        if single and stage.click_share is not None:
            prompt = kinds[int(shared.random() >= stage.click_share)]
        frames, clips = (1, stage.single_frames) if single else (stage.frames, stage.clips)
        pools, shares = self._pools_of(stage)
        batch = draw_batch(
            pools, own, shares=shares, side=stage.side, frames=frames, clips=clips, prompt=prompt, prompts_each=2 if single else 1
        )
        if stage.discs:
            return f"discs/{prompt}", discs(batch)
        return f"{'frame' if single else 'clip'}/{prompt}", batch

    def _pools_of(self, stage: Stage) -> tuple[tuple[ClipPool, ...], tuple[float, ...]]:
        if not stage.shares:
            return (self.pool,), (1.0,)
        kinds = (*by_kind(self.pool, self.config.pool), *self.figures)
        there = [(pool, share) for pool, share in zip(kinds, stage.shares, strict=False) if pool.clips and share]
        if not there:
            raise ValueError(f"a stage asks for shares {stage.shares} of {', '.join(KINDS)}, of which this run has none")
        return tuple(pool for pool, _ in there), tuple(share for _, share in there)

    def _update(self, batch: Batch) -> float:
        self.model.zero_grad(set_to_none=True)
        loss = clip_loss(self.unroll(batch), batch.targets_tnss)
        loss.backward()
        # what a step does not use, as memory on single frames, must not move; the kind of step, and so this list, is that of all processes
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if self.config.processes > 1:
            flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
            dist.all_reduce(flat)
            flat /= self.config.processes
            start = 0
            for parameter in parameters:
                parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
                start += parameter.numel()
        norm = torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT)
        if torch.isfinite(norm):
            self.optimizer.step(rate_of(self.config.recipe, self.step))
        weight = 1 - min(_AVERAGING, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), weight)
        return float(loss.item())

    def _change_side(self, side: int) -> None:
        """Go on with another size of input; every process does so at the same step.

        The optimiser holds the parameters by identity, so the sizes that the modules remember change, not the parameters.
        """
        for model in (self.model, self.average):
            resize(model, side)
        self.side = side

    def _save(self) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = latest(self.config.out_dir).with_suffix(".part")
        torch.save(state, part)
        part.replace(latest(self.config.out_dir))


def resize(model: Any, side: int) -> None:
    """Set the size of the input that the official classes keep in several places."""
    cells = side // model.backbone_stride
    model.image_size = side
    model.sam_image_embedding_size = cells
    encoder = model.sam_prompt_encoder
    encoder.input_image_size = (side, side)
    encoder.image_embedding_size = (cells, cells)
    encoder.mask_input_size = (4 * cells, 4 * cells)


def held_to_its_settings(config: TrainConfig) -> None:
    """Note what weights follow from beside the checkpoint, so that a run cannot end by another recipe than it began by.

    Raises:
        ValueError: the folder holds a run of other settings.
    """
    settings = {
        "recipe": json.loads(json.dumps([asdict(part) for part in config.recipe])),
        "seed": config.seed,
        "processes": config.processes,
    }
    noted = config.out_dir / "settings.json"
    if not noted.is_file():
        noted.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(noted.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if before.get(name) != value]
    if other:
        raise ValueError(f"{config.out_dir}: holds a run of another {', '.join(other)}; give what {noted.name} says, or another --out_dir")


def latest(out_dir: Path) -> Path:
    """The checkpoint that training goes on from."""
    return out_dir / "latest.pt"


def validation_config(config: TrainConfig) -> PoolConfig:
    return PoolConfig("validation", config.validation_clips)


def pools_drawn(config: TrainConfig, workers: int) -> None:
    """Draw the pools that are missing; to be called before the processes start."""
    open_pool(config.out_dir / "pool", config.pool, workers)
    open_pool(config.out_dir / "pool_val", validation_config(config), workers)
    for folder, pool in figure_pools(config):
        open_pool(folder, pool, workers)


def figure_pools(config: TrainConfig) -> list[tuple[Path, PoolConfig]]:
    """Where each pool of figures is kept."""
    return [(config.out_dir / name, pool) for name, pool in zip(FIGURE_FOLDERS, config.figures, strict=False)]
