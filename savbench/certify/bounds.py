"""How large a healthy stage's relative error may be, by dtype.

A stage that stores its results in a type of unit roundoff u, one after the other L times, errs by about u sqrt(L): independent roundings
add like a random walk (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019). No stage
of these models stores more than about 1,000 results in sequence, so that 32 u is a bound. Products of float16 and bfloat16 are summed in
float32, which adds nothing to this. In float32 the sums themselves round: another order of n terms differs by about u sqrt(n), with n up to
about 1,000 in most sums, so that the bound is 32 times as large.

An image encoder that is quantised to int8 stores 127 steps on each side of 0, up to the largest value that calibration saw, so that it errs
by up to u = 2^-8 of that value. The largest value is several times the root mean square that errors are relative to, and fewer than a
hundred results are quantised in sequence: 32 u leave room for both. The stages after it are not quantised and keep their dtype's bound.

Measured on `sam2_nano`, at most: bfloat16 6.7 u and float16 3.1 u, both in the image encoder, float32 under another attention 12 u and
exported to ONNX Runtime 14 u, the int8 image encoder 18 u. A wrong computation, such as another axis, sign or scale or the memory of
another frame, errs by 0.1 and more. The bound of int8 is about as large: faults below it only J&F shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runners.base import MODEL_STAGES
from runners.exported import INT8

if TYPE_CHECKING:
    from savbench.plan.arms import Arm

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-9, "int8": 2.0**-8}
ROUNDINGS = 32
"""sqrt(L) of the longest stage."""
SUMS = 32
"""sqrt(n) of the sums that float32 arms compute in another order."""


def bound_of(dtype: str) -> float:
    """Largest relative error of a healthy stage that computes in this dtype."""
    return UNIT_ROUNDOFF[dtype] * ROUNDINGS * (SUMS if dtype == "float32" else 1)


def dtypes_of(arm: Arm) -> dict[str, str]:
    """What each stage of an arm computes in."""
    dtypes = dict.fromkeys(MODEL_STAGES, arm.autocast_dtype)
    return {**dtypes, "image_encoder": "int8"} if arm.runtime.endswith(INT8) else dtypes
