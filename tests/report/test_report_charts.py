"""What the charts of a report show, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compare_files import row, rows, write
from report_files import STAGE_SHARES, ArmOfRun, arms_of, drawn, legend, report_of, write_run

from savbench.report import telemetry
from savbench.report.arms import Arm, find_arms
from savbench.report.charts import (
    Axis,
    Bars,
    Boxes,
    Figure,
    Lines,
    Missing,
    Point,
    Scatter,
    axis,
    style_of,
)
from savbench.report.memory import peak_memory
from savbench.report.provenance import why_no_power
from savbench.report.runs import read_runs
from savbench.report.sheet import NARROW, WIDE, Sheet
from savbench.report.streaming import streaming, winners
from savbench.report.timing import frames_of, latency_distributions, latency_over_frames, stage_shares, sustained_speed
from savbench.report.tradeoffs import JOULES, SPEED, accuracy_against_energy, accuracy_against_speed, pareto_front
from savbench.results.foreign import load_results
from savbench.results.grid import Grid

FRAMES_HEADER = "arm_id,video,object,frame,latency_ms,J\n"
TELEMETRY_HEADER = "time,arm_id,phase,total_mw,temperatures_c,alarms\n"


def box_of(corners: list[list[float]]) -> Any:
    return pytest.importorskip("matplotlib.transforms").Bbox(corners)


def streamed(score: float, rate: float) -> dict[str, float]:
    return {"streaming_JandF": score, "camera_fps": rate}


class TestTradeoffs:
    RUN = (
        ArmOfRun("sam2_large", 0.8, 100.0), ArmOfRun("sam2_tiny", 0.7, 50.0), ArmOfRun("sam2_small", 0.65, 80.0),
        ArmOfRun("edgetam", 0.85, 10.0, row={"weights": "random"}), ArmOfRun("flow", 0.5, 5.0),
    )  # fmt: skip

    def test_the_front_is_what_nothing_beats(self, tmp_path: Path) -> None:
        arms = arms_of(write_run(tmp_path / "run", self.RUN))
        assert [arm.settings["model"] for arm in pareto_front(arms[:3], SPEED)] == ["sam2_large", "sam2_tiny"]
        # energy is in step with the latency
        assert [arm.settings["model"] for arm in pareto_front(arms[:3], JOULES)] == ["sam2_large", "sam2_tiny"]
        assert pareto_front(arms[:1] * 2, SPEED) == arms[:1] * 2

    def test_untrained_models_are_hollow_and_baselines_a_floor(self, tmp_path: Path) -> None:
        figure = accuracy_against_speed(arms_of(write_run(tmp_path / "run", self.RUN)))
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Scatter)
        assert [point.label for point in figure.drawing.points if point.is_hollow] == ["edgetam_mask*"]
        assert [point.label for point in figure.drawing.points if point.on_front] == ["sam2_large_mask", "sam2_tiny_mask"]
        assert [label for label, _ in figure.drawing.floors] == ["flow_mask"]
        assert figure.drawing.front[0][0] > figure.drawing.front[1][0]
        assert any("meaningless" in note for note in figure.notes)
        point = figure.drawing.points[0]
        assert point.y_interval is not None
        assert point.y_interval[0] < point.y < point.y_interval[1]

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        arms = arms_of(write_run(tmp_path / "run", [ArmOfRun()], has_power=False))
        figure = accuracy_against_energy(arms, "Because.")
        assert isinstance(figure, Missing)
        assert figure.reason == "No row has energy per frame. Because."
        unscored = arms_of(write_run(tmp_path / "unscored", [ArmOfRun(row={"J": "", "F": "", "JandF": ""})]))
        assert isinstance(accuracy_against_speed(unscored), Missing)

    @pytest.mark.parametrize("sheet", [WIDE, NARROW], ids=["desktop", "phone"])
    @pytest.mark.parametrize("count", [1, 3, 12])
    def test_names_lie_on_nothing(self, sheet: Sheet, count: int) -> None:
        points = tuple(
            Point(f"an arm of number {i}", style_of(i), 10 + i % 3, 0.5 + i % 4 / 100, y_interval=(0.48, 0.55), on_front=i < 2)
            for i in range(count)
        )
        scatter = Scatter(axis("FPS", [10, 12]), Axis("J&F", low=0.4, high=0.6), points, floors=(("flow", 0.5),))
        axes = drawn(Figure("key", "title", "says", scatter, Grid([], [])), sheet)
        names = {text.get_text(): text.get_window_extent() for text in axes.texts}
        marks = [*names.values()]
        for x, y in ((point.x, point.y) for point in points):
            (left, bottom), (right, top) = axes.transData.transform([(x, 0.48), (x, 0.55)])
            marks.append(box_of([[left - 1, bottom], [right + 1, top]]))
            px, py = axes.transData.transform((x, y))
            marks.append(box_of([[px - 4, py - 4], [px + 4, py + 4]]))
        for name, box in names.items():
            assert [other for other in marks if other is not box and box.overlaps(other)] == [], name
            assert axes.get_window_extent().contains(box.x0, box.y0)
            assert axes.get_window_extent().contains(box.x1, box.y1)
        # every name is to be read somewhere
        everything = {point.label for point in points} | {"flow 0.500"}
        assert everything <= set(names) | set(legend(axes))

    @pytest.mark.parametrize("sheet", [WIDE, NARROW], ids=["desktop", "phone"])
    @pytest.mark.parametrize("scores", [(0.0,), (1.0, 0.99), (0.03, 0.0), (1.0, 0.0)])
    def test_scores_of_0_and_1_lie_off_the_axis(self, tmp_path: Path, sheet: Sheet, scores: tuple[float, ...]) -> None:
        run = [
            ArmOfRun(model, row=dict.fromkeys(("J", "F", "JandF"), score))
            for model, score in zip(("sam2_tiny", "empty"), scores, strict=False)
        ]
        figure = accuracy_against_speed(arms_of(write_run(tmp_path / "run", run)))
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Scatter)
        axes = drawn(figure, sheet)
        inside = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert inside.x0 < box.x0 - 1
            assert inside.y0 < box.y0 - 1
        for point in figure.drawing.points:
            _, y = axes.transData.transform((point.x, point.y))
            assert inside.y0 < y - 4 < y + 4 < inside.y1, "the whole marker"
        low, high = axes.get_ylim()
        assert all(0 <= tick <= 1.0000001 for tick in axes.get_yticks() if low <= tick <= high)

    def test_a_long_name_in_the_legend_stays_on_the_sheet(self) -> None:
        points = tuple(Point(f"arm {i} of a submitter with a long address " * 3, style_of(i), i, 0.5) for i in range(2))
        scatter = Scatter(axis("FPS", [0, 1]), Axis("J&F", low=0.4, high=0.6), points)
        axes = drawn(Figure("key", "title", "says", scatter, Grid([], [])), NARROW)
        (found,) = axes.figure.legends
        assert len(legend(axes)) == 2
        sheet = axes.figure.bbox
        box = found.get_window_extent()
        assert sheet.x0 <= box.x0 < box.x1 <= sheet.x1
        assert sheet.y0 <= box.y0 < box.y1 < axes.get_window_extent().y0


class TestTiming:
    def write(self, folder: Path, frames: str) -> Path:
        folder.mkdir()
        write(
            folder / "summary.csv", [row("v0", "000", arm_id="a"), row("v1", "000", arm_id="a", latency_ms=None, status="error", error="x")]
        )
        (folder / "frames.csv").write_text(FRAMES_HEADER + frames)
        return folder

    def frames(self, folder: Path) -> tuple[list[Arm], dict[int, pd.DataFrame]]:
        results = load_results([folder])
        arms = find_arms(results)
        return arms, frames_of(arms, read_runs([folder], results), results.rows)

    def test_percentiles_of_the_frames_of_rows_that_count(self, tmp_path: Path) -> None:
        counted = "".join(f"a,v0,000,{i},{i},\n" for i in range(1, 102))
        arms, frames = self.frames(self.write(tmp_path / "run", counted + "a,v1,000,1,5000,\nother,v0,000,1,9000,\n"))
        figure = latency_distributions(arms, frames)
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Boxes)
        (box,) = figure.drawing.boxes
        assert (box.count, box.p1, box.p25, box.p50, box.p75, box.p99, box.mean) == (101, 2, 26, 51, 76, 100, 51)

    def test_names_of_objects_that_a_spreadsheet_changed_still_match(self, tmp_path: Path) -> None:
        _, frames = self.frames(self.write(tmp_path / "run", "a,v0,0,1,7,\na,v0,0.0,2,9,\n"))
        assert list(frames[0]["latency_ms"]) == [7, 9]

    def test_a_line_over_the_frames_is_thinned_and_says_so(self, tmp_path: Path) -> None:
        arms, frames = self.frames(self.write(tmp_path / "run", "".join(f"a,v0,000,{i},{10 if i < 300 else 20},\n" for i in range(600))))
        figure = latency_over_frames(arms, frames)
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Lines)
        (line,) = figure.drawing.lines
        assert len(line.x) == 60
        assert (line.x[0], line.y[0], line.y[-1]) == (4.5, 10, 20)
        assert "A point is 10 frames" in figure.says
        assert figure.table.rows[0][-1] == "x2.00"

    def test_a_half_written_line_and_a_missing_file_are_no_end(self, tmp_path: Path) -> None:
        arms, frames = self.frames(self.write(tmp_path / "run", "a,v0,000,1,7,\na,v0,0"))
        assert list(frames[0]["latency_ms"]) == [7]
        (tmp_path / "run" / "frames.csv").unlink()
        arms, frames = self.frames(tmp_path / "run")
        assert frames == {}
        figure = latency_distributions(arms, frames)
        assert isinstance(figure, Missing)
        assert "frames.csv" in figure.reason

    def test_stages_are_shares_of_their_sum(self, tmp_path: Path) -> None:
        results = load_results([write_run(tmp_path / "run", [ArmOfRun(), ArmOfRun("static")], has_stages=True)])
        figure = stage_shares(find_arms(results), results.rows)
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Bars)
        assert figure.drawing.categories == ("sam2_tiny_mask",)
        shares = {part.label: dict(zip(figure.drawing.categories, part.values, strict=True)) for part in figure.drawing.parts}
        assert shares["image encoder"] == {"sam2_tiny_mask": pytest.approx(42)}
        assert sum(share["sam2_tiny_mask"] for share in shares.values()) == pytest.approx(100)
        assert len(figure.drawing.parts) == len(STAGE_SHARES)
        assert figure.notes[0].startswith("Not recorded for static_mask: --stages")

    def test_without_stages_the_parts_that_every_row_has_are_shown(self, tmp_path: Path) -> None:
        results = load_results([write_run(tmp_path / "run", [ArmOfRun()])])
        figure = stage_shares(find_arms(results), results.rows)
        assert isinstance(figure, Figure)
        assert isinstance(figure.drawing, Bars)
        assert [part.label for part in figure.drawing.parts] == ["preprocessing", "model", "threshold and copy out"]
        assert "--stages" in figure.notes[0]
        bare = load_results([write(tmp_path / "bare.csv", rows(2))])
        assert isinstance(stage_shares(find_arms(bare), bare.rows), Missing)

    def test_sustained_speed_is_in_units_of_each_objects_first_run(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "run", "a,v0,000,1,7,\n")
        lines = "".join(f"a,v{v},000,{minute},{(1 + v) * 10 * (1 if minute < 5 else 0.8)},60\n" for minute in range(10) for v in range(2))
        (folder / "sustained.csv").write_text("arm_id,video,object,minutes,fps,temperature_peak_c\n" + lines)
        results = load_results([folder])
        (figure,) = sustained_speed(find_arms(results), read_runs([folder], results))
        assert isinstance(figure.drawing, Lines)
        assert (figure.drawing.lines[0].y[0], figure.drawing.lines[0].y[-1]) == (1, 0.8)


class TestMemoryAndBoard:
    def test_the_board_is_quoted_where_it_is_known(self, tmp_path: Path) -> None:
        results = load_results([write_run(tmp_path / "run", [ArmOfRun(latency_ms=50.0)])])
        (arm,) = find_arms(results)
        assert (arm.summary.peak_MiB, arm.summary.peak_kind) == (4250, "board")
        figure = peak_memory([arm], results.rows)
        assert isinstance(figure, Figure)
        assert figure.table.rows == [["sam2_tiny_mask", "4250", "950", "750", "1900"]]
        plain = load_results([write(tmp_path / "plain.csv", rows(2))])
        (alone,) = find_arms(plain)
        assert (alone.summary.peak_MiB, alone.summary.peak_kind) == (500, "GPU")

    def prepared(self, lines: str, tmp_path: Path) -> tuple[list[Arm], list[Figure | Missing]]:
        folder = tmp_path / "run"
        write_run(folder, [ArmOfRun(row={"arm_id": "a"})], videos=["v0"])
        (folder / "telemetry.csv").write_text(TELEMETRY_HEADER + lines)
        results = load_results([folder])
        arms = find_arms(results)
        return arms, telemetry.power_and_temperature(arms, read_runs([folder], results), "")

    def test_readings_become_watts_of_the_arm_and_pauses_are_left_out(self, tmp_path: Path) -> None:
        lines = (
            "2026-01-01T08:00:00.000+00:00,a,idle,5000,cpu=50.0; tj=52.5,\n"
            "2026-01-01T08:00:30.000+00:00,a,timed,9000,cpu=70.0; tj=61.0,\n"
            "2026-01-01T10:00:00.000+00:00,a,timed,11000,cpu=70.0; gpu=63.0,oc1\n"
            "2026-01-01T10:00:30.000+00:00,a,timed,10000,,\n"
        )
        _, (power, heat) = self.prepared(lines, tmp_path)
        assert isinstance(power, Figure)
        assert isinstance(heat, Figure)
        assert isinstance(power.drawing, Lines)
        assert isinstance(heat.drawing, Lines)
        during, between = power.drawing.lines
        assert (during.label, between.label) == ("sam2_tiny_mask", "between arms")
        assert between.y[0] == 5
        assert between.x[0] == 0
        # two hours without a reading take no room: 30 s before them and 30 s after
        assert max(during.x) == 1.0
        assert power.table.rows == [["sam2_tiny_mask", "3", "9.000", "10.00", "11.00"]]
        # the junction where it is told, else the hottest zone
        assert heat.table.rows[0][2:] == ["61.00", "65.50", "70.00"]
        assert heat.drawing.marks == ((0.5, 70.0, "oc1"),)

    def test_many_readings_are_drawn_as_few(self, tmp_path: Path) -> None:
        times = pd.date_range("2026-01-01", periods=5000, freq="s", tz="UTC")
        lines = "".join(f"{time.isoformat()},a,timed,{1000 * (5 + index % 2)},tj=50.0,\n" for index, time in enumerate(times))
        _, (power, _) = self.prepared(lines, tmp_path)
        assert isinstance(power, Figure)
        assert isinstance(power.drawing, Lines)
        (line,) = power.drawing.lines
        assert len(line.x) <= telemetry.MOST_POINTS
        assert (min(line.low), max(line.high)) == (5, 6)
        assert "5000 readings" in power.notes[0]

    def test_why_power_is_missing(self, tmp_path: Path) -> None:
        none = load_results([write_run(tmp_path / "none", [ArmOfRun()], has_power=False)]).rows
        assert "found no source" in why_no_power(none)
        noted = load_results([write(tmp_path / "noted.csv", [row(power_note="jtop went away")])]).rows
        assert why_no_power(noted) == "The rows say why: jtop went away."
        report = report_of(tmp_path / "none")
        (missing,) = next(chapter for chapter in report.chapters if chapter.key == "power").items
        assert isinstance(missing, Missing)
        assert "telemetry.csv" in missing.reason


class TestStreaming:
    def test_the_winner_changes_with_the_rate(self, tmp_path: Path) -> None:
        run = [
            ArmOfRun(model, 0.7, latency, row=streamed(score, rate))
            for model, latency, scores in (("sam2_large", 300.0, (0.75, 0.4)), ("edgetam", 40.0, (0.7, 0.65)))
            for rate, score in zip((6, 24), scores, strict=True)
        ]
        results = load_results([write_run(tmp_path / "run", run)])
        arms = find_arms(results)
        assert [arm.label for arm in arms][:2] == ["sam2_large_mask camera 6", "sam2_large_mask camera 24"]
        best = winners(arms, results.rows)
        assert [(rate, arm.settings["model"], round(score, 6)) for rate, arm, score in best] == [
            (6.0, "sam2_large", 0.75),
            (24.0, "edgetam", 0.65),
        ]
        bars, by_rate = streaming(arms, results.rows)
        assert isinstance(bars, Figure)
        assert isinstance(by_rate, Figure)
        assert isinstance(by_rate.drawing, Lines)
        drawn = {line.label: dict(zip(line.x, np.round(line.y, 6), strict=True)) for line in by_rate.drawing.lines}
        assert drawn == {"sam2_large_mask": {6: 0.75, 24: 0.4}, "edgetam_mask": {6: 0.7, 24: 0.65}}

    def test_a_sweep_over_several_runs_is_one_line(self, tmp_path: Path) -> None:
        paths = [write_run(tmp_path / f"at{rate}", [ArmOfRun(row=streamed(0.9 - rate / 100, rate))]) for rate in (12, 24)]
        results = load_results(paths)
        _, by_rate = streaming(find_arms(results), results.rows)
        assert isinstance(by_rate, Figure)
        assert isinstance(by_rate.drawing, Lines)
        assert [line.x for line in by_rate.drawing.lines] == [(12, 24)]

    def test_without_it_the_flag_is_named(self, tmp_path: Path) -> None:
        results = load_results([write_run(tmp_path / "run", [ArmOfRun()])])
        (missing,) = streaming(find_arms(results), results.rows)
        assert isinstance(missing, Missing)
        assert "--realtime" in missing.reason
