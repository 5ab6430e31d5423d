"""Whether a prompt decides the mask, whether the mask lies where it should, and objects that are prompted late."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from runners.base import RunnerError
from savbench.integration.bench import overlap
from savbench.integration.calls import INTERFACE, wrong_shapes
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runners.base import Masks, PromptKind, VideoRunner
    from savbench.integration.bench import Bench
    from savbench.selfcheck.outcome import Outcome

SEEDS = 3
"""Random weights that are tried until one gives masks that are neither full nor empty."""
MIN_J, LEAST_J = 0.5, 0.1
"""Of the prompted frame's mask with the object: from the mask itself, and from a click or a box, for which an outline is guessed."""
LATE = 2
"""Frame on which the second object is prompted."""


def check_prompts(bench: Bench) -> Iterator[Outcome]:
    """One object against the other, for every kind of prompt."""
    for kind in bench.kinds:
        yield _decides(bench, kind)
    for kind in bench.kinds:
        yield _lies_there(bench, kind)


def _decides(bench: Bench, kind: PromptKind) -> Outcome:
    check = f"prompts: {kind} decides the mask"
    runner = bench.runner
    for seed in range(SEEDS):
        first, second = (_prompted(bench, runner, kind, number) for number in (0, 1))
        if bench.is_trained or not _is_flat(first) or not np.array_equal(first, second):
            break
        runner = bench.rebuild(dataclasses.replace(bench.options, seed=seed + 1))
    if not bench.is_trained and _is_flat(first) and np.array_equal(first, second):
        return not_applicable(check, "the masks of random weights are full or empty whatever the prompt; check it with trained weights")
    differs = float((first != second).mean())
    return judged(
        check,
        differs > 0,
        f"prompts of two objects give masks that differ in {differs:.1%} of the pixels" if differs else "ignored: two objects, one mask",
        meaning="the model segments the same whatever it is asked for",
        remedy="hand the prompt to the model; its coordinates are pixels of the video, x before y",
        pixels=differs,
    )


def _lies_there(bench: Bench, kind: PromptKind) -> Outcome:
    """On square frames, where a transposed mask has the right shape."""
    found = [_prompted(bench, bench.runner, kind, number, square=True)[0] for number in (0, 1)]
    truth = [bench.square.masks_nthw[number, 0] for number in (0, 1)]
    straight = [overlap(mask, true) for mask, true in zip(found, truth, strict=True)]
    transposed = [overlap(mask.T, true) for mask, true in zip(found, truth, strict=True)]
    return judge_place(kind, straight, transposed, is_trained=bench.is_trained)


def judge_place(kind: str, straight: Sequence[float], transposed: Sequence[float], *, is_trained: bool) -> Outcome:
    """
    Args:
        kind: of the prompt.
        straight: J of each object's mask on the prompted frame with the object.
        transposed: the same of the transposed mask.
    """
    check = f"prompts: the mask of a {kind} prompt lies on the object"
    limit = MIN_J if kind == "mask" else LEAST_J
    is_turned = max(transposed) >= MIN_J > max(straight)
    if not is_turned and max(straight) < limit and not is_trained:
        return not_applicable(check, "masks of random weights mean nothing; check it with trained weights")
    return judged(
        check,
        not is_turned and min(straight) >= (limit if is_trained else 0),
        f"{'transposed: ' * is_turned}J {', '.join(f'{j:.2f}' for j in straight)} with the objects, "
        f"{', '.join(f'{j:.2f}' for j in transposed)} if rows and columns are exchanged",
        meaning="scores are those of another place in the frame",
        remedy="keep rows before columns in masks, and x before y in clicks and boxes",
        J=list(straight),
        J_transposed=list(transposed),
    )


def check_late(bench: Bench) -> Iterator[Outcome]:
    """A second object while the first is tracked."""
    scene, claims = bench.wide, bench.runner.applied.takes_late_objects
    check = "prompts: an object that appears while another is tracked"
    prompts = {0: [scene.prompt(0, bench.kind)], LATE: [scene.prompt(1, bench.kind, LATE)]}
    size_hw = (scene.clip.height, scene.clip.width)
    meaning, remedy = "", ""
    try:
        calls = bench.play(scene, prompts)
    except RunnerError as error:
        wrong = f"refused, though `takes_late_objects` claims it: {error}" if claims else ""
        said = f"refused, as `takes_late_objects` says: {error}"
        meaning = "rows of --joint_objects fail wherever objects appear one after the other"
        remedy = "set `takes_late_objects=False` in `applied`: the benchmark then makes a session for each first frame"
    else:
        wrong = wrong_shapes(calls[:LATE], 1, size_hw) or wrong_shapes(calls[LATE:], 2, size_hw)
        meaning, remedy = "a session refuses the masks", f"return a mask for every object prompted so far ({INTERFACE}, prompt)"
        if not wrong and not claims:
            wrong = "accepted, though `takes_late_objects` is False"
            meaning, remedy = "sessions are split that could be shared", "set `takes_late_objects=True` in `applied`"
        elif not wrong and bench.kind == "mask":
            first_hw, late_hw = calls[LATE].at_return
            true_hw = scene.masks_nthw[1, LATE]
            if overlap(first_hw, true_hw) > max(MIN_J, overlap(late_hw, true_hw)):
                wrong = "the masks are not in the order of prompting: the first is the late object's"
                meaning, remedy = "objects get each other's scores", f"keep the order of prompting ({INTERFACE}, prompt)"
        said = "accepted, and both masks are returned from then on"
    yield judged(check, not wrong, wrong or said, meaning=meaning, remedy=remedy)


def _prompted(bench: Bench, runner: VideoRunner, kind: PromptKind, number: int, *, square: bool = False) -> Masks:
    """Masks of the prompted frame, (1, height, width)."""
    scene = bench.square if square else bench.wide
    with bench.contexts():
        try:
            runner.open(scene.clip, scene.frame(0))
            return np.array(runner.prompt(0, scene.frame(0), [scene.prompt(number, kind)]))
        finally:
            runner.close()


def _is_flat(masks: Masks) -> bool:
    return bool(masks.all() or not masks.any())
