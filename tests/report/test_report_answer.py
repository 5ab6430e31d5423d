"""What a report answers, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_files import LEGACY_WITH_PROXY, write_legacy
from report_files import ArmOfRun, report_of, write_run

from savbench.compare.protocol import RefusedError
from savbench.report.content import Settings, make_report


class TestAnswer:
    def test_a_usual_run(self, tmp_path: Path) -> None:
        run = [
            ArmOfRun("sam2_large", 0.8, 100.0),
            ArmOfRun("sam2_tiny", 0.7, 25.0),
            ArmOfRun("sam2_small", 0.65, 50.0),
            ArmOfRun("flow", 0.5, 5.0),
        ]
        answer = " ".join(report_of(write_run(tmp_path / "run", run)).answer)
        assert answer.startswith("Most accurate: sam2_large_mask, J&F 0.793 (95% interval ")
        assert "The next, sam2_tiny_mask, has 0.693" in answer
        assert "is more than chance" in answer
        assert "Fastest: sam2_tiny_mask" in answer
        assert "from accurate to fast: sam2_large_mask, sam2_tiny_mask. Another one is at least as good in both: sam2_small_mask." in answer
        assert "Least energy: sam2_tiny_mask" in answer
        assert "Above the floor, flow_mask with J&F 0.493, by more than chance: sam2_large_mask, sam2_tiny_mask, sam2_small_mask." in answer
        assert "Keeping up with a camera of 24 FPS at the 90th percentile of the latency: sam2_tiny_mask." in answer

    def test_times_of_invalid_rows_are_in_no_comparison(self, tmp_path: Path) -> None:
        loaded = {"validity": "background load (1.2 CPUs)"}
        run = [ArmOfRun("sam2_large", 0.8, 100.0), ArmOfRun("sam2_tiny", 0.7, 25.0, row=loaded), ArmOfRun("sam2_small", 0.65, 50.0)]
        answer = " ".join(report_of(write_run(tmp_path / "run", run)).answer)
        assert "Fastest: sam2_small_mask" in answer
        assert "Most accurate: sam2_large_mask, J&F 0.793" in answer
        assert "The next, sam2_tiny_mask†, has 0.693: the lead" in answer

        every = [ArmOfRun("sam2_large", 0.8, 100.0, row=loaded), ArmOfRun("sam2_tiny", 0.7, 25.0, row=loaded)]
        report = report_of(write_run(tmp_path / "loaded", every))
        answer = " ".join(report.answer)
        assert "Most accurate: sam2_large_mask†, J&F 0.793 (95%" in answer
        assert "every row's times are marked invalid; --force compares them." in answer
        assert "FPS" not in answer.replace("24 FPS", "")
        assert "Fastest" not in answer

    def test_arms_that_cannot_be_told_apart(self, tmp_path: Path) -> None:
        run = [ArmOfRun(latency_ms=100.0, dtype="float32"), ArmOfRun(latency_ms=50.0)]
        answer = " ".join(report_of(write_run(tmp_path / "run", run)).answer)
        assert "the data do not tell them apart" in answer
        assert "bfloat16 against float32: FPS x2.00 for sam2_tiny mask. J&F no difference shown for sam2_tiny mask." in answer

    def test_arms_that_are_equal_to_the_last_bit(self, tmp_path: Path) -> None:
        run = [ArmOfRun(latency_ms=100.0), ArmOfRun(latency_ms=50.0, attention="math")]
        answer = " ".join(report_of(write_run(tmp_path / "run", run)).answer)
        assert "the same on each of the 16 objects that both have, and it is 2.0 times as fast." in answer

    def test_untrained_models_win_nothing(self, tmp_path: Path) -> None:
        report = report_of(write_run(tmp_path / "run", [ArmOfRun(row={"weights": "random"}), ArmOfRun("flow")]))
        assert report.answer[0].startswith("Which model is most accurate cannot be told: the weights are untrained")
        assert "Untrained weights, J&F is meaningless: sam2_tiny_mask." in report.provenance.warnings
        # the scores carry the mark, too
        assert report.arms.rows[0][2].endswith("*")
        assert not report.arms.rows[1][2].endswith("*")

    def test_a_model_below_the_floor_is_called_out(self, tmp_path: Path) -> None:
        answer = " ".join(report_of(write_run(tmp_path / "run", [ArmOfRun(JandF=0.3), ArmOfRun("flow", 0.5)])).answer)
        assert answer.startswith("Most accurate: flow_mask, a baseline that learns nothing, J&F 0.493")
        assert "Below the floor, flow_mask with J&F 0.493, by more than chance: sam2_tiny_mask." in answer
        for praise in ("Fastest", "Least energy", "keep", "Worth choosing"):
            assert praise not in answer

    def test_what_is_above_the_floor_is_praised_and_the_rest_is_not(self, tmp_path: Path) -> None:
        run = [ArmOfRun("sam2_large", 0.8, 100.0), ArmOfRun("sam2_tiny", 0.3, 10.0), ArmOfRun("flow", 0.5, 5.0)]
        answer = " ".join(report_of(write_run(tmp_path / "run", run)).answer)
        assert "Fastest of those above the floor: sam2_large_mask" in answer

    def test_a_lead_over_the_floor_on_two_videos_is_no_finding(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", [ArmOfRun(), ArmOfRun("flow", 0.5)], videos=["v0", "v1"])
        answer = " ".join(report_of(run).answer)
        assert (
            "Higher than the floor, flow_mask with J&F 0.458, on 4 objects of 2 videos, too few to exclude chance: sam2_tiny_mask."
            in answer
        )
        assert "bove the floor" not in answer

    def test_too_few_videos_make_no_claim(self, tmp_path: Path) -> None:
        answer = " ".join(report_of(write_run(tmp_path / "run", [ArmOfRun(), ArmOfRun("edgetam", 0.6)], videos=["v0", "v1"])).answer)
        assert "with 2 videos in common there is no interval, so that this may be chance" in answer

    def test_nothing_but_failures(self, tmp_path: Path) -> None:
        failing = {f"v0/{index:03d}": ("oom", "CUDA out of memory; use a smaller --imgsz") for index in range(2)}
        report = report_of(write_run(tmp_path / "run", [ArmOfRun(failing=failing)], videos=["v0"]))
        assert report.answer == ("No row has figures: nothing can be said about speed or accuracy. The reasons are under Circumstances.",)
        assert {figure.key for figure in report.figures} <= {"power", "temperature"}
        assert report.provenance.failures is not None
        assert report.provenance.failures.rows == [
            ["sam2_tiny_mask", "oom", "2", "CUDA out of memory; use a smaller --imgsz", "v0/000, v0/001"]
        ]

    def test_files_of_older_tools(self, tmp_path: Path) -> None:
        cells = [
            {"video": f"v{i}", "object": 0, "model": f"{model}_mask", "imgsz": 1024, "J": 0.5, "latency_ms": 20, "fps": 50}
            for model in ("sam2_tiny", "edgetam")
            for i in range(7)
        ]
        report = report_of(write_legacy(tmp_path / "old.csv", LEGACY_WITH_PROXY, cells))
        assert "no row has J&F" in report.answer[0]
        assert any("whole-clip" in note for note in report.provenance.notes)

    def test_two_versions_of_the_protocol_are_shown_together_on_request_only(self, tmp_path: Path) -> None:
        paths = [write_run(tmp_path / f"v{number}", [ArmOfRun(row={"protocol_version": number})]) for number in (1, 2)]
        with pytest.raises(RefusedError, match=r"version 1: v1; version 2: v2.*--force"):
            make_report(paths, Settings(), [])
        report = make_report(paths, Settings(force=True), [])
        assert [row[0] for row in report.arms.rows] == ["sam2_tiny_mask protocol version 1", "sam2_tiny_mask protocol version 2"]
