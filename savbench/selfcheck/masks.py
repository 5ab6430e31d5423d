"""Masks of this device against recorded ones, and of its autocast dtypes against float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import RunnerError
from savbench.selfcheck.laboratory import mean_j
from savbench.selfcheck.outcome import broken, judged, not_applicable
from savbench.selfcheck.recorded import COMMAND, OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.outcome import Outcome

MIN_J = 0.999
"""Of float32 with float32 elsewhere: a pixel may fall on the other side where a logit is next to 0."""
MIN_J_OF_DTYPE = {"bfloat16": 0.95, "float16": 0.98}
"""With float32 on the same device. bfloat16 has 8 bits of mantissa and float16 11; seen on a CPU: 0.988 and 0.9987."""


def check_masks(laboratory: Laboratory, quick: bool) -> Iterator[Outcome]:
    """The checks of this module."""
    recorded = laboratory.recorded
    exact = [laboratory.track(number) for number in range(len(OBJECTS))]
    overlaps = [mean_j(one.masks_thw, masks_thw) for one, masks_thw in zip(exact, recorded.masks_nthw, strict=True)]
    yield judge_recorded(overlaps, laboratory.runner.applied.weights, recorded.weights)
    for dtype in MIN_J_OF_DTYPE:
        check = f"masks: {dtype} against float32"
        if quick and dtype == "float16" and not laboratory.is_gpu:
            yield not_applicable(check, "left out by --quick on a CPU")
            continue
        try:
            found = laboratory.track(dtype=dtype)
        except RunnerError as error:
            yield not_applicable(check, str(error))
            continue
        except RuntimeError as error:
            yield broken(check, error)
            continue
        if found.measured.session.error:
            yield not_applicable(check, f"{found.measured.session.error} (the row of a run says the same)")
        else:
            yield judge_dtype(dtype, mean_j(found.masks_thw, exact[0].masks_thw))


def judge_recorded(overlaps: Sequence[float], weights: str, recorded_weights: str) -> Outcome:
    """
    Args:
        overlaps: J of each object with its recorded masks.
        weights: sha256 of what was loaded, and of what gave the recorded masks.
    """
    check = "masks: float32 against recorded ones"
    if weights != recorded_weights:
        return judged(
            check, False, f"the weights are {weights[:12]}, the recorded masks are those of {recorded_weights[:12]}",
            meaning="nothing is known of this device's masks", remedy=f"record them again on a CPU that is trusted: {COMMAND}",
        )  # fmt: skip
    return judged(
        check,
        min(overlaps) >= MIN_J,
        f"J {min(overlaps):.5f} (limit {MIN_J})",
        meaning="J and F of this device are not those of the model: torch, its libraries or the hardware compute something else",
        remedy="install another torch for this device, run under --device cpu to see whether that agrees, and trust no score until then",
        J=list(overlaps),
        limit_J=MIN_J,
    )


def judge_dtype(dtype: str, overlap: float) -> Outcome:
    limit = MIN_J_OF_DTYPE[dtype]
    return judged(
        f"masks: {dtype} against float32",
        overlap >= limit,
        f"J {overlap:.5f} (limit {limit})",
        meaning=f"--autocast_dtype {dtype} costs accuracy here that it does not cost elsewhere",
        remedy="measure with --autocast_dtype float32, or with another torch",
        J=overlap,
        limit_J=limit,
    )
