"""How large a healthy stage's relative error may be, by dtype.

A stage that stores its results in a type of unit roundoff u, one after the other L times, errs by about u sqrt(L): independent roundings
add like a random walk (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41, 2019). No stage
of these models stores more than about 1,000 results in sequence, so that 32 u is a bound. Products of float16 and bfloat16 are summed in
float32, which adds nothing to this. In float32 the sums themselves round: another order of n terms differs by about u sqrt(n), with n up to
about 1,000 in most sums, so that the bound is 32 times as large.

Measured on `sam2_nano`, at most: bfloat16 5.0 u and float16 2.5 u, both in the image encoder, float32 under another attention 8 u and
exported to ONNX Runtime 9 u. A wrong computation, such as another axis, sign or scale or the memory of another frame, errs by 0.1 and more.
"""

from __future__ import annotations

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-9}
ROUNDINGS = 32
"""sqrt(L) of the longest stage."""
SUMS = 32
"""sqrt(n) of the sums that float32 arms compute in another order."""


def bound_of(dtype: str) -> float:
    """Largest relative error of a healthy stage under autocast to this dtype."""
    return UNIT_ROUNDOFF[dtype] * ROUNDINGS * (SUMS if dtype == "float32" else 1)


def in_roundoffs(error: float, dtype: str) -> str:
    """`4.2 u`."""
    return f"{error / UNIT_ROUNDOFF[dtype]:.3g} u"
