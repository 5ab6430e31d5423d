"""What an arm's findings amount to: within the bounds or not, the share of J&F that it keeps, and the text that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from runners.base import MODEL_STAGES
from savbench.certify.bounds import ROUNDINGS, SUMS, UNIT_ROUNDOFF, bound_of, dtypes_of
from savbench.certify.findings import FORCED, FREE, GROWS_FROM, errors_of, first_beyond, growth
from savbench.compare.findings import Kept
from savbench.compare.noninferiority import answer_of, in_words
from savbench.compare.statistics import ratio_interval
from savbench.results.grid import Grid, text_table, wrapped
from savbench.results.numbers import counted

if TYPE_CHECKING:
    from savbench.certify.findings import Beyond, ObjectFindings
    from savbench.plan.arms import Arm


@dataclass(frozen=True)
class Verdict:
    """What was found of an arm."""

    arm: Arm
    found: tuple[ObjectFindings, ...]
    failed: tuple[str, ...]
    """Objects that could not be compared, with the reason."""
    margin: float | None
    """Share of J&F that may be lost; None: any."""

    @cached_property
    def bounds(self) -> dict[str, float]:
        """By stage."""
        return {stage: bound_of(dtype) for stage, dtype in dtypes_of(self.arm).items()}

    @cached_property
    def beyond(self) -> Beyond | None:
        """The first stage, of the first frame, that leaves its bound."""
        return first_beyond(self.found, self.bounds)

    @cached_property
    def kept(self) -> Kept | None:
        """Share of the reference's mean J&F; None without ground truth."""
        scored = [(one.candidate_JandF, one.reference_JandF, one.video) for one in self.found if one.reference_JandF is not None]
        if not scored or not sum(reference for _, reference, _ in scored):
            return None
        ours, theirs = (np.array([pair[side] for pair in scored], np.float64) for side in (0, 1))
        videos = np.unique([video for *_, video in scored], return_inverse=True)[1]
        low, high = ratio_interval(ours, theirs, videos) or (None, None)
        return Kept(float(ours.sum() / theirs.sum()), low, high, len(scored), len(set(videos.tolist())))

    @cached_property
    def problems(self) -> list[str]:
        """Why the arm is not certified; empty if it is."""
        problems = [f"not compared: {line}" for line in self.failed]
        if not self.found and not problems:
            problems.append("no object could be tracked")
        if self.beyond is not None:
            error = self.beyond.error
            size = f"{error.error:.2g}" if math.isfinite(error.error) else "NaN or infinite"
            where = f"frame {error.frame} of {self.beyond.where}"
            problems.append(f"{error.stage} leaves its bound first on {where}: {size}, where {self.bounds[error.stage]:.2g} is healthy")
        if self.margin is not None:
            answer = None if self.kept is None else answer_of(self.kept, 1 - self.margin)
            if answer != "yes":
                why = "the split has no ground truth" if self.kept is None else in_words(self.kept)
                problems.append(f"at least {100 * (1 - self.margin):.12g}% of J&F kept: {answer or 'cannot be judged'}, {why}")
        return problems

    def to_json(self) -> dict[str, Any]:
        """Everything, for the file of --json."""
        kept = self.kept
        return {
            "arm": self.arm.label,
            "arm_id": self.arm.arm_id,
            "certified": not self.problems,
            "problems": self.problems,
            "bounds": self.bounds,
            "growth": growth(self.found),
            "share_of_JandF_kept": None if kept is None else vars(kept),
            "objects": [one.to_json() for one in self.found],
        }

    def text(self, width: int | None) -> str:
        """Table and answer."""
        head = f"{self.arm.label} against torch float32"
        if not self.found:
            return "\n".join(_lines([head, *self._answer()], width))
        videos = counted(len({one.video for one in self.found}), "video")
        rows = [self._row(stage) for stage in MODEL_STAGES if errors_of(self.found, FORCED, stage)]
        grid = Grid(["stage", "bound", "median", "largest", "free, largest", "first beyond"], rows, left=1, drop=("median", "bound"))
        title = f"{head}: {counted(len(self.found), 'object')} of {videos}"
        return "\n".join([*wrapped(title, width), text_table(grid, width), *_lines([*self._remarks(), *self._answer()], width)])

    def _row(self, stage: str) -> list[str]:
        forced, free = (errors_of(self.found, mode, stage) for mode in (FORCED, FREE))
        beyond = first_beyond(self.found, self.bounds, stage)
        first = "" if beyond is None else f"{beyond.where} {beyond.error.frame}"
        errors = [error.error for error in forced]
        largest = max((error.error for error in free), default=math.nan)
        return [stage, _short(self.bounds[stage]), _short(median(errors)), _short(max(errors)), _short(largest), first]

    def _remarks(self) -> list[str]:
        bounds = " and ".join(_bound_in_words(dtype) for dtype in sorted(set(dtypes_of(self.arm).values())))
        remarks = [f"relative errors, each stage on the reference's inputs; bound: {bounds}"]
        ratio = growth(self.found)
        if ratio is not None:
            grows = "grows" if ratio > GROWS_FROM else "does not grow"
            remarks.append(f"free-running, the error that the memory adds {grows}: x{ratio:.2f} from the first third of a clip to the last")
        decisions = sum(error.decisions for error in errors_of(self.found, FORCED, "mask_decoder"))
        if decisions:
            remarks.append(
                f"the mask decoder decides otherwise {decisions} times (object there or not, best mask); these are not in its error"
            )
        ious = [iou for one in self.found for iou in one.mask_ious]
        if ious:
            remarks.append(f"free-running masks: IoU with the reference's {fmean(ious):.4f} on average, at least {min(ious):.4f}")
        kept = self.kept
        if kept is not None:
            ours, theirs = (
                fmean(value for one in self.found if (value := getattr(one, name)) is not None)
                for name in ("candidate_JandF", "reference_JandF")
            )
            remarks.append(f"J&F {ours:.4f} against {theirs:.4f} ({ours - theirs:+.4f}): keeps {in_words(kept)}")
        return remarks

    def _answer(self) -> list[str]:
        if self.problems:
            return [f"NOT CERTIFIED: {problem}" for problem in self.problems]
        more = "" if self.margin is None else f", and at least {100 * (1 - self.margin):.12g}% of J&F kept"
        return [f"certified: every stage within its bound on every frame{more}"]


def _bound_in_words(dtype: str) -> str:
    factor = f"{ROUNDINGS} x {SUMS} u" if dtype == "float32" else f"{ROUNDINGS} u"
    return f"{factor}, u = {UNIT_ROUNDOFF[dtype]:.1e} of {dtype}"


def _lines(remarks: list[str], width: int | None) -> list[str]:
    return [line for remark in remarks for line in wrapped(remark, width)]


def _short(value: float) -> str:
    return f"{value:.1e}" if math.isfinite(value) else "not finite" if math.isinf(value) else ""
