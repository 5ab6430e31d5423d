"""Every choice of attention that the device claims: the same masks, by the kernel that was forced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention import CHOICES, FORCED
from runners.base import RunnerError
from savbench.measure.devices import check_attention
from savbench.selfcheck.laboratory import mean_j
from savbench.selfcheck.masks import MIN_J, MIN_J_OF_DTYPE
from savbench.selfcheck.outcome import broken, judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from savbench.selfcheck.laboratory import Laboratory
    from savbench.selfcheck.outcome import Outcome

FRAMES = 8
MANUAL = "manual"


def check_attention_choices(laboratory: Laboratory, quick: bool) -> Iterator[Outcome]:
    """The checks of this module."""
    for dtype in ("float32", "bfloat16") if laboratory.is_gpu or not quick else ("float32",):
        try:
            expected = laboratory.track(frames=FRAMES, dtype=dtype).masks_thw
        except RunnerError as error:
            yield not_applicable(f"attention: {dtype}", str(error))
            continue
        for choice in CHOICES[1:]:
            check = f"attention: {choice} under {dtype}"
            try:
                check_attention(choice, dtype, laboratory.runner.applied.device)
                found = laboratory.track(frames=FRAMES, dtype=dtype, attention=choice)
                kernels = laboratory.kernels(dtype, choice)
            except RunnerError as error:
                yield not_applicable(check, str(error))
                continue
            except RuntimeError as error:
                yield broken(check, error)
                continue
            yield judge_choice(check, choice, laboratory.torch_device.type, dtype, mean_j(found.masks_thw, expected), kernels)


def expected_kernel(choice: str, device_type: str) -> str | None:
    """The kernel that a choice leaves; None where it leaves several."""
    if choice == "flash" and device_type == "cpu":
        return "flash_cpu"
    return choice if choice in (*FORCED, MANUAL) else None


def judge_choice(check: str, choice: str, device_type: str, dtype: str, overlap: float, kernels: str) -> Outcome:
    """
    Args:
        overlap: J with the masks under `auto`.
        kernels: as a row names them, `flash:17 math:2`.
    """
    expected, limit = expected_kernel(choice, device_type), MIN_J_OF_DTYPE.get(dtype, MIN_J)
    ran = {kernel.rpartition(":")[0] for kernel in kernels.split()}
    is_forced = bool(ran) if expected is None else ran == {expected}
    said = f"J {overlap:.5f} (limit {limit}), kernels {kernels or 'none seen'}"
    if not is_forced:
        return judged(
            check, False, said, J=overlap, kernels=kernels,
            meaning=f"times under --attention {choice} are those of another kernel ({expected or 'one that is seen'} was expected)",
            remedy="compare no arms by --attention with this torch; report it with the version of torch",
        )  # fmt: skip
    return judged(
        check,
        overlap >= limit,
        said,
        J=overlap,
        kernels=kernels,
        meaning=f"--attention {choice} changes masks, so that it computes something else than attention",
        remedy=f"leave --attention {choice} out on this device, and use auto",
    )
