"""What a report says, worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from compare_files import row, rows, write
from report_files import ArmOfRun, arms_of, drawn, legend, report_of, write_run

from savbench.compare.findings import Options
from savbench.data.csv_file import InputError
from savbench.report import rows_table
from savbench.report.changes import change_figures, compare_all, losses
from savbench.report.charts import (
    Change,
    Figure,
    Forest,
    Missing,
    axis,
    number,
    ratio_ticks,
    style_of,
)
from savbench.report.content import Report
from savbench.report.sheet import NARROW, WIDE
from savbench.results.foreign import load_results
from savbench.results.grid import Grid


class TestArms:
    def test_names_have_what_tells_arms_of_a_model_apart(self, tmp_path: Path) -> None:
        run = [
            ArmOfRun(dtype="float32"), ArmOfRun(), ArmOfRun(attention="math"), ArmOfRun(row={"compile": "full", "arm_id": "compiled"}),
            ArmOfRun("edgetam"), ArmOfRun("static"),
        ]  # fmt: skip
        labels = [arm.label for arm in arms_of(write_run(tmp_path / "run", run))]
        assert labels == [
            "sam2_tiny_mask float32", "sam2_tiny_mask bfloat16", "sam2_tiny_mask bfloat16 math", "sam2_tiny_mask bfloat16 compile full",
            "edgetam_mask bfloat16", "static_mask",
        ]  # fmt: skip

    def test_the_file_is_named_only_where_nothing_else_differs(self, tmp_path: Path) -> None:
        paths = [write_run(tmp_path / name, [ArmOfRun(), *more]) for name, more in (("old", []), ("new", [ArmOfRun("edgetam")]))]
        assert [arm.label for arm in arms_of(*paths)] == ["sam2_tiny_mask (old)", "sam2_tiny_mask (new)", "edgetam_mask"]

    def test_rows_that_failed_before_the_model_was_built_belong_to_their_arm(self, tmp_path: Path) -> None:
        lost = row("v9", latency_ms=None, status="oom", error="too large", weights="", device="", device_name="", torch_version="")
        (arm,) = arms_of(write(tmp_path / "a.csv", [*rows(4), lost]))
        assert (len(arm.rows), len(arm.scored)) == (9, 8)
        assert arm.summary.counts == {"ok": 8, "oom": 1}

    def test_marks(self, tmp_path: Path) -> None:
        run = [
            ArmOfRun("sam2_tiny", row={"weights": "random"}),
            ArmOfRun("sam2_small", row={"validity": "throttled (tj)"}),
            ArmOfRun("sam2_base", row={"shared": "2 objects"}),
        ]
        assert [arm.shown for arm in arms_of(write_run(tmp_path / "run", run))] == [
            "sam2_tiny_mask*",
            "sam2_small_mask†",
            "sam2_base_mask‡",
        ]

    def test_rows_marked_invalid_count_only_where_all_are_or_if_forced(self, tmp_path: Path) -> None:
        listed = rows(4)
        listed[0] = dataclasses.replace(listed[0], validity="throttled (tj)")
        path = write(tmp_path / "a.csv", listed)
        assert (len(arms_of(path)[0].timed), len(arms_of(path, force=True)[0].timed)) == (7, 8)
        # what is wrong with a row's time says nothing about its masks
        assert arms_of(path)[0].JandF == pytest.approx(0.435)
        assert not arms_of(path)[0].is_doubtful
        all_invalid = write(tmp_path / "b.csv", [dataclasses.replace(made, validity="swap touched") for made in listed])
        (arm,) = arms_of(all_invalid)
        assert arm.is_doubtful
        assert len(arm.timed) == 8
        assert arm.JandF == pytest.approx(0.435)

    def test_objects_tracked_alone_and_together_are_one_arm_with_one_mean(self, tmp_path: Path) -> None:
        listed = rows(4)
        if not hasattr(listed[0], "shared"):
            pytest.skip("this version has no shared sessions")
        listed[2:4] = [dataclasses.replace(made, shared="2 objects") for made in listed[2:4]]
        (arm,) = arms_of(write(tmp_path / "a.csv", listed))
        assert arm.shared == ("2 objects",)
        # 0.40, 0.41, ... 0.47
        assert arm.JandF == pytest.approx(0.435)

    def test_an_object_that_is_there_twice_is_refused_with_its_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", [row(), row(latency_ms=21.0)])
        with pytest.raises(InputError, match=r"a\.csv:2 and .*a\.csv:3: two rows for v0/000"):
            arms_of(path)


class TestChanges:
    def figures(self, path: Path) -> dict[str, Figure | Missing]:
        compared = compare_all(load_results([path]), Options(resamples=1000))
        return {item.title: item for index, found in enumerate(compared) for item in change_figures(found, index)}

    def test_ratio_and_difference_between_dtypes(self, tmp_path: Path) -> None:
        run = [ArmOfRun(latency_ms=100.0, dtype="float32"), ArmOfRun(latency_ms=50.0), ArmOfRun("static")]
        figures = self.figures(write_run(tmp_path / "run", run))
        ratios = figures["Between dtypes: speed, memory, energy"]
        assert isinstance(ratios, Figure)
        assert isinstance(ratios.drawing, Forest)
        ((heading, changes),) = ratios.drawing.groups
        assert heading == "bfloat16 against float32"
        assert {change.label: (round(change.value, 6), change.verdict) for change in changes}["FPS"] == (2.0, "better")
        assert {change.label: round(change.value, 6) for change in changes}["J/frame"] == 0.5
        assert "In all of them: model sam2_tiny, prompt mask, 1024 px." in ratios.says
        scores = figures["Between dtypes: difference in J&F"]
        assert isinstance(scores, Figure)
        attention = figures["Between attentions"]
        assert isinstance(attention, Missing)
        assert attention.reason == "Nothing to compare: only auto was run. --attention auto,flash,math runs several."

    def test_a_learned_model_is_set_against_the_floor(self, tmp_path: Path) -> None:
        figures = self.figures(write_run(tmp_path / "run", [ArmOfRun(), ArmOfRun("static", 0.3), ArmOfRun("flow", 0.5)]))
        scores = figures["Between models and the floor, flow: difference in J&F"]
        assert isinstance(scores, Figure)
        assert isinstance(scores.drawing, Forest)
        ((_, (change,)),) = scores.drawing.groups
        assert (change.label, round(change.value, 3), change.verdict) == ("sam2_tiny against flow", 0.2, "better")

    def test_without_an_interval_nothing_is_shown(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", [ArmOfRun(latency_ms=100.0, dtype="float32"), ArmOfRun(latency_ms=23.0)], videos=["v0", "v1"])
        ratios = self.figures(run)["Between dtypes: speed, memory, energy"]
        assert isinstance(ratios, Figure)
        assert isinstance(ratios.drawing, Forest)
        by_label = {change.label: change.verdict for change in ratios.drawing.groups[0][1]}
        assert by_label["p50 ms"] == "no interval"
        axes = drawn(ratios, WIDE)
        assert {line.get_label(): line.get_marker() for line in axes.lines}["no interval"] == "x"
        assert "no difference shown" not in legend(axes)

    def test_labels_of_rows_do_not_lie_on_each_other(self) -> None:
        changes = tuple(
            Change(f"bfloat16 against float32 (prompt {prompt})", 0.1, None, "no interval") for prompt in ("mask", "bbox", "points")
        )
        forest = Forest(axis("difference in J&F", [0.1]), (("", changes), ("Between models of one size and one prompt", changes)), 0.0)
        for sheet in (WIDE, NARROW):
            axes = drawn(Figure("key", "title", "says", forest, Grid([], [])), sheet)
            texts = [text for text in (*axes.get_yticklabels(), *axes.texts) if text.get_text()]
            boxes = [text.get_window_extent() for text in texts]
            assert len(boxes) >= 7
            assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[index + 1 :])

    def test_what_is_not_compared_has_one_line_per_cause(self, tmp_path: Path) -> None:
        def loaded(dtype: str, model: str, cpus: str) -> ArmOfRun:
            return ArmOfRun(model, dtype=dtype, row={"validity": f"background load ({cpus} CPUs)"})

        arms = [loaded("float32", "sam2_tiny", "0.7"), loaded("bfloat16", "sam2_tiny", "1.1"), loaded("float32", "edgetam", "0.9")]
        arms.append(loaded("bfloat16", "edgetam", "0.9"))
        failing = ArmOfRun("sam2_base", dtype="float32"), ArmOfRun("sam2_base", failing={"v1/000": ("oom", "CUDA out of memory")})
        run = write_run(tmp_path / "run", [*arms, *failing], videos=["v0", "v1"], objects=1)
        dtypes = compare_all(load_results([run]), Options(resamples=1000))[0]
        assert losses(dtypes) == [
            "bfloat16 against float32: 1 not compared, oom in bfloat16: v1/000",
            "bfloat16 against float32: times of 4 not compared, invalid (background load (0.7 to 1.1 CPUs)) in both: v0/000, v1/000",
        ]

    def test_untrained_models_have_no_difference_in_accuracy(self, tmp_path: Path) -> None:
        untrained = {"weights": "random"}
        figures = self.figures(write_run(tmp_path / "run", [ArmOfRun(dtype="float32", row=untrained), ArmOfRun(row=untrained)]))
        scores = figures["Between dtypes: difference in J&F"]
        assert isinstance(scores, Missing)
        assert "meaningless" in scores.reason
        assert isinstance(figures["Between dtypes: speed, memory, energy"], Figure)

    def test_what_compare_refuses_is_said_in_its_words(self, tmp_path: Path) -> None:
        other = {"nvpmodel": "15W"}
        figures = self.figures(write_run(tmp_path / "run", [ArmOfRun(dtype="float32"), ArmOfRun(row=other)]))
        refused = figures["Between dtypes"]
        assert isinstance(refused, Missing)
        assert refused.reason.startswith("Refused: float32 and bfloat16 differ in what is not compared (power mode: MAXN and 15W)")

    def test_runs_are_compared_with_each_other(self, tmp_path: Path) -> None:
        paths = [write_run(tmp_path / name, [ArmOfRun(latency_ms=latency)]) for name, latency in (("before", 50.0), ("after", 40.0))]
        compared = compare_all(load_results(paths), Options(resamples=1000))
        _, ratios = change_figures(compared[-1], 1)
        assert ratios.title == "Between runs: speed, memory, energy"
        assert isinstance(ratios, Figure)
        assert ratios.table.rows[0][:3] == ["after against before", "FPS", "x1.250"]


class TestRowsTable:
    def test_constant_and_empty_columns_leave_the_table(self, tmp_path: Path) -> None:
        rows_of = report_of(write_run(tmp_path / "run", [ArmOfRun(), ArmOfRun("edgetam")])).rows
        names = [column.name for column in rows_of.columns]
        assert names[:4] == ["arm", "video", "object", "status"]
        assert dict(rows_of.constant)["prompt"] == "mask"
        assert "prompt" not in names
        assert "overlay" not in names
        assert not {"path", "line", "failure", "invalid"} & set(names)
        assert rows_of.left_out == 0
        first = dict(zip(names, rows_of.cells[0], strict=True))
        assert (first["video"], first["object"], first["model"]) == ("v0", "000", "sam2_tiny")
        assert first["latency_p90_ms"] == 55

    def test_numbers_are_rounded_and_missing_ones_empty(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", [row("v0", J=1 / 3, latency_ms=20.0), row("v1", latency_ms=None, status="error", error="x")])
        table = report_of(path).rows
        scores = [cells[[column.name for column in table.columns].index("J")] for cells in table.cells]
        assert scores == [0.333333, None]

    def test_too_many_rows_are_cut_and_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows_table, "MOST_CELLS", 100)
        table = report_of(write(tmp_path / "a.csv", rows(8))).rows
        assert len(table.cells) == 100 // len(table.columns)
        assert table.left_out == 16 - len(table.cells)


def test_numbers_and_ticks() -> None:
    assert [number(value) for value in (None, math.nan, 0.12345, 1.2345, 12.345, 123.45, 12345.6)] == [
        "", "", "0.1235", "1.234", "12.35", "123.5", "12346",
    ]  # fmt: skip
    assert axis("ms", [1, 19]).is_log is False
    assert axis("ms", [1, 20]).is_log is True
    assert axis("ms", [-1, 5]).low is None
    for low, high in ((0.9, 1.1), (0.001, 1.2), (0.5, 100.0)):
        ticks = ratio_ticks(low, high)
        assert 1.0 in ticks
        assert len(ticks) <= 9
        assert np.all(np.diff(ticks) > 0)
    assert len({(style.colour, style.symbol, style.dash) for style in map(style_of, range(84))}) == 84


def test_a_percentile_that_the_frames_cannot_carry_is_not_told(tmp_path: Path) -> None:
    def told(name: str, frames: int) -> tuple[str, Report]:
        report = report_of(write_run(tmp_path / name, [ArmOfRun()], frames=frames))
        return report.arms.rows[0][report.arms.header.index("p99 ms")], report

    # 16 objects
    shown, report = told("few", 22)
    assert shown == "n<368"
    assert "n<368: too few timed frames for this percentile, it needs 368." in report.arms_notes
    shown, report = told("enough", 23)
    assert float(shown) > 0
    assert not any("too few" in note for note in report.arms_notes)
