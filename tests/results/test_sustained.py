from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from savbench.results.rows import SummaryRow
from savbench.results.sustained import STEADY, TIME_IS_UP, Course, SustainedRow, course_table, statement, steadiness


def run_course(
    course: Course,
    fps_at: Callable[[float], float],
    celsius_at: Callable[[float], float | None] = lambda minute: None,
    *,
    videos: tuple[str, ...] = ("a", "b"),
    minutes: float = 0.5,
    until_min: float = math.inf,
    **columns: object,
) -> Course:
    """Runs of half a minute each, one video after the other; the second one has twice the FPS."""
    begin, number = 0.0, 0
    while not course.end and begin < until_min:
        end = begin + minutes
        video = videos[number % len(videos)]
        fps = fps_at(end) * (2 if video == "b" else 1)
        row = SummaryRow(arm_id="arm", video=video, object="000", fps=fps, frames=round(minutes * 60 * fps), **columns)  # type: ignore[arg-type]
        row.temperature_peak_c = celsius_at(end)
        course.add(row, [(1000 + 60 * begin, 1000 + 60 * begin + 1), (1000 + 60 * end - 1, 1000 + 60 * end)])
        begin, number = end, number + 1
    return course


def test_a_board_that_holds_its_speed_is_steady_after_the_least_time() -> None:
    course = run_course(Course(60.0), lambda t: 12.0, lambda t: 60.0)
    assert course.end == STEADY
    assert course.rows[-1].minutes == 5.0
    found = steadiness(course.rows)
    assert found is not None
    assert (found.since_min, found.until_min, found.speed, found.speed_drift, found.drift_c) == (0.0, 5.0, 1.0, 0.0, 0.0)
    # five runs of 360 frames and five of 720, in five minutes
    assert found.fps == pytest.approx(18.0)


def test_heat_that_still_rises_is_not_steady_though_the_speed_is() -> None:
    # 1 C in 5 min is reached where 20 * exp(-t / 4) changes by so much
    course = run_course(Course(60.0), lambda t: 12.0, lambda t: 70 - 20 * math.exp(-t / 4))
    assert course.end == STEADY
    assert course.rows[-1].minutes is not None
    assert 14 < course.rows[-1].minutes < 20
    assert "steady from" in statement("arm", course.rows)


def test_a_board_that_throttles_is_steady_at_its_lower_speed() -> None:
    course = run_course(Course(60.0), lambda t: 12.0 if t <= 4 else 9.0, lambda t: 80.0, power_mean_w=14.25, throttle_events=2)
    found = steadiness(course.rows)
    assert course.end == STEADY
    assert found is not None
    assert (found.since_min, found.speed) == (4.0, 0.75)
    assert statement("sam2_tiny_points", course.rows) == (
        "sam2_tiny_points: steady from 4.0 min on at 13.50 FPS (-25.0% from the first round), 80 C, 14.2 W, throttled"
    )


def test_the_time_is_up_before_it_is_steady() -> None:
    course = run_course(Course(8.0), lambda t: 12.0 - 0.2 * t)
    assert course.end == TIME_IS_UP
    assert course.rows[-1].minutes == 8.0
    said = statement("arm", course.rows)
    assert said.startswith("arm: not steady after 8.0 min: -")
    assert "over the last 5.0 min" in said


def test_a_course_too_short_to_tell_says_so() -> None:
    course = run_course(Course(2.0), lambda t: 12.0)
    assert course.end == TIME_IS_UP
    assert "too short, needs 5 min and two runs of every object" in statement("arm", course.rows)


def test_every_object_has_to_have_run_twice() -> None:
    videos = tuple(f"v{number}" for number in range(8))
    course = run_course(Course(60.0), lambda t: 12.0, videos=videos)
    assert course.rows[-1].minutes == 8.0
    assert course.rows[-1].round == 2


def test_a_course_that_was_broken_off_says_why() -> None:
    course = run_course(Course(60.0), lambda t: 12.0, until_min=3.0)
    assert statement("arm", course.rows).endswith("; interrupted")
    course.abort("arm", "the worker was killed")
    assert statement("arm", course.rows).endswith("; the worker was killed")
    assert statement("arm", [SustainedRow(arm_id="arm", end="it fell")]) == "arm: no sustained figures (it fell)"


def test_the_table_shows_the_course_in_a_few_lines() -> None:
    course = run_course(Course(60.0), lambda t: 12.0 if t <= 2 else 9.0, lambda t: 50.0 + t, until_min=4.0, gpu_clock_min_mhz=918.0)
    lines = course_table(course.rows).splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["0.0", "-", "0.5", "12.00", "100%", "50.5", "918"],
        ["0.5", "-", "1.0", "24.00", "100%", "51.0", "918"],
    ]
    assert lines[-1].split()[3:5] == ["18.00", "75%"]
    assert course_table([]).splitlines()[0].startswith("minutes")
