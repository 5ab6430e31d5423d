"""Runs a reference and a candidate of one model on the same frames, and compares what their stages return.

Teacher-forced, the reference tracks, and each of its stages hands its inputs to the candidate's stage too: an error is then that stage's
own on that frame, whatever came before. Free-running, both track by themselves, so that errors pass on through the memory.

A stage is one of the predictor's functions that `runners.stages` times: they are where upstream's code calls the model, so that it does not
matter what a candidate computes them with: another dtype, other kernels, compiled code, an exported graph. The gathering of memories
belongs to memory attention.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from runners.base import RunnerError
from runners.stages import StageHook
from runners.torch_common import all_replaced, replaced
from savbench.certify.findings import FORCED, FREE, StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runners.base import Masks

DECODER = "mask_decoder"
SCORE_FLOOR = 1.0
"""Least scale of the mask decoder's outputs, one logit: a score that happens to be near 0 has no meaningful relative error."""

Contexts = Callable[[], AbstractContextManager[object]]
"""Opens the contexts of dtype and attention in which a model is called."""


@dataclass(frozen=True)
class Side:
    """One of the two models."""

    runner: Any
    contexts: Contexts

    def stages(self) -> Sequence[StageHook]:
        """
        Raises:
            RunnerError: the runner does not tell its stages.
        """
        if not hasattr(self.runner, "model_stages"):
            raise RunnerError(
                f"{type(self.runner).__name__} has no stages that can be compared one by one; it works for the official code of "
                "sam2_* and edgetam (scripts/get_edgetam.sh), and of efficienttam_*"
            )
        found: Sequence[StageHook] = self.runner.model_stages()
        return found


@dataclass
class Choices:
    """The masks that the mask decoder chooses from, for one object."""

    masks: torch.Tensor = field(default_factory=lambda: torch.empty(1, 0, 0, 0))
    """(1, masks, height, width), logits in low resolution."""
    ious: torch.Tensor = field(default_factory=lambda: torch.empty(1, 0))
    """(1, masks), estimated."""


_Kept = tuple[str, Any, Choices | None]
"""Stage, outputs, and the mask decoder's choices."""


@dataclass
class Recorder:
    """Collects the errors of a frame."""

    frame: int = 0
    errors: list[StageError] = field(default_factory=list)

    def add(self, mode: str, stage: str, expected: Any, found: Any, choices: Choices | None = None) -> None:
        """Compare the outputs of a stage. Several calls on one frame count as one, by the largest error."""
        error, is_finite, decisions = compare_outputs(stage, expected, found, choices)
        last = next((one for one in reversed(self.errors) if (one.frame, one.mode, one.stage) == (self.frame, mode, stage)), None)
        if last is None:
            self.errors.append(StageError(self.frame, mode, stage, error, is_finite, decisions))
            return
        last.error, last.finite, last.decisions = max(last.error, error), last.finite and is_finite, last.decisions + decisions


@contextlib.contextmanager
def teacher_forced(reference: Side, candidate: Side, recorder: Recorder) -> Iterator[None]:
    """While the reference runs in the block, under its contexts, give the inputs of its stages to the candidate's too, and compare."""
    turns = _Turns()

    def hooked(expected_of: StageHook, found_of: StageHook) -> Callable[..., Any]:
        original, other = getattr(expected_of.owner, expected_of.name), getattr(found_of.owner, found_of.name)

        def forced(*args: Any, **kwargs: Any) -> Any:
            with _choices_of(expected_of) as choices:
                expected = original(*args, **kwargs)
            with turns.of(candidate):
                found = other(*_for_autocast(args), **_for_autocast(kwargs))
            recorder.add(FORCED, expected_of.stage, expected, found, choices)
            return expected

        return forced

    hooks = [(one.owner, one.name, hooked(one, other)) for one, other in _pairs(reference, candidate)]
    with all_replaced(hooks), turns.of(reference):
        yield


class _Turns:
    """The contexts of one side at a time: choices of attention cannot be nested."""

    def __init__(self) -> None:
        self._side: Side | None = None
        self._stack = contextlib.ExitStack()

    @contextlib.contextmanager
    def of(self, side: Side) -> Iterator[None]:
        """Within the block this side's contexts hold, after it those that held before."""
        before = self._side
        self._enter(side)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, side: Side | None) -> None:
        self._stack.close()
        self._side = side
        if side is not None:
            self._stack.enter_context(side.contexts())


class FreeRunning:
    """Compares the stages of two models that track by themselves, a frame of one after the same frame of the other."""

    def __init__(self, reference: Side, candidate: Side, recorder: Recorder) -> None:
        self._sides = reference, candidate
        self._recorder = recorder
        self._kept: tuple[list[_Kept], list[_Kept]] = [], []

    def run(self, call: Callable[[Any], Masks]) -> tuple[Masks, Masks]:
        """Make one call of both runners. Returns the masks of both."""
        masks = []
        for side, kept in zip(self._sides, self._kept, strict=True):
            kept.clear()
            is_reference = side is self._sides[0]
            hooks = [(hook.owner, hook.name, _keeping(hook, kept, is_reference=is_reference)) for hook in side.stages()]
            with all_replaced(hooks), side.contexts():
                masks.append(call(side.runner))
        for (stage, expected, choices), (_, found, _) in zip(*self._kept, strict=False):
            self._recorder.add(FREE, stage, expected, found, choices)
        return masks[0], masks[1]


