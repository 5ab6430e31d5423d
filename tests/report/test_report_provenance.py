"""What a report says of its rows' circumstances, and what it warns of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from compare_files import rows, write
from report_files import ArmOfRun, report_of, write_run


class TestProvenance:
    def test_circumstances_and_commands(self, tmp_path: Path) -> None:
        provenance = report_of(write_run(tmp_path / "run", [ArmOfRun()])).provenance
        ((label, facts),) = provenance.circumstances
        assert label == "run"
        told = dict(facts.rows)
        assert told["board"] == "NVIDIA Jetson Orin Nano, l4t 36.4.3, jetpack 6.2"
        assert told["power mode"] == "MAXN"
        assert told["packages"] == "torch 2.5.0a0, numpy 1.26.4"
        assert (
            "run run",
            ".venv/bin/python jetson_benchmark.py --split_dir '/data/sav val' --models sam2_tiny_mask",
        ) in provenance.commands
        assert provenance.commands[-1][1].startswith(".venv/bin/python jetson_benchmark.py report ")

    @pytest.mark.parametrize(
        ("arms", "warning"),
        [
            ([ArmOfRun(row={"validity": "clocks not locked"})], "16 rows not valid: clocks not locked."),
            (
                [ArmOfRun(row={"validity": "swap touched (1.0 MiB); background load (1.2 CPUs)"})],
                "16 rows not valid: background load 1.2 CPUs.",
            ),
            (
                [ArmOfRun(row={"validity": "swap touched (1.0 MiB)"})],
                "Every row of all arms is marked invalid: times, power and memory are",
            ),
            ([ArmOfRun(row={"validity": "hot"}), ArmOfRun("edgetam")], "Every row of sam2_tiny_mask is marked invalid"),
            ([ArmOfRun(row={"shared": "2 objects"})], "Rows of sam2_tiny_mask were tracked in shared sessions (2 objects)"),
            ([ArmOfRun(row={"max_frames": 24})], "Clips were cut after 24 frames (--max_frames)"),
            ([ArmOfRun(row={"frame_stride": 4})], "Every 4 frames are tracked"),
            (
                [ArmOfRun(), ArmOfRun("edgetam", row={"nvpmodel": "15W"})],
                "The power mode differs: MAXN for sam2_tiny_mask; 15W for edgetam_mask.",
            ),
            ([ArmOfRun(), ArmOfRun(row={"weights": "b" * 64})], "sam2_tiny ran with 2 different weights."),
            ([ArmOfRun(row={"warnings": 2, "warning_lines": "slow path | old API"})], "32 Python warnings were raised"),
            ([ArmOfRun(row={"timed_compilations": 1})], "16 graphs were compiled during timed frames"),
            ([ArmOfRun(row={"compile_fallback": "encoder: no compiler"})], "ran uncompiled: encoder: no compiler."),
            ([ArmOfRun(row={"benchmark_version": "0123+"})], "The benchmark's code had changes that were not committed."),
        ],
    )
    def test_warnings(self, arms: list[ArmOfRun], warning: str, tmp_path: Path) -> None:
        found = report_of(write_run(tmp_path / "run", arms)).provenance.warnings
        assert any(warning in text for text in found), found

    def test_a_cause_is_told_once_with_the_range_of_its_figures(self, tmp_path: Path) -> None:
        told = [
            "background load (0.7 CPUs)",
            "throttled (tj); background load (1.1 CPUs)",
            "background load (12.0 CPUs)",
            "throttled (vdd)",
        ]
        told += ["background load (31% of the GPU)", "ok", "ok", "ok"]
        listed = [dataclasses.replace(made, validity=text) for made, text in zip(rows(4), told, strict=True)]
        (tmp_path / "run").mkdir()
        write(tmp_path / "run" / "summary.csv", listed)
        warnings = report_of(tmp_path / "run").provenance.warnings
        assert [text for text in warnings if "not valid" in text] == [
            "3 rows not valid: background load 0.7 to 12.0 CPUs.",
            "2 rows not valid: throttled (tj, vdd).",
            "1 row not valid: background load 31% of the GPU.",
        ]

    def test_the_subtitle_tells_what_was_measured_on_what(self, tmp_path: Path) -> None:
        arms = [ArmOfRun(row={"started_at": "2026-11-20T08:00:00+00:00"}), ArmOfRun("edgetam", row={"nvpmodel": "15W"})]
        subtitle = dict(report_of(write_run(tmp_path / "run", arms)).provenance.subtitle)
        assert subtitle.pop("selfcheck").startswith("no selfcheck")
        assert subtitle == {
            "board": "NVIDIA Jetson Orin Nano", "device": "Orin Nano", "power mode": "MAXN, 15W", "clocks locked": "on",
            "split": "sav_val", "objects": "16 of 8 videos", "measured": "2026-11-20", "benchmark": "0123456789ab",
        }  # fmt: skip

    def test_a_score_far_from_the_published_one_is_a_warning(self, tmp_path: Path) -> None:
        videos = [f"v{i}" for i in range(155)]
        report = report_of(write_run(tmp_path / "run", [ArmOfRun(JandF=0.6)], videos=videos, frames=1))
        assert any("published sam2_tiny SA-V val J&F 75.1" in text for text in report.provenance.warnings)
        assert report.references is not None
        assert report.references.rows[0][1] == "J&F 75.1"
        assert "more than a point apart" in report.references.rows[0][5]

    def test_a_selfcheck_speaks_for_its_device_and_torch(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", [ArmOfRun()])
        facts = dict(report_of(folder).provenance.circumstances[0][1].rows)
        assert facts["selfcheck"].startswith("no selfcheck with this torch on this machine")
        path = folder / "environment.json"
        environment = json.loads(path.read_text())
        checked = {
            "passed": True, "when": "2026-11-28T08:00:00+00:00", "machine": "ARMv8", "device_name": "Orin Nano", "torch": "2.5.0a0",
            "benchmark": "", "quick": False, "failed": [],
        }  # fmt: skip
        environment["invocations"][-1]["selfchecks"] = [checked]
        path.write_text(json.dumps(environment))
        facts = dict(report_of(folder).provenance.circumstances[0][1].rows)
        assert facts["selfcheck"] == "selfcheck passed on 2026-11-28 with this torch and device"

    def test_a_damaged_environment_is_a_note(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", [ArmOfRun()])
        (folder / "environment.json").write_text('{"invocations": [')
        report = report_of(folder)
        assert any("environment.json: cannot be read" in note for note in report.provenance.notes)
        assert len(report.provenance.commands) == 1
