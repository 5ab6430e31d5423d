from __future__ import annotations

import io
from pathlib import Path

from savbench.plan.arms import Arm, plan_arms
from savbench.plan.settings import RunConfig
from savbench.results.rows import SummaryRow
from savbench.results.table import closing_table, invalid_rows_line, shared_sessions_line
from savbench.supervise.progress import Progress


def arms() -> list[Arm]:
    return plan_arms(RunConfig(split_dir=Path("/s"), models=("static_mask", "sam2_tiny_points"), imgsz=(512,)), "val")


def row(arm: Arm, video: str, **columns: object) -> SummaryRow:
    values = {"arm_id": arm.arm_id, "video": video, "object": "000", "weights": "none", **columns}
    return SummaryRow(**values)  # type: ignore[arg-type]


def cells(table: str) -> list[list[str]]:
    return [[cell for cell in line.split("  ") if cell] for line in table.splitlines()]


def test_a_line_per_arm_with_means_over_objects_and_rates_over_frames() -> None:
    static, sam2 = arms()
    rows = [
        row(static, "a", J=0.5, F=0.25, JandF=0.375, cpu_peak_rss_MiB=80.2, frames=30, latency_ms=10.0),
        row(static, "b", J=0.75, F=0.75, JandF=0.75, cpu_peak_rss_MiB=99.6, frames=10, latency_ms=70.0),
        row(static, "c", status="oom"),
        row(sam2, "a", weights="random", gpu_peak_alloc_MiB=512.4, cpu_peak_rss_MiB=2000.0),
    ]
    table = closing_table([static, sam2], rows, {rows[0].key: [10.0] * 30, rows[1].key: [70.0] * 10})
    header, _, first, second, intervals, note = cells(table)
    assert [cell.strip() for cell in header] == ["arm", "objects", "FPS", "p50 ms", "p90 ms", "peak MiB", "J", "F", "J&F", "weights"]
    # 40 frames in a second
    assert [cell.strip() for cell in first] == [
        "static_mask",
        "2 + 1 oom",
        "40.00",
        "10.0",
        "70.0",
        "100 RSS",
        "0.625",
        "0.500",
        "0.562",
        "none",
    ]
    assert [cell.strip() for cell in second] == ["sam2_tiny_points bfloat16 512px", "1", "512 GPU", "random"]
    # of 40 samples, the 32nd and the 40th bound the 90th percentile: 31 or fewer lie under it with 1.6%, 40 with 1.5%
    assert intervals == ["95% intervals: static_mask p90 70.00 ms [70.00, 70.00]"]
    assert note[0].startswith("* untrained weights")


def test_a_percentile_of_too_few_frames_is_not_told() -> None:
    static, _ = arms()
    rows = [row(static, "a", frames=35, latency_ms=10.0)]
    *_, line, intervals = cells(closing_table([static], rows, {rows[0].key: [10.0] * 35}))
    assert [cell.strip() for cell in line][3:5] == ["10.0", "n<36"]
    assert intervals == ["95% intervals: static_mask p90 n too small (35 frames, 36 needed)"]


def test_remarks_tell_what_arms_share_once_and_fit_the_terminal() -> None:
    both = arms()
    rows = [row(arm, "a", frames=35, latency_ms=10.0) for arm in both]
    latencies = {one.key: [10.0] * 35 for one in rows}
    assert closing_table(both, rows, latencies).splitlines()[-1] == "95% intervals: every arm p90 n too small (35 frames, 36 needed)"
    narrow = closing_table(both, rows, latencies, width=40).splitlines()
    assert narrow[-2:] == ["95% intervals: every arm p90 n too small", "  (35 frames, 36 needed)"]


def test_streaming_scores_have_a_column_where_there_are_any() -> None:
    static, sam2 = arms()
    rows = [
        row(static, "a", streaming_JandF=0.5, camera_fps=24.0, latency_ms=10.0),
        row(static, "b", streaming_JandF=0.25, camera_fps=24.0, latency_ms=10.0),
        row(static, "c", status="error", streaming_JandF=1.0, camera_fps=24.0),
        row(sam2, "a", status="oom", camera_fps=24.0),
    ]
    header, _, first, second = cells(closing_table([static, sam2], rows, {}))
    assert header[-2:] == ["streaming", "weights"]
    assert [cell.strip() for cell in first[-2:]] == ["0.375 @24", "none"]
    assert "@" not in "".join(second)


