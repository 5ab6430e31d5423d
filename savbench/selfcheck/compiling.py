"""Compiled models: the same masks, nothing compiled in timed frames, and kernels that are observed when the model is warm."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from savbench.selfcheck.laboratory import Laboratory, mean_j
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runners.base import CompileScope
    from savbench.measure.measured import SessionFacts
    from savbench.selfcheck.outcome import Outcome
    from savbench.selfcheck.recorded import Recorded

MIN_J = 0.995
"""Compiled code rounds otherwise, since it fuses operations."""


def check_compiling(device: str, folder: Path, recorded: Recorded, scope: str) -> Iterator[Outcome]:
    """Build the model with one scope of `torch.compile`, and check it. Wants a process of its own."""
    laboratory = Laboratory(device, folder, recorded, compile_scope=cast("CompileScope", scope))
    found = laboratory.track()
    kernels = [laboratory.kernels() for _ in range(2)]
    yield judge_compiled(scope, found.measured.session, mean_j(found.masks_thw, recorded.masks_nthw[0]), kernels)


def judge_compiled(scope: str, session: SessionFacts, overlap: float, kernels: list[str]) -> Outcome:
    """
    Args:
        overlap: J with the recorded masks.
        kernels: of a frame, observed twice after the session.
    """
    check, compiled = f"compiling: --compile {scope}", session.compiled
    if compiled is None or not compiled.graphs:
        reason = "nothing was compiled" if compiled is None or not compiled.fallback else compiled.fallback
        return not_applicable(check, f"{reason}; rows say so in compile_fallback")
    said = (
        f"{compiled.graphs} graphs, {session.timed_compilations} of them in timed frames, J {overlap:.5f} (limit {MIN_J}), "
        f"kernels {' then '.join(dict.fromkeys(kernels)) or 'none: the compiler has taken them in'}"
    )
    faults = {
        "its masks differ, so that its speed is that of another computation": overlap < MIN_J,
        "its largest latencies hold compiling": session.timed_compilations > 0,
        "the kernels of its rows are not those of its timed frames": len(set(kernels)) > 1,
    }
    return judged(
        check,
        not any(faults.values()),
        said,
        meaning="; ".join(text for text, is_so in faults.items() if is_so),
        remedy=f"do not compare arms with --compile {scope} here; another torch may do better",
        graphs=compiled.graphs,
        timed_compilations=session.timed_compilations,
        compile_ms=compiled.compile_ms,
        J=overlap,
        kernels=kernels,
        fallback=compiled.fallback,
    )
