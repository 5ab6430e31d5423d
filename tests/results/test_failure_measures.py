"""Measures of failure against values worked out by hand. Areas are in pixels of an image of 100."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from savbench.results.failure_measures import FAILURE_MEANINGS, JudgedFrame, failure_measures


def seen(frame: int, J: float, on_object: str = "") -> JudgedFrame:
    """The object covers 10 pixels and so does the mask."""
    return JudgedFrame(frame, J, 10, 10, on_object)


def gone(frame: int, mask_px: int = 0) -> JudgedFrame:
    return JudgedFrame(frame, float(mask_px == 0), 0, mask_px, "")


def measured(judged: Sequence[JudgedFrame], prompt_frame: int = 0, clip_frames: int = 41) -> dict[str, float]:
    return failure_measures(judged, "000", prompt_frame=prompt_frame, clip_frames=clip_frames, image_px=100)


def test_presence_is_counted_frame_by_frame() -> None:
    # visible and found, visible and missed, absent and quiet, absent with 10 and with 30 of 100 pixels
    found = measured([seen(4, 0.9), JudgedFrame(8, 0.0, 10, 0, ""), gone(12), gone(16, 10), gone(20, 30)])
    assert (found["judged_frames"], found["absent_frames"]) == (5, 3)
    assert found["false_positive_rate"] == pytest.approx(2 / 3)
    assert found["false_positive_area"] == pytest.approx((0 + 0.1 + 0.3) / 3)
    assert found["visible_precision"] == pytest.approx(1 / 3)
    assert found["visible_recall"] == pytest.approx(1 / 2)


def test_what_has_no_value_is_missing() -> None:
    assert measured([]) == {}
    always_there = measured([seen(4, 1.0)])
    assert not {"false_positive_rate", "false_positive_area", "failure_frame"} & set(always_there)
    never_shown = measured([gone(4)])
    assert not {"visible_precision", "visible_recall", "volumetric_J"} & set(never_shown)
    assert set(always_there) | set(never_shown) < set(FAILURE_MEANINGS)


def test_volumetric_j_does_not_reward_an_empty_mask() -> None:
    # mean J is 3/4: the object is visible on one frame of four and the mask always empty
    assert measured([JudgedFrame(4, 0.0, 10, 0, ""), gone(8), gone(12), gone(16)])["volumetric_J"] == 0
    # intersections 10 and 5 of 8 + 12 pixels, unions 10 and 15, and 7 pixels where there is nothing: 15 / 32
    found = measured([JudgedFrame(4, 1.0, 10, 10, ""), JudgedFrame(8, 5 / 15, 8, 12, ""), gone(12, 7)])
    assert found["volumetric_J"] == pytest.approx(15 / 32)


def test_a_failure_is_three_lost_frames_and_begins_with_the_first() -> None:
    judged = [seen(4, 0.9), seen(8, 0.1), seen(12, 0.3), seen(16, 0.19), seen(20, 0.0), seen(24, 0.1), seen(28, 0.1)]
    found = measured(judged)
    # frame 8 is alone; 16, 20 and 24 follow each other. 16 of the 41 frames after the prompt
    assert (found["failure_frame"], found["failures"], found["recoveries"]) == (16, 1, 0)
    assert found["nt2f"] == pytest.approx(16 / 41)
    assert measured(judged, prompt_frame=1)["nt2f"] == pytest.approx(15 / 40)


def test_two_lost_frames_at_the_end_are_no_failure() -> None:
    found = measured([seen(4, 0.9), seen(8, 0.0), seen(12, 0.0)])
    assert (found["nt2f"], found["failures"]) == (1.0, 0)
    assert "failure_frame" not in found


def test_j_of_exactly_the_bound_is_not_lost() -> None:
    assert measured([seen(4 * n, 0.2) for n in range(1, 6)])["failures"] == 0


def test_frames_without_the_object_neither_end_nor_make_a_failure() -> None:
    assert measured([gone(4 * n, 50) for n in range(1, 6)])["failures"] == 0
    found = measured([seen(4, 0.0), gone(8), gone(12, 5), seen(16, 0.0), gone(20), seen(24, 0.0)])
    assert (found["failure_frame"], found["failures"]) == (4, 1)


def test_recoveries_are_counted_and_a_second_failure_after_one() -> None:
    lost, back = (0.0,) * 3, (0.8,) * 3
    quality = [*lost, 0.8, 0.8, 0.0, *back, *lost]
    found = measured([seen(4 * n, J) for n, J in enumerate(quality, start=1)])
    # two good frames do not make a recovery
    assert (found["failure_frame"], found["failures"], found["recoveries"]) == (4, 2, 1)


def test_identity_switches_count_the_way_there_and_back() -> None:
    on = ["000", "", "001", "001", "", "001", "000", "002"]
    found = measured([seen(4 * n, 0.5, name) for n, name in enumerate(on, start=1)])
    # to 001, back to 000, to 002; a frame on no object changes nothing
    assert (found["identity_switches"], found["frames_on_others"]) == (3, 4)
    assert measured([seen(4, 0.0, "")])["identity_switches"] == 0