def test_means_are_over_the_objects_that_all_arms_have_and_the_others_are_named() -> None:
    static, sam2 = arms()
    rows = [
        row(static, "a", J=0.5, F=0.5, JandF=0.5, frames=1, latency_ms=10.0),
        row(static, "b", J=0.9, F=0.9, JandF=0.9, frames=1, latency_ms=90.0),
        row(sam2, "a", J=0.6, F=0.6, JandF=0.6, frames=1, latency_ms=20.0),
        row(sam2, "b", status="oom"),
    ]
    _, _, first, second, note = cells(closing_table([static, sam2], rows, {}))
    assert [cell.strip() for cell in first][:3] == ["static_mask", "2", "100.0"]
    assert [cell.strip() for cell in first][-2:] == ["0.500", "none"]
    assert [cell.strip() for cell in second][-2:] == ["0.600", "none"]
    assert note == ["J, F and J&F: over the 1 object that all arms have; left out: b/000 not in sam2_tiny_points bfloat16 512px"]


def test_rows_that_are_not_valid_lose_their_times_and_keep_their_scores() -> None:
    static, sam2 = arms()
    scores = {"J": 0.5, "F": 0.5, "JandF": 0.5, "frames": 1}
    rows = [
        row(static, "a", latency_ms=10.0, cpu_peak_rss_MiB=50.0, **scores),
        row(
            static,
            "b",
            latency_ms=1000.0,
            cpu_peak_rss_MiB=900.0,
            validity="background load (3.0 CPUs)",
            **scores | {"JandF": 0.7, "F": 0.9},
        ),
        row(sam2, "a", latency_ms=20.0, validity="throttled (tj)", **scores),
        row(sam2, "b", latency_ms=20.0, validity="throttled (tj)", **scores),
    ]
    _, _, first, second, _, note = cells(closing_table([static, sam2], rows, {}))
    # of the first arm object b has no valid time: the times of both are over object a, the scores over both
    assert [cell.strip() for cell in first] == ["static_mask", "2", "100.0", "50 RSS", "0.500", "0.700", "0.600", "none"]
    assert [cell.strip() for cell in second][:3] == ["sam2_tiny_points bfloat16 512px !", "2", "50.00"]
    assert note[0].startswith("! no row of this arm is valid")


def test_an_arm_without_rows_has_no_figures() -> None:
    (static, _) = arms()
    assert [cell.strip() for cell in cells(closing_table([static], [], {}))[2]] == ["static_mask", "0"]


def test_plain_lines_say_what_came_of_each_object() -> None:
    static, _ = arms()
    stream = io.StringIO()
    progress = Progress(stream, stream)
    progress.begin(static.label, 3, [row(static, "before")])
    progress.begin_object("a", "000")
    progress.advance(1, 9)
    progress.end_object(row(static, "a", fps=12.345, JandF=0.5))
    progress.end_object(row(static, "b", status="timeout", error="no progress"))
    progress.close()
    assert stream.getvalue().splitlines() == [
        "static_mask: 2 objects to run",
        "[2/3] static_mask  a/000  ok  12.35 FPS  J&F 0.500",
        "[3/3] static_mask  b/000  timeout: no progress",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_the_running_means() -> None:
    static, _ = arms()
    stream = Terminal()
    progress = Progress(stream, stream)
    progress.begin(static.label, 2, [])
    progress.begin_object("a", "000")
    progress.end_object(row(static, "a", latency_ms=10.0, frames=30, JandF=0.25))
    progress.begin_object("b", "001")
    progress.advance(3, 9)
    progress.end_object(row(static, "b", status="error", error="broken file"))
    progress.close()
    said = stream.getvalue()
    assert "b/001 3/9, 100.00 FPS, J&F 0.250" in said
    assert "b/000: error: broken file" in said


def test_rows_that_are_not_valid_are_counted_by_reason() -> None:
    arm = arms()[0]
    rows = [row(arm, "a", validity="ok"), row(arm, "b"), row(arm, "c", validity="x", status="error")]
    assert invalid_rows_line(rows) == ""
    rows += [row(arm, "d", validity="throttled (sw_thermal); hot at the start (71 C)"), row(arm, "e", validity="hot at the start (80 C)")]
    assert invalid_rows_line(rows) == ("times of 2 of 5 rows are not comparable (column validity): hot at the start 2, throttled 1")


def test_shared_sessions_are_told() -> None:
    arm = arms()[0]
    assert shared_sessions_line([row(arm, "a")]) == ""
    told = shared_sessions_line([row(arm, "a"), row(arm, "b", session_latency_ms=30.0), row(arm, "c", session_latency_ms=50.0)])
    assert told.startswith("2 of 3 rows come from shared sessions")
    assert "takes 40.0 ms on average" in told
