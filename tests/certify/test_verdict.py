"""Where an arm leaves its bound, whether errors grow, what it keeps: on findings worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from savbench.certify.bounds import UNIT_ROUNDOFF, bound_of
from savbench.certify.findings import FORCED, FREE, ObjectFindings, StageError, first_beyond, growth
from savbench.certify.verdict import Verdict
from savbench.plan.arms import Arm, plan_arms
from savbench.plan.settings import RunConfig

STAGES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
BOUNDS = dict.fromkeys(STAGES, 0.1)


def arm(dtype: str = "bfloat16", runtime: str = "torch") -> Arm:
    config = RunConfig(split_dir=Path("/s"), models=("sam2_nano_mask",), autocast_dtypes=(dtype,), runtime=(runtime,))
    return plan_arms(config, "s")[0]


def findings(
    *, changed: dict[tuple[str, int], float] | None = None, free: float = 2e-3, video: str = "v", **scores: float
) -> ObjectFindings:
    """Nine frames with errors of 1e-3, teacher-forced."""
    changed = changed or {}
    errors = [StageError(frame, FORCED, stage, changed.get((stage, frame), 1e-3)) for frame in range(9) for stage in STAGES]
    errors += [StageError(frame, FREE, stage, free) for frame in range(9) for stage in STAGES]
    return ObjectFindings(video, "000", tuple(errors), (1.0,) * 7 + (0.9,), **scores)


def test_bounds_are_multiples_of_the_unit_roundoff() -> None:
    assert (bound_of("bfloat16"), bound_of("float16"), bound_of("float32")) == (2.0**-4, 2.0**-6, 2.0**-14)
    assert 1 + UNIT_ROUNDOFF["float32"] * 2 == 1 + 2.0**-23


def test_the_first_beyond_is_the_first_in_time_and_in_the_order_of_stages() -> None:
    found = findings(changed={("memory_encoder", 3): 0.2, ("mask_decoder", 3): 0.3, ("image_encoder", 5): 0.9})
    beyond = first_beyond([findings(), found], BOUNDS)
    assert beyond is not None
    assert (beyond.where, beyond.error.stage, beyond.error.frame, beyond.error.error) == ("v/000", "mask_decoder", 3, 0.3)
    of_encoder = first_beyond([found], BOUNDS, "image_encoder")
    assert of_encoder is not None
    assert of_encoder.error.frame == 5
    assert first_beyond([findings(free=0.9)], BOUNDS) is None, "free-running errors are those of the clip, not of a stage"
    assert first_beyond([findings(changed={("mask_decoder", 2): math.nan})], BOUNDS) is not None


def test_growth_is_that_of_what_the_memory_adds() -> None:
    assert growth([findings()]) == 1
    rising = findings()
    errors = [error for error in rising.errors if (error.mode, error.stage) != (FREE, "memory_encoder")]
    # added: 2, 4, ..., 16 times the stage's own on the tracked frames 1 to 8; thirds of two frames: medians 3 and 15
    added = [StageError(frame, FREE, "memory_encoder", 2e-3 * frame) for frame in range(9)]
    assert growth([ObjectFindings("v", "000", (*errors, *added), ())]) == pytest.approx(5)
    # a scene that becomes harder for both
    harder = [StageError(frame, mode, "memory_encoder", (1 + frame) * 1e-3) for mode in (FORCED, FREE) for frame in range(9)]
    assert growth([ObjectFindings("v", "000", tuple(harder), ())]) == 1
    assert growth([ObjectFindings("v", "000", tuple(harder[:4] + harder[9:13]), ())]) is None, "too few frames"
    assert growth([]) is None


def test_an_arm_within_its_bounds_is_certified() -> None:
    verdict = Verdict(arm(), (findings(reference_JandF=0.8, candidate_JandF=0.79),), (), None)
    assert verdict.problems == []
    assert verdict.text(80).splitlines() == [
        "sam2_nano_mask bfloat16 192px against torch float32: 1 object of 1 video",
        "stage               bound   median  largest  free, largest  first beyond",
        "----------------  -------  -------  -------  -------------  ------------",
        *(f"{stage:<16}  6.2e-02  1.0e-03  1.0e-03        2.0e-03" for stage in STAGES),
        "relative errors, each stage on the reference's inputs; bound: 32 u, u = 2.0e-03",
        "  of bfloat16",
        "free-running, the error that the memory adds does not grow: x1.00 from the first",
        "  third of a clip to the last",
        "free-running masks: IoU with the reference's 0.9875 on average, at least 0.9000",
        "J&F 0.7900 against 0.8000 (-0.0100): keeps 98.75%, no interval with fewer than 6",
        "  videos, 1 objects of 1 videos",
        "certified: every stage within its bound on every frame",
    ]


def test_an_arm_beyond_a_bound_is_not_and_says_where() -> None:
    verdict = Verdict(arm(), (findings(changed={("memory_attention", 4): math.inf}),), ("w/001: no frame is left",), None)
    assert verdict.problems == [
        "not compared: w/001: no frame is left",
        "memory_attention leaves its bound first on frame 4 of v/000: NaN or infinite, where 0.062 is healthy",
    ]
    text = verdict.text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert "not finite" in text
    assert "v/000 4" in text
    written = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert (written["certified"], written["bounds"]) == (False, dict.fromkeys(STAGES, 2.0**-4))
    (error,) = (error for error in written["objects"][0]["errors"] if error["error"] is None)
    assert (error["stage"], error["frame"]) == ("memory_attention", 4)
    assert ObjectFindings.from_json(written["objects"][0]) == verdict.found[0]


def test_an_int8_encoder_has_a_bound_of_its_own_and_later_stages_that_of_float32() -> None:
    exact = {(stage, frame): 1e-6 for stage in STAGES[1:] for frame in range(9)}
    int8 = arm("float32", "onnx-int8")
    healthy = findings(changed={**exact, **{("image_encoder", frame): 0.05 for frame in range(9)}})
    assert Verdict(int8, (healthy,), (), None).problems == []
    assert "bound: 32 x 32 u, u = 6.0e-08 of float32 and 32 u, u = 3.9e-03 of int8" in Verdict(int8, (healthy,), (), None).text(None)
    for stage, error, bound in (("image_encoder", 0.2, "0.12"), ("memory_attention", 1e-3, "6.1e-05")):
        (problem,) = Verdict(int8, (findings(changed={**exact, (stage, 4): error}),), (), None).problems
        assert problem == f"{stage} leaves its bound first on frame 4 of v/000: {error:.2g}, where {bound} is healthy"


@pytest.mark.parametrize(
    ("candidate", "margin", "problem"),
    [
        (0.8, 0.01, None),
        (0.799, 0.01, None),
        (0.7, 0.01, "at least 99% of J&F kept: no, 87.50%"),
        (0.7, None, None),
    ],
)
def test_the_share_of_jandf_is_judged_as_compare_does(candidate: float, margin: float | None, problem: str | None) -> None:
    found = tuple(findings(video=f"v{number}", reference_JandF=0.8, candidate_JandF=candidate) for number in range(8))
    problems = Verdict(arm(), found, (), margin).problems
    assert [line[: len(problem)] for line in problems] == [problem] if problem else problems == []


def test_a_verdict_on_jandf_that_cannot_be_given_is_no_certificate() -> None:
    assert "cannot be judged, the split has no ground truth" in Verdict(arm(), (findings(),), (), 0.01).problems[0]
    (few,) = Verdict(arm(), (findings(reference_JandF=0.8, candidate_JandF=0.8),), (), 0.01).problems
    assert few.startswith("at least 99% of J&F kept: undecided, 100.00%, no interval with fewer than 6 videos")
    assert Verdict(arm(), (), (), None).problems == ["no object could be tracked"]
