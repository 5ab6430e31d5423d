"""Over many frames and clips: the same masks twice, memory that does not grow, numbers that are not finite."""

from __future__ import annotations

import dataclasses
import gc
from typing import TYPE_CHECKING

import numpy as np

from savbench.board.memory import MIB
from savbench.integration.bench import LARGE, Scene, overlap
from savbench.measure.memory import rss_mib
from savbench.selfcheck.memory import FULL_AT, judge_growth
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from savbench.integration.bench import Bench, Call
    from savbench.selfcheck.outcome import Outcome

LONG = FULL_AT + 24
"""Frames of the long clip."""
DRAWN = 4
"""Of these, drawn; they repeat."""
GPU_MIN_J = 0.999
"""Of the same frames twice on a GPU, where some kernels add in any order. On a CPU masks are equal."""


def check_twice(bench: Bench) -> Iterator[Outcome]:
    """The same clip again, with another one between, and by a second model from the same options."""
    scene, square = bench.wide, bench.square
    prompts = {0: [scene.prompt(0, bench.kind)]}
    first = bench.play(scene, prompts)
    again = bench.play(scene, prompts)
    yield judge_same("masks: the same twice", first, again, bench, "a score is a matter of chance, and a difference between two runs too")
    bench.play(square, {0: [square.prompt(1, bench.kind)]})
    after = bench.play(scene, prompts)
    yield judge_same(
        "masks: the same after another clip",
        first,
        after,
        bench,
        "what is left of a clip changes the next one, so that order decides scores",
    )
    other = bench.play(scene, prompts, runner=bench.rebuild(bench.options))
    yield judge_same(
        "masks: the same from a second build",
        first,
        other,
        bench,
        "weights depend on more than the file or the seed, so no run repeats another",
    )


def judge_same(check: str, first: Sequence[Call], again: Sequence[Call], bench: Bench, meaning: str) -> Outcome:
    one, other = ([call.at_return for call in calls] for calls in (first, again))
    frames = [index for index, (a, b) in enumerate(zip(one, other, strict=True)) if not np.array_equal(a, b)]
    least = min(overlap(a[0], b[0]) for a, b in zip(one, other, strict=True))
    tracked = one[1:]
    if not frames and not bench.is_trained and all(mask.all() or not mask.any() for mask in tracked):
        return not_applicable(check, "the tracked masks of random weights are full or empty; check it with trained weights")
    good = not frames or (bench.runner.applied.device.startswith("cuda") and least >= GPU_MIN_J)
    return judged(
        check,
        good,
        f"they differ on frames {', '.join(map(str, frames))}, J {least:.4f} at least" if frames else f"equal on {len(one)} frames",
        meaning=meaning,
        remedy="draw nothing at random after building, seed what is drawn while building, and drop everything of a clip in `close`",
        J=least,
    )


def check_memory(bench: Bench) -> Iterator[Outcome]:
    """A long clip of large frames."""
    scene = Scene.draw(LARGE, DRAWN).longer(LONG)
    in_use = _meter(bench)
    in_use_mib: list[float] = []
    gc.collect()
    bench.play(scene, {0: [scene.prompt(0, bench.kind)]}, after=lambda call: in_use_mib.append(in_use()), keep=False)
    outcome = judge_growth(in_use_mib, on_gpu=bench.runner.applied.device.startswith("cuda"))
    if outcome.status == "failed":
        remedy = "drop what no later frame reads (runners/bounded.py shows how for SAM 2), and frames once they are tracked"
        outcome = dataclasses.replace(outcome, remedy=remedy)
    yield outcome


def _meter(bench: Bench) -> Callable[[], float]:
    device = bench.runner.applied.device
    if not device.startswith("cuda"):
        return rss_mib
    import torch

    return lambda: torch.cuda.memory_allocated(device) / MIB


def check_nonfinite(bench: Bench) -> Iterator[Outcome]:
    """A NaN in the weights of a model of its own."""
    check = "trouble: a planted NaN is noticed"
    if not bench.spec.is_learned:
        yield not_applicable(check, "a model without weights")
        return
    import torch

    runner = bench.rebuild(bench.options)
    model = next((value for value in vars(runner).values() if isinstance(value, torch.nn.Module)), None)
    if model is None:
        yield not_applicable(check, "no attribute of the runner is a torch module")
        return
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    scene = bench.wide
    calls = bench.play(scene, {scene.clip.num_frames - 3: [scene.prompt(0, bench.kind, scene.clip.num_frames - 3)]}, runner=runner)
    noticed = sum(not call.report.finite for call in calls)
    yield judged(
        check,
        noticed > 0,
        f"`finite` is False on {noticed} of {len(calls)} frames",
        meaning="a model that computes nonsense would have rows with status ok",
        remedy="set `FrameReport.finite` from the model's outputs in `inspect`",
        nonfinite_frames=noticed,
    )