def compare_outputs(stage: str, expected: Any, found: Any, choices: Choices | None = None) -> tuple[float, bool, int]:
    """Relative error of a stage's outputs, whether the candidate's are finite, and how many decisions differ.

    The error of a tensor is the root mean square of the difference over that of the expected values; the largest over all tensors counts.
    The mask decoder also decides: whether the object is there (the sign of its score), and which of several masks is best. A different
    decision is counted, and what follows from it alone is not compared: the masks of an object that is absent to one of both, the pointer
    of another mask.

    Args:
        choices: of the mask decoder, the masks that the reference chose from.
    """
    if stage == DECODER:
        return _compare_decoder(expected, found, choices)
    pairs = list(zip(_tensors(expected), _tensors(found), strict=True))
    return max((relative_error(one, other) for one, other in pairs), default=0.0), all(_finite(other) for _, other in pairs), 0


def _compare_decoder(expected: Any, found: Any, choices: Choices | None) -> tuple[float, bool, int]:
    """`_forward_sam_heads` returns the masks in low and high resolution, their estimated IoUs, the best mask in low and high resolution,
    the object pointer, and the object's score. Of one mask, the decoder has chosen which: if the candidate's is nearer to another one of
    the reference's choices, it is compared with that one."""
    masks, ious, pointer, score = (expected[index] for index in (0, 2, 5, 6))
    other_masks, other_ious, other_pointer, other_score = (found[index] for index in (0, 2, 5, 6))
    is_finite = all(_finite(one) for one in (other_masks, other_ious, other_pointer, other_score))
    same_presence = bool(((score > 0) == (other_score > 0)).all())
    same_choice = bool((ious.argmax(-1) == other_ious.argmax(-1)).all())
    if choices is not None and masks.shape[:2] == (1, 1) and bool(score > 0) and same_presence:
        nearest = min(range(choices.masks.shape[1]), key=lambda index: relative_error(choices.masks[:, index : index + 1], other_masks))
        nearest_masks, nearest_ious = choices.masks[:, nearest : nearest + 1].float(), choices.ious[:, nearest : nearest + 1]
        same_choice = bool((nearest_masks == masks).all())
        masks, ious = nearest_masks, nearest_ious
    errors = [relative_error(ious, other_ious, SCORE_FLOOR), relative_error(score, other_score, SCORE_FLOOR)]
    if same_presence:
        errors.append(relative_error(masks, other_masks, SCORE_FLOOR))
        if same_choice:
            errors.append(relative_error(pointer, other_pointer))
    return max(errors), is_finite, (not same_presence) + (not same_choice)


def relative_error(expected: torch.Tensor, found: torch.Tensor, floor: float = 0.0) -> float:
    """Root mean square of the difference over that of the expected values, or over `floor` if that is more; infinite if not finite.

    Raises:
        RunnerError: the shapes differ.
    """
    if expected.shape != found.shape:
        raise RunnerError(f"the candidate returns {tuple(found.shape)} where the reference returns {tuple(expected.shape)}")
    one, other = expected.double().to("cpu"), found.double().to("cpu")
    difference, scale = (float(tensor.square().mean().sqrt()) for tensor in (one - other, one))
    if not math.isfinite(difference):
        return math.inf
    scale = max(scale, floor)
    return difference / scale if scale else (0.0 if difference == 0 else math.inf)


def mask_iou(expected: Masks, found: Masks) -> float:
    """Intersection over union of all masks together; 1 if all are empty."""
    union = int((expected | found).sum())
    return int((expected & found).sum()) / union if union else 1.0


def _pairs(reference: Side, candidate: Side) -> list[tuple[StageHook, StageHook]]:
    ours, theirs = reference.stages(), candidate.stages()
    if [hook.stage for hook in ours] != [hook.stage for hook in theirs]:
        raise RunnerError("the two models have different stages; report this as a bug")
    return list(zip(ours, theirs, strict=True))


def _keeping(hook: StageHook, kept: list[_Kept], *, is_reference: bool) -> Callable[..., Any]:
    original = getattr(hook.owner, hook.name)

    def keeping(*args: Any, **kwargs: Any) -> Any:
        with _choices_of(hook) if is_reference else contextlib.nullcontext() as choices:
            result = original(*args, **kwargs)
        kept.append((hook.stage, _cloned(result), choices))  # a CUDA graph overwrites its outputs
        return result

    return keeping


@contextlib.contextmanager
def _choices_of(hook: StageHook) -> Iterator[Choices | None]:
    """What the reference's mask decoder chooses from in the block; None for other stages."""
    if hook.stage != DECODER:
        yield None
        return
    decoder = hook.owner.sam_mask_decoder
    predict, choices = decoder.predict_masks, Choices()

    def predicting(*args: Any, **kwargs: Any) -> Any:
        result = predict(*args, **kwargs)
        choices.masks, choices.ious = result[0].clone(), result[1].clone()
        return result

    with replaced(decoder, "predict_masks", predicting):
        yield choices


def _tensors(nested: Any) -> Iterator[torch.Tensor]:
    """Tensors in a nest of dicts, lists and tuples, in order."""
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict):
        for value in nested.values():
            yield from _tensors(value)
    elif isinstance(nested, (list, tuple)):
        for value in nested:
            yield from _tensors(value)


def _mapped(nested: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(nested, torch.Tensor):
        return change(nested)
    if isinstance(nested, dict):
        return {key: _mapped(value, change) for key, value in nested.items()}
    if isinstance(nested, (list, tuple)):
        return type(nested)(_mapped(value, change) for value in nested)
    return nested


def _cloned(nested: Any) -> Any:
    return _mapped(nested, torch.clone)


def _for_autocast(nested: Any) -> Any:
    """Inputs as the candidate's runner would hold them: upstream stores memories in bfloat16, which autocast to float16 refuses."""
    return _mapped(nested, lambda tensor: tensor.float() if tensor.dtype is torch.bfloat16 else tensor)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())
